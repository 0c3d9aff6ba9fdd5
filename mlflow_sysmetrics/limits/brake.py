"""Ends a process once, when a limit is broken or somebody asks for it, and says why afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from mlflow_sysmetrics.limits.judge import Criteria, Stop
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import BY_CRITERIA, BY_PERSON, STOP, STOP_METRIC, STOP_REASON, STOPPED_BY

logger = get_logger(__name__)


class Brake:
    """Calls `end`, at most once, in a thread of its own. Any thread may pull it; nothing raises.

    Args:
        end: what ends the process; it gets the tags that say why.
        criteria: limits, see `process_criteria`; None for none.
        judged_while: a reading without this figure is not judged: the process is gone, and only its time goes on.
    """

    def __init__(
        self,
        end: Callable[[Mapping[str, str]], None],
        criteria: Criteria | None = None,
        *,
        judged_while: str = "",
    ) -> None:
        self._end, self._judge = end, criteria.judge() if criteria else None
        self._judged_while = judged_while
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._released = False
        self.tags: Mapping[str, str] = {}  # why it was pulled; empty before
        self.broken: Stop | None = None  # the limit, if it was one

    @property
    def pulled(self) -> bool:
        """Whether the process was ended by this."""
        return bool(self.tags)

    def see(self, figures: Mapping[str, float]) -> None:
        """Judge the figures of a reading."""
        if self._judge is None or self._released or self.tags:
            return
        if self._judged_while and self._judged_while not in figures:
            return
        stop = self._judge.crossed(figures)
        if stop is not None:
            self.pull({STOPPED_BY: BY_CRITERIA, STOP_REASON: str(stop), STOP_METRIC: stop.metric}, stop)

    def press(self, said: str = "") -> bool:
        """End the process because a person set the tag to this text. Always True: the run is ours, see `StopButton`."""
        self.pull({STOPPED_BY: BY_PERSON, STOP_REASON: reason_of_a_person(said)})
        return True

    def pull(self, tags: Mapping[str, str], broken: Stop | None = None) -> None:
        """End the process for this reason. No-op if it was pulled, or released, before."""
        with self._lock:
            if self._released or self.tags:
                return
            self.tags, self.broken = dict(tags), broken
        logger.warning("stopping: %s", self.tags[STOP_REASON])
        self._thread = threading.Thread(target=self._pulled, name="mlflow-sysmetrics-brake", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads
            self._pulled()

    def release(self) -> None:
        """The process has ended: from now on there is nothing to end."""
        with self._lock:
            self._released = True

    def join(self, timeout_s: float) -> None:
        """Wait for what was pulled to be done."""
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _pulled(self) -> None:
        try:
            self._end(self.tags)
        except Exception:
            logger.warning("the reaction to a broken limit or a stop request has failed", exc_info=True)


def reason_of_a_person(said: str) -> str:
    """Why a run was ended whose tag was set to this text."""
    return f"the tag {STOP} was set to {said!r}" if said else f"the tag {STOP} was set"
