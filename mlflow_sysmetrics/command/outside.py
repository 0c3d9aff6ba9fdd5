"""Watching a program that knows nothing of this package: from outside, by its process id."""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mlflow_sysmetrics.addresses import get_logger
from mlflow_sysmetrics.arguments import check_seconds
from mlflow_sysmetrics.sampling.groups import check_groups
from mlflow_sysmetrics.watch import Watch

logger = get_logger(__name__)
_FIRST_RATES_S = 0.015  # a sampler has none in its first 10 ms


class Logger(Protocol):
    """The part of a ``SystemMetricsLogger`` that is used."""

    def start(self) -> object: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Settings:
    """What is watched, and how often: seconds between two readings, and groups of metrics.

    Raises:
        ValueError: the interval is not a positive number, or there is no such group.
    """

    interval_s: float = 0.1
    groups: tuple[str, ...] = ("process",)

    def __post_init__(self) -> None:
        check_seconds(interval_s=self.interval_s)
        check_groups(self.groups, given=",".join(self.groups))

    @classmethod
    def of(cls, interval_s: float, groups: str) -> Settings:
        """From the command line's form, in which groups are ``"process,gpu"``."""
        return cls(interval_s, tuple(group.strip() for group in groups.split(",") if group.strip()))


MakeLogger = Callable[[int, Watch], Logger]  # of a process, with what reads it


def _make_logger(run_id: str, tracking_uri: str) -> MakeLogger:
    from mlflow_sysmetrics.logger import SystemMetricsLogger

    return lambda pid, watch: SystemMetricsLogger(run_id, tracking_uri, pid=pid, watch=watch)


class Watcher:
    """Logs into a run what a process and those below it use, between ``start`` and ``stop``.

    It is made before the program starts, so that nothing is imported later. Neither of the two raises, and
    neither waits long for a server: what goes wrong is logged as a warning.
    """

    def __init__(
        self,
        run_id: str,
        tracking_uri: str,
        settings: Settings,
        *,
        make: MakeLogger | None = None,
        ready_within_s: float = 5.0,
    ) -> None:
        self._run_id, self._settings, self._ready_within_s = run_id, settings, ready_within_s
        self._make = make or _make_logger(run_id, tracking_uri)
        self._pid = 0
        self._watch: Watch | None = None
        self._beginning: threading.Thread | None = None
        self._logger: Logger | None = None
        self._stopped = False
        self._lock = threading.RLock()  # a signal may come in the middle of stop, and its handler call stop again

    def start(self, pid: int) -> None:
        """Watch this process from now on. The logger is made in a thread, since it asks the server for its run."""
        try:
            watch = Watch(pid, self._settings.groups, self._settings.interval_s)
        except ValueError:  # it has ended already
            return
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

    def wait(self) -> None:
        """Wait for the process's end, and read it once more while the system still knows its CPU time.

        The process's parent calls this before it asks for the exit status. No-op where the system has no such wait.
        """
        if self._watch is not None and hasattr(os, "waitid"):  # not on Windows, nor on a Mac before Python 3.13
            with contextlib.suppress(ChildProcessError):  # somebody has asked for the status already
                os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
            self._watch.stop()

    def stop(self) -> None:
        """Deliver what there is, and end. Idempotent; takes at most the logger's own bound and `ready_within_s`."""
        if self._watch is not None:
            self._watch.stop()
        if self._beginning is not None:
            self._beginning.join(self._ready_within_s)
        with self._lock:
            self._stopped = True
            made, self._logger = self._logger, None
        if made is not None:
            self._end(made)

    def _begin(self, pid: int, watch: Watch) -> None:
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
