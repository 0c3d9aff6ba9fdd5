"""Watching a program that knows nothing of this package: from outside, by its process id."""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import psutil

from mlflow_sysmetrics.command.phase_marks import PhaseMarks
from mlflow_sysmetrics.criteria import Criteria
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.measure import Measurement
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import check_groups, check_seconds
from mlflow_sysmetrics.stopping.brake import Brake
from mlflow_sysmetrics.stopping.cause_of_death import MemoryKills
from mlflow_sysmetrics.stopping.end_tree import GRACE_S, KILLED_WITHIN_S, end_tree
from mlflow_sysmetrics.stopping.process_criteria import check_readable, process_criteria
from mlflow_sysmetrics.stopping.stop_button import StopButton
from mlflow_sysmetrics.tags import STOP

logger = get_logger(__name__)
_FIRST_RATES_S = 0.015  # a sampler has none in its first 10 ms
_LOOK_EVERY_S = 1.0  # in which control group the process is
_ANSWER_S = 5.0  # of the store, to whether the stop button was pressed
_KILLED = (-9, 128 + 9)  # exit codes; a shell says the second when the command that it ran was killed


class Logger(Protocol):
    """The part of a ``SystemMetricsLogger`` that is used."""

    @property
    def store_is_away(self) -> bool: ...

    def start(self) -> object: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Settings:
    """What is watched, and how often: seconds between two readings, groups of metrics, and limits.

    Raises:
        ValueError: the interval is not a positive number, or there is no such group.
    """

    interval_s: float = 0.1
    groups: tuple[str, ...] = ("process",)
    criteria: Criteria | None = None

    def __post_init__(self) -> None:
        check_seconds(interval_s=self.interval_s)
        check_groups(self.groups, given=",".join(self.groups))
        check_readable(self.criteria, self.groups)

    @classmethod
    def of(cls, interval_s: float, groups: str, criteria: str = "") -> Settings:
        """From the command line's form: groups such as ``"process,gpu"``, limits as text. ValueError for both."""
        limits = process_criteria(criteria) if criteria.strip() else None
        return cls(interval_s, tuple(group.strip() for group in groups.split(",") if group.strip()), limits)


MakeLogger = Callable[[int, Measurement], Logger]  # of a process, with what reads it


def _make_logger(run_id: str, tracking_uri: str) -> MakeLogger:
    from mlflow_sysmetrics.logger import SystemMetricsLogger

    return lambda pid, watch: SystemMetricsLogger(run_id, tracking_uri, pid=pid, watch=watch)


class Watcher:
    """Logs into a run what a process and those below it use, between ``start`` and ``stop``.

    It ends the process when it breaks a limit, and when somebody sets the tag ``sysmetrics.stop`` of the run. It is
    made before the program starts, so that nothing is imported later. Neither of the two raises, and neither waits long
    for a server: what goes wrong is logged as a warning.
    """

    def __init__(
        self,
        run_id: str,
        tracking_uri: str,
        settings: Settings,
        *,
        marks: PhaseMarks | None = None,
        make: MakeLogger | None = None,
        ready_within_s: float = 5.0,
    ) -> None:
        self._run_id, self._settings, self._ready_within_s = run_id, settings, ready_within_s
        self._store = Store(tracking_uri, _ANSWER_S)
        here = "memory_mb" if "process" in settings.groups else ""
        self._brake = Brake(lambda tags: self._end_process(), settings.criteria, judged_while=here)
        self._button = StopButton(
            self._pressed,
            lambda _, said: self._brake.press(said),
            lambda run_id: self._store.delete_tag(run_id, STOP),
            is_away=self._store_is_away,
        )
        self._kills: MemoryKills | None = None
        self._killed_for_memory: bool | None = None  # known once it has ended
        self._look_due = 0.0
        self._marks = marks
        self._make = make or _make_logger(run_id, tracking_uri)
        self._pid = 0
        self._process: psutil.Process | None = None
        self._watch: Measurement | None = None
        self._beginning: threading.Thread | None = None
        self._logger: Logger | None = None
        self._stopped = False
        self._lock = threading.RLock()  # a signal may come in the middle of stop, and its handler call stop again

    def start(self, pid: int) -> None:
        """Measure this process from now on. The logger is made in a thread, since it asks the server for its run."""
        try:
            watch = Measurement(pid, self._settings.groups, self._settings.interval_s)
            self._process = psutil.Process(pid)
        except (ValueError, psutil.Error):  # it has ended already
            return
        self._kills = MemoryKills(pid)
        watch.tell(self._brake.see)
        watch.tell(self._look)
        if (marks := self._marks) is not None:
            watch.tell(lambda figures: marks.look(watch.phases))
        time.sleep(_FIRST_RATES_S)
        watch.read()  # here: a thread may have to wait, for a pass of the garbage collector say
        self._pid, self._watch = pid, watch
        run = contextvars.copy_context().run  # MLflow keeps its workspace in the context
        beginning = threading.Thread(
            target=run, args=(self._begin, pid, watch), name="mlflow-sysmetrics-watcher", daemon=True
        )
        try:
            beginning.start()
        except RuntimeError as error:  # no more threads
            self._without_metrics(error)
        else:
            self._beginning = beginning
            watch.start()
            self._button.start()

    def wait(self) -> None:
        """Wait for the process's end, and read it once more while the system still knows its CPU time.

        The process's parent calls this before it asks for the exit status. No-op where the system has no such wait.
        """
        if self._watch is None or self._kills is None or not hasattr(os, "waitid"):  # Windows; a Mac before 3.13
            return
        with contextlib.suppress(ChildProcessError):  # somebody has asked for the status already
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        self._killed_for_memory = self._kills.happened()
        self._brake.release()
        self._watch.stop()
        self._brake.join(GRACE_S + KILLED_WITHIN_S)  # of processes below it that do not end when asked

    def stop(self) -> None:
        """Deliver what there is, and end. Idempotent; takes at most the logger's own bound and `ready_within_s`."""
        self._button.stop()
        self._brake.release()
        self._brake.join(GRACE_S + KILLED_WITHIN_S)
        if self._watch is not None:
            self._watch.stop()
        if self._beginning is not None:
            self._beginning.join(self._ready_within_s)
        with self._lock:
            self._stopped = True
            made, self._logger = self._logger, None
        if made is not None:
            self._end(made)

    @property
    def stopped(self) -> Mapping[str, str]:
        """Why this watcher ended the process, as tags; empty if it did not."""
        return self._brake.tags

    def died_of(self, exit_code: int) -> Mapping[str, str]:
        """What killed the process or one below it, as tags; empty if nothing did. Call it after ``wait``."""
        if self._kills is None or self._watch is None:
            return {}
        tags: Mapping[str, str] = {}
        if exit_code and not self._brake.tags and (exit_code in _KILLED or self._killed_for_memory):
            seen = "ended by SIGKILL" if exit_code in _KILLED else "a process below it was killed"
            tags = self._kills.death(self._watch.figures(), self._killed_for_memory, seen)
        return tags

    def _end_process(self) -> None:
        if self._process is not None and not end_tree(self._process):
            logger.warning("process %d, or one below it, goes on although it was killed", self._pid)

    def _look(self, figures: Mapping[str, float]) -> None:
        if self._kills is not None and (now := time.monotonic()) >= self._look_due:
            self._look_due = now + _LOOK_EVERY_S
            self._kills.look()

    def _pressed(self) -> Mapping[str, str]:
        tags = self._store.run(self._run_id).tags
        return {self._run_id: tags[STOP]} if STOP in tags else {}

    def _store_is_away(self) -> bool:
        made = self._logger
        return made is not None and made.store_is_away

    def _begin(self, pid: int, watch: Measurement) -> None:
        try:
            made = self._make(pid, watch)
            made.start()
        except Exception as error:
            self._without_metrics(error)
            return
        with self._lock:
            late = self._stopped
            self._logger = None if late else made
        if late:
            self._end(made)

    def _without_metrics(self, error: Exception) -> None:
        logger.warning("run %s goes on without system metrics: %s", self._run_id, error)

    def _end(self, made: Logger) -> None:
        try:
            made.stop()
        except Exception as error:
            logger.warning("the last system metrics of run %s are lost: %s", self._run_id, error)
