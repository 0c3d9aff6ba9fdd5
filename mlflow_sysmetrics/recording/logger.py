"""A measurement in one MLflow run, with nothing but ``with SystemMetricsLogger():``."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import mlflow
import psutil
from mlflow.utils.validation import path_not_unique, validate_param_and_metric_name

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.common.threads import Deadline, start_thread, within
from mlflow_sysmetrics.common.time_limits import DELIVER_BEFORE_KILL_S, DELIVER_S, LOOK_EVERY_S
from mlflow_sysmetrics.delivery import Point, Run, writer_for
from mlflow_sysmetrics.delivery.location import find_run
from mlflow_sysmetrics.delivery.operations import SYSTEM_PREFIX
from mlflow_sysmetrics.limits import Stop, end_tree, process_limits
from mlflow_sysmetrics.measurement import Measurement, Phase, check_attainable
from mlflow_sysmetrics.recording.outcome import Outcome
from mlflow_sysmetrics.recording.recording import Recording

logger = get_logger(__name__)
T = TypeVar("T")

_MAX_PREFIX = 150  # of MLflow's 250, so that there is room for the metric's own name

_recorded: set[tuple[str, str, str, str]] = set()  # the series that loggers of this process write


class _Steps(NamedTuple):
    """The training steps so far."""

    number: int = 0
    seconds: float = 0.0

    @property
    def figures(self) -> dict[str, float]:
        """What the summary says of them."""
        return {"steps": float(self.number), "mean_step_time_ms": self.mean_ms_since(_Steps())}

    def mean_ms_since(self, earlier: _Steps) -> float:
        """The mean time of the steps since then, of which there was at least one."""
        return 1000 * (self.seconds - earlier.seconds) / (self.number - earlier.number)


class SystemMetricsLogger:
    """Record what this process, and those it started, use while a run is active.

    ``with SystemMetricsLogger(): train()`` is all that is needed inside an MLflow run. Means and maxima of each second
    go to the run (after hours, of ten seconds), and at its end the `summary`. While the store is away they wait, also
    on disk; ``mlflow-sysmetrics sync`` delivers what a process that ended meanwhile has left. Nothing raises after
    construction. Only `start` and `stop` wait, for a disk and the store: at most five seconds.

    A run's series of one prefix have one writer on a machine. Where a logger of this process has them, another one
    raises; where another process has them, it warns and records nothing, so that all workers of a distributed training
    may run the same script.

    Args:
        run_id: the run; by default the active one (this thread's, or else the latest of any), or MLFLOW_RUN_ID's.
        tracking_uri: the store of that run; by default MLflow's current one.
        prefix: of the metrics' names; only those that start with ``system/`` are in the UI's System metrics tab.
        pid: the process; by default this one.
        limits: such as ``"peak_memory_mb<=8000, elapsed_s<=7200"``. When one is broken, the tag
            ``sysmetrics.stop_reason`` says so, and `on_break` is called.
        on_break: called once, in a thread of its own, with the ``Stop`` that says which limit was broken. By default
            the run becomes KILLED, and this process and those below it get SIGTERM, ten seconds later SIGKILL.
        measurement: one that was made, and perhaps started or stopped, before; instead of `pid`.

    Raises:
        ValueError: an argument is wrong, there is no run, or this process records it already.
    """

    def __init__(
        self,
        run_id: str | None = None,
        tracking_uri: str | None = None,
        *,
        prefix: str = SYSTEM_PREFIX,
        pid: int | None = None,
        limits: str | None = None,
        on_break: Callable[[Stop], None] | None = None,
        measurement: Measurement | None = None,
    ) -> None:
        _check_prefix(prefix)
        self._measurement = measurement or Measurement(pid)
        parsed = process_limits(limits)
        if parsed.rules and measurement is None and pid in (None, os.getpid()):
            check_attainable(parsed)
        self._on_break = on_break
        self._measurement.limit(parsed, self._on_broken)
        self._steps = _Steps()
        self._steps_before = _Steps()  # by the last point
        self._run = _opened(run_id, tracking_uri or mlflow.get_tracking_uri())
        self._recording = Recording(self._measurement, self._run, prefix)
        self._pid = os.getpid()
        self._series = (str(self._pid), self._run.tracking_uri, str(self._run.run_id), prefix)
        if self._series in _recorded:
            raise ValueError(
                f"run_id={self.run_id!r}: a logger of this process writes its {prefix}* already; "
                "stop that one, or give this one another prefix"
            )
        self._lock = threading.RLock()  # a signal's handler may call `stop` while its thread has it
        self._started = False
        self._stopped = False
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since it was measured
            self._process = psutil.Process(self._measurement.pid)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def run_id(self) -> str | None:
        """The id of the run; None for one that is still to be created."""
        return self._run.run_id

    @property
    def summary(self) -> dict[str, float]:
        """What the process has used so far, see `Measurement.summary`, and its steps; fixed after `stop`."""
        return self._recording.summary

    @property
    def is_recording(self) -> bool:
        """Whether readings are taken: between `start` and `stop`, and not where another process has the series."""
        return self._started and not self._stopped and os.getpid() == self._pid  # a forked child has no threads

    def start(self) -> SystemMetricsLogger:
        """Start reading. No-op if it was started before: to go on in the run after `stop`, make another logger."""
        if self._stopped:
            logger.warning("run %s: this logger was stopped; make a new one to continue", self.run_id)
            return self
        with self._lock:
            if not self._started and os.getpid() == self._pid:
                with never_raises("the start of system metrics"):
                    self._started = self._begin()
        return self

    def stop(self) -> dict[str, float]:
        """Take a last reading, deliver what is left within five seconds, and return the summary. Idempotent."""
        if self._stops():
            with never_raises("the end of system metrics"):
                self._finish(DELIVER_S)
        return self.summary

    def __enter__(self) -> SystemMetricsLogger:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def phase(self, name: str) -> Phase:
        """A context manager around a part of the program, such as ``with logger.phase("load"):``.

        The run gets ``phase/<name>/elapsed_s``, ``cpu_seconds`` and ``peak_memory_mb``; see `Measurement.phase`.
        """
        return self._measurement.phase(name)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """A context manager around one training step. Steps of any thread count; one that raises does not."""
        began = time.perf_counter()
        yield
        if self.is_recording:
            with self._lock:
                seconds = self._steps.seconds + time.perf_counter() - began
                self._steps = _Steps(self._steps.number + 1, seconds)
                self._recording.figures = self._steps.figures

    def timed(self, iterable: Iterable[T]) -> Iterator[T]:
        """The same items; from handing one out to being asked for the next is one training step."""
        for item in iterable:
            with self.step():
                yield item

    def _begin(self) -> bool:
        """Start the threads; False where another process has the series."""
        if not self._recording.begin():
            return False
        self._measurement.start()
        _recorded.add(self._series)
        atexit.register(self.stop)
        self._thread = start_thread(self._work, "recorder")
        return True

    def _stops(self) -> bool:
        """Whether this is the first call that ends the recording."""
        if os.getpid() != self._pid:  # a fork, where a thread that is not there may have the lock
            return False
        with self._lock:  # `start` may be under way
            is_first = self.is_recording
            self._stopped |= is_first
        return is_first

    def _on_broken(self, stop: Stop) -> None:
        start_thread(lambda: self._break(stop), "stop")
        logger.warning("stopping: %s", stop)  # last: the log may be on a disk that hangs

    @never_raises("ending a run")
    def _break(self, stop: Stop) -> None:
        """A limit is broken: tag the run, then call `on_break` or end the process. Waits for no store."""
        outcome = stop.outcome()
        if self._on_break is not None:
            self._run.log(tags=outcome.tags)
            self._on_break(stop)
        elif self._stops():  # else `stop` was there first: the process has gone on without a limit
            self._finish(DELIVER_BEFORE_KILL_S, outcome)
            if self._process is not None:
                end_tree(self._process)

    def _finish(self, timeout_s: float, outcome: Outcome | None = None) -> None:
        """Take a last reading, and deliver what is left within this time; where a limit ends the process, with this."""
        deadline = Deadline(timeout_s)
        atexit.unregister(self.stop)
        self._measurement.stop()  # in this thread: it may hold our locks
        self._stopping.set()

        def deliver() -> None:
            assert self._thread is not None
            self._thread.join(deadline.left())  # it may be moving windows
            self._move()
            self._recording.end(outcome, deadline.left())

        with contextlib.suppress(TimeoutError):  # the thread that a signal has interrupted may hold the writer's lock
            within(deadline.left(), deliver)
        _recorded.discard(self._series)

    def _work(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            self._move()

    def _move(self) -> None:
        """Move closed windows into the run, and the mean time of the steps since the last ones."""
        windows = self._recording.move()
        steps = self._steps
        if windows and steps.number > self._steps_before.number:
            mean_ms = steps.mean_ms_since(self._steps_before)
            self._run.log([Point(f"{self._recording.prefix}step_time_ms", mean_ms, windows[-1].time_ms)])
            self._steps_before = steps


def recorded_runs() -> set[str]:
    """The ids of the runs that loggers of this process write now."""
    return {run_id for pid, _, run_id, _ in _recorded if pid == str(os.getpid())}


def _opened(run_id: str | None, tracking_uri: str) -> Run:
    """The handle of the run with this id, or else of the current one. ValueError where there is none."""
    writer = writer_for(tracking_uri)
    run = find_run(run_id, writer.store)
    return writer.open(run.run_id, start_ms=run.start_ms)


def _check_prefix(prefix: str) -> None:
    """ValueError for what cannot begin the name of a metric."""
    if not isinstance(prefix, str) or len(prefix) > _MAX_PREFIX or not _is_name(f"{prefix}x"):
        allowed = f"at most {_MAX_PREFIX} letters, digits and any of _-. / as in a relative path"
        raise ValueError(f"prefix={prefix!r}: give {allowed}")


def _is_name(name: str) -> bool:
    return bool(validate_param_and_metric_name(name)) and not path_not_unique(name)  # type: ignore[no-untyped-call]
