"""A study: from its settings to trials, their choice, and its run.

`study` is the object that each step adds to. `plan` makes it of settings, with what `auto` stands for (`defaults`,
`pace`). `spaces` has the values to try, `grid` all their combinations, `portfolio` what a search that learns tries
first; `run_names` says what trials are called. `running` carries it out, and `resume` goes on with one that was
interrupted. In the processes of trials: `warm_up`, `trial`. Meanwhile: `recorder`, `pages`, and `sampler`, which
learns; `tune_sampler` is Tune's side of it. After: `finalists`, `result`.
"""
