"""In which MLflow run a program is recorded: a state machine that the program's own runs move. Writes nothing.

    WAITING --opened--> ADOPTED --opened another, or deleted--> OWN
    WAITING --stop_waiting--> OWN --opened its first--> ADOPTED

Only runs at the top count; those nested in others stay where they are.
"""

from __future__ import annotations

from enum import Enum

from mlflow_sysmetrics.delivery import RunRef


class State(Enum):
    """Where the program is recorded."""

    WAITING = "in no run yet, since it may still open one"
    ADOPTED = "in the only run that it has opened, or in the one that it was given"
    OWN = "in a run that is made for it: it opened none in time, or several, or has deleted its only one"


class TrackedRun:
    """The run in which a program is recorded. `run` is that run in ADOPTED, else where one is made.

    Args:
        run: where a run would be made; with an id, the run that the program was given, in which it stays.
    """

    def __init__(self, run: RunRef) -> None:
        self.run = run
        self.state = State.ADOPTED if run.run_id else State.WAITING
        self._is_given = run.run_id is not None
        self._has_opened_one = False

    def opened(self, run: RunRef) -> None:
        """The program has opened a run."""
        if self._is_given:
            return
        if not self._has_opened_one:
            self._has_opened_one = True
            self.state = State.ADOPTED
            self.run = run
        elif self.state is State.ADOPTED and run != self.run:
            self._leave_adopted()

    def deleted(self, run_id: str) -> None:
        """The program has deleted a run. The next one that it opens may be adopted."""
        if self.state is State.ADOPTED and run_id == self.run.run_id and not self._is_given:
            self._leave_adopted()
            self._has_opened_one = False

    def stop_waiting(self) -> None:
        """The program has opened no run in time, or has ended."""
        if self.state is State.WAITING:
            self.state = State.OWN

    def _leave_adopted(self) -> None:
        self.state = State.OWN
        self.run = self.run._replace(run_id=None)  # in the experiment and the store that the program uses
