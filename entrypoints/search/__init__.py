"""From a grid to trials, their record, and the run of the study.

`plan` and `study` do one after the other. Before: `grid`, `trial_order`, `earlier` (what an interrupted command has
left), `beginning`. In the processes of trials: `first_trials`, `trial`. Meanwhile: `record`, `journal`, `phases`.
After: `ended`, `full_study`, `last_words`, `edges`, `pages`.
"""
