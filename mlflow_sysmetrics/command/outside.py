"""Watching a program that knows nothing of this package: from outside, by its process id."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mlflow_sysmetrics.addresses import get_logger
from mlflow_sysmetrics.arguments import check_seconds
from mlflow_sysmetrics.sampling.groups import check_groups, sampler

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


Sample = Callable[[], dict[str, float]]
MakeLogger = Callable[[int, Sample], Logger]  # of a process, with what reads it


def _make_logger(run_id: str, tracking_uri: str, settings: Settings) -> MakeLogger:
    from mlflow_sysmetrics.logger import SystemMetricsLogger

    return lambda pid, sample: SystemMetricsLogger(
        run_id, tracking_uri, interval_s=settings.interval_s, pid=pid, sample=sample
    )


class _FromTheStart:
    """A sampler whose first reading is taken soon after the program's start, and kept until it is asked for.

    A logger that is made meanwhile has its run to look for, and by then a short program has ended.
    """

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._kept: dict[str, float] = {}

    def read_ahead(self) -> None:
        """Take the first reading, which has rates too."""
        time.sleep(_FIRST_RATES_S)
        self._kept = self._sample()

    def __call__(self) -> dict[str, float]:
        kept, self._kept = self._kept, {}
        return {**kept, **self._sample()}


class Watcher:
    """Logs into a run what a process and those below it use, between ``start`` and ``stop``.

    It is made before the program starts, so that nothing has to be imported by then. Neither of the two raises, and
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
        self._run_id, self._groups, self._ready_within_s = run_id, settings.groups, ready_within_s
        self._make = make or _make_logger(run_id, tracking_uri, settings)
        self._beginning: threading.Thread | None = None
        self._logger: Logger | None = None
        self._stopped = False
        self._lock = threading.RLock()  # a signal may come in the middle of stop, and its handler call stop again

    def start(self, pid: int) -> None:
        """Take a first reading of this process, and go on in a thread: a new logger asks the server for its run."""
        try:
            sample = _FromTheStart(sampler(self._groups, pid=pid))
            sample.read_ahead()  # here: a thread may have to wait, for a pass of the garbage collector say
        except ValueError:  # it has ended already
            return
        run = contextvars.copy_context().run  # MLflow keeps its workspace in the context
        beginning = threading.Thread(
            target=run, args=(self._begin, pid, sample), name="mlflow-sysmetrics-watcher", daemon=True
        )
        try:
            beginning.start()
        except RuntimeError as error:  # no more threads
            self._without_metrics(error)
        else:
            self._beginning = beginning

    def stop(self) -> None:
        """Deliver what there is, and end. Idempotent; takes at most the logger's own bound and `ready_within_s`."""
        if self._beginning is not None:
            self._beginning.join(self._ready_within_s)
        with self._lock:
            self._stopped = True
            made, self._logger = self._logger, None
        if made is not None:
            self._end(made)

    def _begin(self, pid: int, sample: _FromTheStart) -> None:
        try:
            made = self._make(pid, sample)
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
