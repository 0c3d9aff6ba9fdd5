"""The tags of a run that the plugin writes: each name once."""

# Any run.
RUN_KEY = "sysmetrics.run_key"  # Unique for ever, of any run that the plugin creates: by it the run is found again.
KIND = "sysmetrics.kind"  # What a run is, such as a study or a trial.
ERROR = "sysmetrics.error"  # Why a FAILED run failed.
STOP_REASON = "sysmetrics.stop_reason"  # Why a KILLED run was ended early: words for people.
STOP_REQUEST = "sysmetrics.stop"  # Set by a person, to anything: end this run.
CAUSE_OF_DEATH = "sysmetrics.cause_of_death"  # Of a process that was killed: words for people.
KILLED_FOR_MEMORY = "sysmetrics.killed_for_memory"  # Whether the kernel killed it for lack of memory.
PROGRAM = "sysmetrics.program"  # Of several runs of a program and of the one for the whole of it: the same word.

# A watched process.
NODE = "sysmetrics.node"  # The name of its machine.
PID = "sysmetrics.pid"  # Its process id.
MEMORY_DEFINITION = "sysmetrics.memory_definition"  # What its memory figures are: rss-shr or uss.
HOST_PREFIX = "sysmetrics.host_"  # A fact of its machine follows.

# A check of a candidate against a baseline.
VERDICT = "sysmetrics.verdict"  # On all that was compared; on one summary, with a dot and its name.
SIDE = "sysmetrics.side"  # Of a run below it: baseline or candidate.
PAIR = "sysmetrics.pair"  # Its pair, from 1 up; 0 is the warm-up.

# A trial under Tune.
TRIAL_ID = "sysmetrics.trial_id"  # Tune's id of the trial.
STUDY_ID = "sysmetrics.study_id"  # Of all runs of one experiment: a UUID.
RETRIED_AFTER = "sysmetrics.retried_after"  # The error after which it began again.
NOT_FINITE = "sysmetrics.not_finite"  # Figures that were NaN or infinite, and are left out.
CHANGED_PREFIX = "sysmetrics.changed."  # A hyperparameter that a scheduler changed follows.

# How a trial was stopped.
STOPPED_BY = "sysmetrics.stopped_by"  # Who did: one of the next five, or another project's word.
BY_TUNE = "tune"  # A scheduler or stopper of Tune's.
BY_LIMITS = "limits"
BY_EXPERIMENT_END = "experiment_end"
BY_PERSON = "person"  # With the tag STOP_REQUEST, or with Ctrl-C.
BY_PRUNER = "pruner"  # Optuna's.
STOP_PREFIX = "sysmetrics.stop_"  # Of all the names that follow, and of STOP_REASON.
STOP_METRIC = "sysmetrics.stop_metric"  # What broke its limit.

# The beginnings of all that say how a run ended: a run that goes on has none.
OF_AN_END = (ERROR, CAUSE_OF_DEATH, KILLED_FOR_MEMORY, STOPPED_BY, STOP_PREFIX)
