"""From a grid to trials, their record, and the run of the study."""
