"""A program that is measured from outside, and ended where it breaks a limit or a person asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import psutil

from mlflow_sysmetrics.command.passthrough import STOPPED, Exit
from mlflow_sysmetrics.command.run_tracker import RunTracker
from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.common.threads import start_thread
from mlflow_sysmetrics.common.time_limits import GRACE_S, KILLED_WITHIN_S, KILLS_EVERY_S
from mlflow_sysmetrics.delivery import RunRef, writer_for
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.limits import MemoryKills, StopTag, end_tree, process_limits
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.recording.outcome import Outcome
from mlflow_sysmetrics.recording.tags import STOP_REASON, STOP_REQUEST

logger = get_logger(__name__)
_KILLED = (-9, 128 + 9)  # exit codes; a shell says the second when the command that it ran was killed


class MeasuredProgram:
    """Measures a process and those below it from `start` to `finish`, and has a tracker record them.

    It ends them when they break a limit, and when somebody sets the tag ``sysmetrics.stop`` of their run. After
    construction nothing raises, and nothing but `finish` waits for a store.

    Args:
        limits: a text such as ``peak_memory_mb<=8000``; None or blank for none.

    Raises:
        ValueError: they are wrong; a sentence for the user.
    """

    def __init__(self, limits: str | None = None) -> None:
        self._limits = process_limits(limits)
        self._stop_tag = StopTag(self._ask, lambda run_id, outcome: self._end(outcome), self._clear)
        self.outcome: Outcome | None = None  # why the process was ended from here
        self._ending: threading.Thread | None = None
        self._has_ended = False
        self._lock = threading.Lock()  # of these three: a limit and a person may end it at once
        self._killed_for_memory: bool | None = None  # known once it has ended
        self._kills_due = 0.0

    @property
    def summary(self) -> Mapping[str, float]:
        return self._measurement.summary

    def start(self, pid: int, tracker: RunTracker, run: RunRef) -> None:
        """Measure this process, a child of this one, from now on. See `RunTracker.start`."""
        self._pid = pid
        self._tracker = tracker
        self._kills = MemoryKills(pid)
        try:
            self._measurement = Measurement(pid)
        except ValueError as error:  # it cannot be seen: only its time can be told
            logger.warning("the program goes on without being measured: %s", error)
            self._measurement = Measurement(sample=dict)
        self._measurement.start()
        self._measurement.limit(self._limits, lambda stop: self._end(stop.outcome()))
        self._measurement.subscribe(self._look_for_kills)
        tracker.start(run, self._measurement)
        self._stop_tag.start()

    def ended(self) -> None:
        """The process has ended, and its parent has not asked for its exit status: read it once more."""
        self._stop_tag.release()
        with self._lock:
            self._has_ended = True
        self._killed_for_memory = self._kills.happened()
        self._measurement.stop()
        if self._ending is not None:
            self._ending.join(GRACE_S + KILLED_WITHIN_S)  # of processes below it that do not end when asked

    def finish(self, program_exit: Exit, *, ends: bool) -> Exit:
        """Have all of it delivered, after `ended`, and its run ended if asked. With code 124 if it was ended here."""
        if program_exit.peak_rss_mb is not None:
            self._measurement.record_peak_rss(program_exit.peak_rss_mb)
        outcome = self.outcome
        if outcome is not None:
            program_exit = Exit(STOPPED, was_asked=True)
        else:
            outcome = Outcome(program_exit.outcome.status, self._cause_of_death(program_exit.code))
        self._tracker.finish(outcome, ends=ends)
        return program_exit

    def _cause_of_death(self, exit_code: int) -> Mapping[str, str]:
        """What killed the process or one below it, as tags; empty if nothing did."""
        was_killed = exit_code in _KILLED
        if not exit_code or not (was_killed or self._killed_for_memory):
            return {}
        seen = "ended by SIGKILL" if was_killed else "a process below it was killed"
        return self._kills.death(self.summary, self._killed_for_memory, seen)

    def _end(self, outcome: Outcome) -> None:
        """Have the process ended, in a thread, unless it has ended or is being ended."""
        with self._lock:
            if self._has_ended or self.outcome is not None:
                return
            self.outcome = outcome
            self._ending = start_thread(self._end_process, "stop")
        logger.warning("stopping: %s", outcome.tags[STOP_REASON])  # last: the log may be on a disk that hangs

    @never_raises("ending a program")
    def _end_process(self) -> None:
        if not end_tree(psutil.Process(self._pid)):
            logger.warning("process %d, or one below it, still runs although it was killed", self._pid)

    def _ask(self) -> dict[str, str]:
        """The text of the tag of the program's run; {} without it."""
        run = self._tracker.run
        if run.run_id is None or writer_for(run.tracking_uri).is_unreachable:
            return {}
        tags = Store(run.tracking_uri).run(run.run_id).tags
        return {run.run_id: tags[STOP_REQUEST]} if STOP_REQUEST in tags else {}

    def _clear(self, run_id: str) -> None:
        Store(self._tracker.run.tracking_uri).delete_tag(run_id, STOP_REQUEST)

    def _look_for_kills(self, summary: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now >= self._kills_due:
            self._kills_due = now + KILLS_EVERY_S
            self._kills.look()
