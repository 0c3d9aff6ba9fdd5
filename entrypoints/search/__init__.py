"""From a grid to trials, their record, and the run of the study.

`start` and `study` do one after the other. Before: `plan`, `grid`, `trial_order`, `earlier` (what an interrupted
command has left). In the processes of trials: `first_trials`, `trial`. Meanwhile: `record`, `measured`, `journal`.
After: `ended_from_outside`, `ended_search`, `summary`, `limits_summary`, `budget`, `edges`, `nearest`, `pages`,
`experiment_note`.
"""
