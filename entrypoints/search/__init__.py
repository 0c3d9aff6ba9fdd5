"""From a grid to trials, their record, and the run of the study.

`plan` says what is done, as data: `grid` what is tried, `run_names` what it is called. `study` carries a plan out, and
`resume` goes on with one that was interrupted. In the processes of trials: `warm_up`, `trial`. Meanwhile: `record`,
`pages`, and where the search learns `sampler`. After: `summary`, `edges`.
"""
