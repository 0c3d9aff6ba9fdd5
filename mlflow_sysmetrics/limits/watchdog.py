"""What has a run ended before its own end: a broken limit, or the tag ``sysmetrics.stop`` that a person sets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.common.threads import start_thread
from mlflow_sysmetrics.common.time_limits import ASK_EVERY_S, MAX_PAUSE_S
from mlflow_sysmetrics.limits.grammar import Limits
from mlflow_sysmetrics.limits.rules import Stop, Values
from mlflow_sysmetrics.recording.outcome import Outcome, killed
from mlflow_sysmetrics.recording.tags import BY_PERSON, STOP_REASON, STOP_REQUEST

logger = get_logger(__name__)


class Watchdog:
    """Calls `end` with a run's id and outcome, once for each run, in a thread of its own. Nothing raises.

    Args:
        end: ends what writes the run; may take its time.
        limits: broken by a reading that `see` gets, they end the run with the id "".
        stop_tags: asks the store for the runs whose tag is set, and to which text; only those that `end` can end.
        clear: removes the tag of a run that was ended: whoever goes on in the run would be ended again.
        is_unreachable: whether the store is known not to answer: then it is not asked.
    """

    def __init__(
        self,
        end: Callable[[str, Outcome], None],
        limits: Limits | None = None,
        *,
        stop_tags: Callable[[], Mapping[str, str]] | None = None,
        clear: Callable[[str], None] | None = None,
        is_unreachable: Callable[[], bool] = lambda: False,
    ) -> None:
        self._end = end
        self._limits = limits or Limits(())
        self._stop_tags = stop_tags
        self._clear = clear
        self._is_unreachable = is_unreachable
        self.outcome: Outcome | None = None  # of the first run that was ended
        self.broken: Stop | None = None  # the limit, if it was one
        self._ended = set[str]()  # runs
        self._threads: list[threading.Thread] = []  # that end them
        self._cleared: set[str] = set()
        self._lock = threading.RLock()  # a signal's handler may call `release` while its thread has it
        self._released = threading.Event()

    def start(self) -> Watchdog:
        """Begin to ask for the tag."""
        if self._stop_tags is not None:
            with never_raises("asking for the tag that stops a run"):  # there may be no more threads
                start_thread(self._poll, "watchdog")
        return self

    def see(self, values: Values) -> None:
        """Judge a reading. It takes microseconds."""
        stop = self._limits.crossed(values)
        if stop is not None:
            self.request_stop("", stop.outcome(), stop)

    def request_stop(self, run_id: str, outcome: Outcome, broken: Stop | None = None) -> None:
        """Have a run ended, unless that was requested before."""
        with self._lock:
            if self._released.is_set() or run_id in self._ended:
                return
            if self.outcome is None:
                self.outcome = outcome
                self.broken = broken
            self._ended.add(run_id)
        self._threads.append(start_thread(lambda: self._call_end(run_id, outcome), "stop"))
        logger.warning("stopping: %s", outcome.tags[STOP_REASON])  # last: the log may be on a disk that hangs

    def release(self) -> None:
        """From now on nothing is ended."""
        with self._lock:
            self._released.set()

    def join(self, timeout_s: float) -> None:
        """Wait until what is being ended has ended."""
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _call_end(self, run_id: str, outcome: Outcome) -> None:
        with never_raises("ending a run"):
            self._end(run_id, outcome)

    def _poll(self) -> None:
        pause_s = ASK_EVERY_S
        while not self._released.wait(pause_s):
            try:
                if not self._is_unreachable():
                    self._ask()
                pause_s = ASK_EVERY_S
            except Exception:  # whoever delivers says that the store is unreachable
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _ask(self) -> None:
        assert self._stop_tags is not None
        for run_id, text in self._stop_tags().items():
            self.request_stop(run_id, stopped_by_person(text))
            if self._clear is not None and run_id in self._ended and run_id not in self._cleared:
                self._clear(run_id)
                self._cleared.add(run_id)


def stopped_by_person(text: str) -> Outcome:
    """The outcome of a run whose tag ``sysmetrics.stop`` was set to this text."""
    reason = f"the tag {STOP_REQUEST} was set to {text!r}" if text else f"the tag {STOP_REQUEST} was set"
    return killed(BY_PERSON, reason)
