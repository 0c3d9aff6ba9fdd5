"""How long the plugin waits, in one place: seconds. How often it measures, and for how long, is said where it does."""

ANSWER_S = 5.0  # for an answer of the store, while a training waits to begin
COMMAND_ANSWER_S = 60.0  # for the same where no training waits: a new SQLite store takes seconds to make its tables
MAX_ANSWER_S = 30.0  # for the same after failures, and for a run to be created: a server may be slow
DELIVER_S = 5.0  # to deliver what is left of a run at its end, or at the end of the process
DELIVER_EACH_S = 2.0  # more, for each candidate of a search of scikit-learn's, where the store answers
DELIVER_BEFORE_KILL_S = 0.5  # to deliver what is left, before a limit ends the process
READING_S = 1.0  # for a reading of a process that another thread is taking
LAST_READINGS_S = 10.0  # for the last readings of trials' processes, as an experiment ends
IMPORT_S = 20.0  # for a program to import MLflow, after all that it imports before, or else a run is made for it
FIRST_RUN_S = 60.0  # for a program that has imported MLflow to open its first run, or else one is made for it
NEXT_RESULT_S = 5.0  # until the next result of a Tune trial that has to end; then its process is ended
SERVER_START_S = 300.0  # for the first answer of a model's server: large models take long to load
SERVER_ANSWER_S = 5.0  # for its answer, after its own limit, by when it says so
GRACE_S = 10.0  # from SIGTERM to SIGKILL
SHORT_GRACE_S = 2.0  # the same, of a process that has nothing to save
KILLED_WITHIN_S = 5.0  # from SIGKILL to the end: the kernel takes a moment to free much memory

LOOK_EVERY_S = 0.5  # between two looks at another process, or two moves of readings into a run
ENDED_EVERY_S = 0.05  # between two looks whether a process has ended
KILLS_EVERY_S = 1.0  # between two looks at what the kernel kills, see `MemoryKills`
ASK_EVERY_S = 2.0  # between two requests to the store of one kind: for points, for the stop tag
MIN_PAUSE_S = 0.5  # between two requests after the first failure
MAX_PAUSE_S = 30.0  # the same after many
