"""From a grid to trials, their record, and the run of the study.

`plan` and `study` do one after the other. Before: `grid`, `earlier` (what an interrupted command has left). In the
processes of trials: `first_trials`, `trial`. Meanwhile: `record`, `journal`, `phases`, and where the search learns
`suggester`, which Tune asks through `suggestions`. After: `ended`, `last_words`, `edges`.
"""
