"""A study: from its settings to trials, their choice, and its run.

`study` is the object that each step adds to. `plan` makes it of settings (`pace` shrinks it to its time limit).
`running` carries it out, and `resume` goes on with one that was interrupted. In the processes of trials: `warm_up`,
`trial_process`. Meanwhile: `recorder`, `progress`, `pages`, and `tune_sampler`, which is Tune's side of a search that
learns. After: `finalists`, `result`.
"""
