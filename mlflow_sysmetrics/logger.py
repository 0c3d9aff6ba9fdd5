"""A measurement in one MLflow run, with nothing but ``with SystemMetricsLogger():``."""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import mlflow
import psutil
from mlflow.utils.validation import path_not_unique, validate_param_and_metric_name

from mlflow_sysmetrics.delivery import Point, RunHandle, window_points, writer_for
from mlflow_sysmetrics.delivery.journal import InUseError
from mlflow_sysmetrics.delivery.location import find_run
from mlflow_sysmetrics.delivery.operations import SYSTEM_PREFIX
from mlflow_sysmetrics.guard import never_raises
from mlflow_sysmetrics.limits import Stop, Watchdog, check_attainable, end_tree, process_limits
from mlflow_sysmetrics.measurement import Measurement, Phase
from mlflow_sysmetrics.outcome import Outcome
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION as DEFINITION
from mlflow_sysmetrics.tags import MEMORY_DEFINITION, NODE, PID
from mlflow_sysmetrics.threads import Deadline, within

logger = get_logger(__name__)
T = TypeVar("T")

_MAX_PREFIX = 150  # of MLflow's 250, so that there is room for the metric's own name
_MOVE_EVERY_S = 0.5
_STOP_WITHIN_S = 5.0  # to deliver what is left at the end
_KILL_WITHIN_S = 0.5  # the same, before a limit ends the process

_recorded: set[tuple[str, ...]] = set()  # the series that loggers of this process write


class _Steps(NamedTuple):
    """The training steps so far."""

    seconds: float = 0.0
    number: int = 0


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
        node: a label of this machine in the names, ``system/<node>/...``, where several machines share a run.
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
        node: str | None = None,
        limits: str | None = None,
        on_break: Callable[[Stop], None] | None = None,
        measurement: Measurement | None = None,
    ) -> None:
        self._prefix = _full_prefix(prefix, node)
        self._measurement = measurement or Measurement(pid)
        pid = pid or self._measurement.pid
        parsed = process_limits(limits)
        if parsed.rules and measurement is None and pid in (None, os.getpid()):
            check_attainable(parsed)
        self._on_break = on_break
        self._watchdog = Watchdog(self._break, parsed, judged_while="memory_mb")
        self._steps = _Steps()
        self._steps_before = _Steps()  # by the last point
        self._run = _opened(run_id, tracking_uri or mlflow.get_tracking_uri())
        self._tags = {NODE: node or platform.node(), MEMORY_DEFINITION: DEFINITION, PID: pid or os.getpid()}
        self._pid = os.getpid()
        self._series = (str(self._pid), self._run.tracking_uri, str(self._run.run_id), self._prefix)
        if self._series in _recorded:
            raise ValueError(
                f"run_id={self.run_id!r}: a logger of this process writes its {self._prefix}* already; "
                "stop that one, or give this one another prefix or node"
            )
        self._lock = threading.RLock()  # a signal's handler may call `stop` while its thread has it
        self._started = False
        self._stopped = False
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since it was measured
            self._process = psutil.Process(pid)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-sysmetrics-recorder", daemon=True)

    @property
    def run_id(self) -> str | None:
        """The id of the run; None for one that is still to be created."""
        return self._run.run_id

    @property
    def summary(self) -> dict[str, float]:
        """What the process has used so far, see `Measurement.summary`, and its steps; fixed after `stop`."""
        steps = self._steps
        if not steps.number:
            return self._measurement.summary
        mean_ms = 1000 * steps.seconds / steps.number
        return {**self._measurement.summary, "steps": float(steps.number), "mean_step_time_ms": mean_ms}

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
                self._finish(_STOP_WITHIN_S)
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
                self._steps = _Steps(seconds, self._steps.number + 1)

    def timed(self, iterable: Iterable[T]) -> Iterator[T]:
        """The same items; from handing one out to being asked for the next is one training step."""
        for item in iterable:
            with self.step():
                yield item

    def _begin(self) -> bool:
        """Start the threads; False where another process has the series."""
        try:
            self._run.keep_journal(self._prefix)
        except InUseError:
            logger.warning("run %s: another logger records its %s*, and this one does not", self.run_id, self._prefix)
            return False
        except OSError as error:  # a TimeoutError, too
            logger.warning("while MLflow is away, system metrics wait in memory only. %s", error)
        self._measurement.subscribe(self._watchdog.see)
        self._measurement.start()
        _recorded.add(self._series)
        atexit.register(self.stop)
        with contextlib.suppress(RuntimeError):  # no more threads: `stop` moves all windows
            self._thread.start()
        return True

    def _stops(self) -> bool:
        """Whether this is the first call that ends the recording."""
        if os.getpid() != self._pid:  # a fork, where a thread that is not there may have the lock
            return False
        with self._lock:  # `start` may be under way
            is_first = self.is_recording
            self._stopped |= is_first
        return is_first

    def _break(self, run_id: str, outcome: Outcome) -> None:
        """A limit is broken: tag the run, then call `on_break` or end the process. Waits for no store and no disk."""
        if self._on_break is None:
            if self._stops():  # else `stop` was there first: the process has gone on without a limit
                self._finish(_KILL_WITHIN_S, outcome)
                if self._process is not None:
                    end_tree(self._process)
        elif self._watchdog.broken is not None:
            with contextlib.suppress(TimeoutError):  # a disk may hang
                within(_KILL_WITHIN_S, lambda: self._run.log(tags=outcome.tags))
            self._on_break(self._watchdog.broken)

    def _finish(self, timeout_s: float, outcome: Outcome | None = None) -> bool:
        """Take a last reading and deliver what is left, within this time; say whether nothing is left.

        Where a limit ends the process, with the outcome of its run.
        """
        deadline = Deadline(timeout_s)
        atexit.unregister(self.stop)
        self._watchdog.release()
        self._measurement.stop(timeout_s / 5)  # in this thread: it may hold our locks
        summary = self._named_summary()
        self._stopping.set()

        def deliver() -> bool:
            if self._thread.is_alive():
                self._thread.join(timeout_s / 5)  # it may be moving windows
            self._move_windows()
            self._run.log(summary=summary, own_since_ms=self._measurement.began_ms)
            if outcome is not None:
                self._run.end(outcome)
            return self._run.close(deadline.left() - timeout_s / 10)

        try:
            return within(max(0.1, deadline.left()), deliver)
        except TimeoutError:  # a disk hangs
            return False
        finally:
            _recorded.discard(self._series)

    def _work(self) -> None:
        self._run.log(tags=self._tags)
        while not self._stopping.wait(_MOVE_EVERY_S):
            if self._move_windows():
                self._run.checkpoint(self._named_summary(), self._measurement.began_ms)

    def _move_windows(self) -> bool:
        """Move closed windows into the run; say whether there were any."""
        windows = self._measurement.drain()
        points = window_points(windows, self._prefix)
        steps, before = self._steps, self._steps_before
        if windows and steps.number > before.number:
            mean_ms = 1000 * (steps.seconds - before.seconds) / (steps.number - before.number)
            points.append(Point(f"{self._prefix}step_time_ms", mean_ms, windows[-1].time_ms))
            self._steps_before = steps
        self._run.log(points)
        return bool(windows)

    def _named_summary(self) -> dict[str, float]:
        prefix = self._prefix.removeprefix(SYSTEM_PREFIX)
        return {f"{prefix}{name}": value for name, value in self.summary.items()}


def _opened(run_id: str | None, tracking_uri: str) -> RunHandle:
    """The handle of the run with this id, or else of the current one. ValueError where there is none."""
    writer = writer_for(tracking_uri)
    run = find_run(run_id, writer.store)
    return writer.open(run.run_id, start_ms=run.start_ms)


def _full_prefix(prefix: str, node: str | None) -> str:
    full = prefix if node is None else f"{prefix}{node}/"
    for name, text, start in (("prefix", prefix, prefix), ("node", node, full)):
        if text is not None and not (isinstance(text, str) and len(start) <= _MAX_PREFIX and _is_name(f"{start}x")):
            allowed = f"at most {_MAX_PREFIX} letters, digits and any of _-. / as in a relative path"
            raise ValueError(f"{name}={text!r}: give {allowed}")
    return full


def _is_name(name: str) -> bool:
    return bool(validate_param_and_metric_name(name)) and not path_not_unique(name)  # type: ignore[no-untyped-call]
