"""The tag ``sysmetrics.stop``, which a person sets in the MLflow UI to end a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.threads import start_thread
from mlflow_sysmetrics.common.time_limits import ASK_EVERY_S, MAX_PAUSE_S
from mlflow_sysmetrics.recording.outcome import Outcome, killed
from mlflow_sysmetrics.recording.tags import BY_PERSON, STOP_REQUEST


class StopTag:
    """Asks the store every two seconds whether a person wants a run to end. Nothing raises.

    Args:
        ask: returns the runs whose tag is set, and its text; only runs that `end` can end.
        end: ends a run, by its id, with an outcome. Called once for each run, from the thread that asks.
        clear: removes the tag of a run, or else whoever goes on in it would be ended again.
    """

    def __init__(
        self,
        ask: Callable[[], Mapping[str, str]],
        end: Callable[[str, Outcome], None],
        clear: Callable[[str], None],
    ) -> None:
        self._ask = ask
        self._end = end
        self._clear = clear
        self._ended = set[str]()
        self._released = threading.Event()

    def start(self) -> StopTag:
        """Begin to ask."""
        with never_raises("asking for the tag that stops a run"):  # there may be no more threads
            start_thread(self._work, "stop tag")
        return self

    def release(self) -> None:
        """From now on nothing is ended."""
        self._released.set()

    def _work(self) -> None:
        pause_s = ASK_EVERY_S
        while not self._released.wait(pause_s):
            try:
                self._look()
                pause_s = ASK_EVERY_S
            except Exception:  # whoever delivers says that the store is unreachable
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _look(self) -> None:
        for run_id, text in self._ask().items():
            if self._released.is_set():
                return
            if run_id not in self._ended:
                self._ended.add(run_id)
                with never_raises("ending a run"):
                    self._end(run_id, _stopped_by_person(text))
            self._clear(run_id)


def _stopped_by_person(text: str) -> Outcome:
    reason = f"the tag {STOP_REQUEST} was set to {text!r}" if text else f"the tag {STOP_REQUEST} was set"
    return killed(BY_PERSON, reason)
