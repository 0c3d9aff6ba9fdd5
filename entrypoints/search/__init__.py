"""A study: from its settings to trials, their choice, and its run.

`study` is the object that each step adds to. `plan` makes it of settings: `grid` says what is tried, `run_names` what
that is called. `running` carries it out, and `resume` goes on with one that was interrupted. In the processes of
trials: `warm_up`, `trial`. Meanwhile: `recorder`, `pages`, and where the search learns `sampler`. After: `finalists`,
`result`.
"""
