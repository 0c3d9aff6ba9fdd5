"""The tags of a run that only the bundle writes: each name once. Those that the plugin writes, too, are its own."""

from typing import Final, Literal

# A process.
RAY_NODE_ID = "sysmetrics.ray_node_id"  # Ray's id of its machine.
PID_SINCE = "sysmetrics.pid_since"  # When it began, in unix seconds.

# What became of a trial.
NUMBER = "sysmetrics.number"  # Its number in the order in which the trials of its study are started, from 1 on.
ROLE = "sysmetrics.role"  # reference: what the search is held against; the trials of the search have none.
DIVERGED = "sysmetrics.diverged"  # Whether its loss became infinite.
FEASIBLE = "sysmetrics.feasible"  # Whether it met all limits and can be chosen: it came to its end and did not diverge.
AXIS = "sysmetrics.axis"  # The axis of a trial: what its steps count.
Axis = Literal["training step", "fold"]
TRAINING_STEP: Final = "training step"  # All folds train together, a batch a step, so there are curves of training.
FOLD: Final = "fold"  # A step is the fit of one fold's model. Without ``partial_fit`` there is no curve of training.
OF_FOLD = "fold/"  # With this begin the names of metrics whose step is the number of a fold.
END = "sysmetrics.end"  # Its end, for a study that goes on: JSON.

# How a trial was stopped, beside what the plugin says.
BY_TIME_LIMIT = "time_limit"  # Who did: the time limit of the study.
BY_RACE = "race"  # .. or the race with the best trial so far.
STOP_HOW = "sysmetrics.stop_how"  # crossed or predicted, by a limit; or raced.
RACED = "raced"
STOP_PREDICTION = "sysmetrics.stop_prediction"  # The prediction that stopped it.

# A study and its data.
DATASET = "sysmetrics.dataset"  # The dataset as it was asked for.
DIGEST = "sysmetrics.digest"  # The digest of the table.
STUDY_KEY = "sysmetrics.study_key"  # Equal for studies of equal rows and folds that train equal configurations alike.
SEARCHED = "sysmetrics.searched"  # The searched hyperparameters: JSON.
SCORE = "sysmetrics.score"  # What ranks its trials, the baseline on each fold, how many trials are planned: JSON.
COPIES = "sysmetrics.copies"  # That many test rows equal rows of the training part, in a sentence.
LEAK = "sysmetrics.leak"  # The column of the model that may only be known with the target, in a sentence.
NO_INTERVAL = "sysmetrics.no_interval"  # Why no interval is known for the score of its model on other rows.
STUDY_LIMITS = "sysmetrics.limits"  # The limits of the study; of a version that was not judged: that.
NOTE = "mlflow.note.content"  # MLflow's own: the description on the run's page.
BEST_TRIAL_RUN_ID = "sysmetrics.best_trial_run_id"  # The run of the best trial.
