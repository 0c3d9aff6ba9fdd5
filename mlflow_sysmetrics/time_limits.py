"""How long the plugin waits, in one place: seconds."""

ANSWER_S = 5.0  # for an answer of the store, while a training waits to begin
COMMAND_ANSWER_S = 60.0  # for the same where no training waits: a new SQLite store takes seconds to make its tables
DELIVER_S = 5.0  # to deliver what is left of a run at its end, or at the end of the process
DELIVER_BEFORE_KILL_S = 0.5  # the same, before a limit ends the process
READING_S = 1.0  # for a reading of a process that another thread is taking
FIRST_RUN_S = 60.0  # for a program to open its first run, before one is made for it
LOOK_EVERY_S = 0.5  # between two looks at another process, or two moves of readings into a run
NEXT_RESULT_S = 5.0  # until the next result of a Tune trial that has to end; then its process is ended
ASK_EVERY_S = 2.0  # between two requests to the store of one kind: for points, for the stop tag
MAX_PAUSE_S = 30.0  # between two requests after failures
