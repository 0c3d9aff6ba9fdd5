"""A measurement in one MLflow run, with nothing but ``with SystemMetricsLogger():``."""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import mlflow
import psutil
from mlflow.utils.validation import path_not_unique, validate_param_and_metric_name

from mlflow_sysmetrics.delivery.journal import InUseError, Journal, journal_path
from mlflow_sysmetrics.delivery.operations import SYSTEM_PREFIX, Operation, Point, log, now_ms, window_points
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.replay import replay
from mlflow_sysmetrics.delivery.store import Store, find_run
from mlflow_sysmetrics.delivery.waiting import within
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.limits import Brake, Stop, check_readable, end_tree, process_limits
from mlflow_sysmetrics.measurement import Measurement, Phase
from mlflow_sysmetrics.ranks import job_summary, rank_here
from mlflow_sysmetrics.redact import get_logger, lasting_uri, redacted_text
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION as DEFINITION
from mlflow_sysmetrics.tags import MEMORY_DEFINITION, NODE, PID

logger = get_logger(__name__)
T = TypeVar("T")

_MAX_PREFIX = 150  # of MLflow's 250, so that there is room for the metric's own name
_KEEP_EVERY_S, _WRITE_EVERY_S = 0.5, 2.0
_STOP_WITHIN_S, _ENDING_S = 5.0, 0.5  # to deliver: at the end, and before the process is ended
_DISK_S = 5.0  # for opening the journal

_recorded: set[tuple[Path, int]] = set()  # the series that loggers of this process write, and the process


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
        groups: what is read.
        pid: the process; by default this one.
        node: a label of this machine in the names, ``system/<node>/...``, where several machines share a run.
        rank: which process of a job this is, where several share a run: its names are ``system/rank_<rank>/...``, and
            the summary of the run is that of the job, see `ranks`. By default what torchrun, MPI or Slurm say in the
            environment. -1: none, whatever they say.
        limits: limits, such as ``"peak_memory_mb<=8000, elapsed_s<=7200"``. When one is broken, the tag
            ``sysmetrics.stop_reason`` says so, and `on_break` is called.
        on_break: called once, in a thread of its own, with the ``Stop`` that says which limit was broken. By default
            the run becomes KILLED, and this process and those below it get SIGTERM, ten seconds later SIGKILL.
        measurement: one that was made, and perhaps started or stopped, before; instead of `pid` and `groups`.

    Raises:
        ValueError: an argument is wrong, there is no run, or this process records it already.
    """

    def __init__(
        self,
        run_id: str | None = None,
        tracking_uri: str | None = None,
        *,
        prefix: str = SYSTEM_PREFIX,
        groups: Collection[str] = ("process",),
        pid: int | None = None,
        node: str | None = None,
        rank: int | None = None,
        limits: str | None = None,
        on_break: Callable[[Stop], None] | None = None,
        measurement: Measurement | None = None,
    ) -> None:
        self._rank, self._ranks = _checked_rank(rank)
        self._prefix = _full_prefix(prefix, node, self._rank)
        self._measurement = measurement or Measurement(pid, groups)
        pid, groups = pid or self._measurement.pid, self._measurement.groups
        parsed = process_limits(limits)
        check_readable(parsed, groups)
        here = "memory_mb" if "process" in groups else ""
        self._on_break, self._brake = on_break, Brake(self._broken, parsed, judged_while=here)
        self._steps = self._steps_before = (0.0, 0)  # their seconds and number: now, and by the last point
        self._store = Store(tracking_uri or mlflow.get_tracking_uri())
        self._run = find_run(run_id, self._store)
        self._tags = {NODE: node or platform.node(), MEMORY_DEFINITION: DEFINITION, PID: pid or os.getpid()}
        self._uri, self._pid = lasting_uri(self._store.tracking_uri), os.getpid()
        self._path = journal_path(self._uri, self.run_id, self._prefix)
        if (self._path, self._pid) in _recorded:
            raise ValueError(
                f"run_id={self.run_id!r}: a logger of this process writes its {self._prefix}* already; "
                "stop that one, or give this one another prefix or node"
            )
        self._outbox, self._writer = Outbox(self.run_id), Writer(self._store, every_s=_WRITE_EVERY_S)
        self._lock = threading.RLock()  # a signal's handler may call `stop` while its thread has it
        self._started = self._stopped = False
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since it was measured
            self._process = psutil.Process(pid)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-sysmetrics-recorder", daemon=True)

    @property
    def run_id(self) -> str:
        return self._run.run_id

    @property
    def summary(self) -> dict[str, float]:
        """What the process has used so far, see `Measurement.summary`, and its steps; fixed after `stop`."""
        seconds, count = self._steps
        steps = {"steps": float(count), "mean_step_time_ms": 1000 * seconds / count} if count else {}
        return {**self._measurement.summary, **steps}

    @property
    def is_recording(self) -> bool:
        """Whether readings are taken: between `start` and `stop`, and not where another process has the series."""
        return self._started and not self._stopped and os.getpid() == self._pid  # a forked child has no threads

    @property
    def store_is_away(self) -> bool:
        """Whether the store did not take what it was sent last."""
        return self._writer.is_away

    def start(self) -> SystemMetricsLogger:
        """Start reading. No-op if it was started before: to go on in the run after `stop`, make another logger."""
        if self._stopped:
            logger.warning("run %s: this logger was stopped; make a new one to continue", self.run_id)
            return self
        with self._lock:
            if not self._started and os.getpid() == self._pid:
                try:
                    self._started = self._begin()
                except Exception:
                    logger.warning("run %s goes on without system metrics", self.run_id, exc_info=True)
        return self

    def stop(self) -> dict[str, float]:
        """Take a last reading, deliver what is left within five seconds, and return the summary. Idempotent."""
        if self._stops():
            deadline = time.monotonic() + _STOP_WITHIN_S
            try:
                if self._end() and self._rank is not None:
                    within(max(0.0, deadline - time.monotonic()), self._log_job)
            except Exception as error:
                logger.warning("the last data of run %s may be missing. %s", self.run_id, redacted_text(str(error)))
        return self.summary

    def leave(self) -> bool:
        """Deliver what there is within five seconds, and record nothing more; say whether nothing is left.

        The measurement goes on elsewhere.
        """
        return not self._stops() or self._end(goes_on=True)

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
                seconds, count = self._steps
                self._steps = seconds + time.perf_counter() - began, count + 1

    def timed(self, iterable: Iterable[T]) -> Iterator[T]:
        """The same items; from handing one out to being asked for the next is one training step."""
        for item in iterable:
            with self.step():
                yield item

    def _begin(self) -> bool:
        """Start the threads; False where another process has the series."""
        about = {"tracking_uri": self._uri, "run_id": self.run_id}
        try:  # a journal that is opened too late is nobody's, and closed
            self._outbox = within(_DISK_S, lambda: Outbox(self.run_id, journal=Journal(self._path, about)))
        except InUseError:
            logger.warning("run %s: another logger records its %s*, and this one does not", self.run_id, self._prefix)
            return False
        except OSError as error:  # a TimeoutError, too
            logger.warning("while MLflow is away, system metrics wait in memory only, not in %s. %s", self._path, error)
        self._outbox.start_ms = self._run.start_ms
        self._measurement.subscribe(self._brake.see)
        self._measurement.start()
        self._writer.attach(self._outbox)
        self._writer.start()
        with contextlib.suppress(RuntimeError):  # no more threads: `stop` moves all windows
            self._thread.start()
        _recorded.add((self._path, self._pid))
        atexit.register(self.stop)
        return True

    def _stops(self) -> bool:
        """Whether this is the first call that ends the recording."""
        if os.getpid() != self._pid:  # a fork, where a thread that is not there may have the lock
            return False
        with self._lock:  # `start` may be under way
            first = self.is_recording
            self._stopped |= first
        return first

    def _broken(self, tags: Mapping[str, str]) -> None:
        """A limit is broken: tag the run, then call `on_break` or end the process. Waits for no store and no disk."""
        if self._on_break is None:
            if self._stops():  # else `stop` was there first: the process has gone on without a limit
                self._end(tags)
                if self._process is not None:
                    end_tree(self._process)
        elif self._brake.broken is not None:
            with contextlib.suppress(TimeoutError):  # a disk may hang
                within(_ENDING_S, lambda: self._outbox.add(log(tags=tags)))
            self._on_break(self._brake.broken)

    def _end(self, killed: Mapping[str, str] | None = None, *, goes_on: bool = False) -> bool:
        """Take a last reading and deliver what is left; say whether nothing is left.

        Where a limit ends the process: in a short time, and at last the end of its run and why. Where the measurement
        `goes_on`: without its summary.
        """
        timeout_s = _ENDING_S if killed else _STOP_WITHIN_S
        deadline, delivered = time.monotonic() + timeout_s, False
        atexit.unregister(self.stop)
        self._brake.release()
        if not goes_on:
            self._measurement.stop(timeout_s / 5)  # in this thread: it may hold our locks
        last = [] if goes_on else self._summary()
        if killed:
            last.append(Operation("end", ["KILLED", now_ms(), dict(killed)]))
        self._stopping.set()

        def deliver() -> bool:
            if self._thread.is_alive():
                self._thread.join(timeout_s / 5)  # it may be moving windows
            self._move()
            self._outbox.add(last)
            whole = self._writer.close(max(0.0, deadline - 0.1 * timeout_s - time.monotonic()))
            self._outbox.close()
            return whole

        with contextlib.suppress(TimeoutError):
            delivered = within(max(0.1, deadline - time.monotonic()), deliver)
        _recorded.discard((self._path, self._pid))
        if self._outbox.lost:
            logger.warning("%d values of run %s could not be kept and are lost", self._outbox.lost, self.run_id)
        elif not delivered:
            logger.warning("MLflow has not taken all of run %s; `mlflow-sysmetrics sync` will deliver it", self.run_id)
        return delivered

    def _work(self) -> None:
        self._outbox.add(log(tags=self._tags))
        while not self._stopping.wait(_KEEP_EVERY_S):
            if self._move():
                self._outbox.say_last(*self._summary())

    def _move(self) -> bool:
        """Move closed windows to the outbox, where the writer finds them; say whether there were any."""
        windows = self._measurement.drain()
        points = window_points(windows, self._prefix)
        (seconds, count), (seconds_before, count_before) = self._steps, self._steps_before
        if windows and count > count_before:
            mean_ms = 1000 * (seconds - seconds_before) / (count - count_before)
            points.append(Point(f"{self._prefix}step_time_ms", mean_ms, windows[-1].time_ms))
            self._steps_before = seconds, count
        self._outbox.add(log(points))
        return bool(windows)

    def _summary(self) -> list[Operation]:
        prefix = self._prefix.removeprefix(SYSTEM_PREFIX)
        named = {f"{prefix}{name}": value for name, value in self.summary.items()}
        return log(summary=named, own_since_ms=self._measurement.began_ms)

    def _log_job(self) -> None:
        """The summary of all ranks together. Each rank logs it after its own, and again while more come."""
        written: dict[str, float] = {}
        while (summary := job_summary(self._store.run(self.run_id).values, self._ranks)) != written:
            outbox = Outbox(self.run_id)
            outbox.add(log(summary=summary))
            replay(outbox, self._store, lambda key: None)
            written = summary


def _checked_rank(rank: int | None) -> tuple[int | None, int | None]:
    """The rank, and the number of ranks where that is known."""
    if rank is None:
        return rank_here() or (None, None)
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < -1:
        raise ValueError(f"rank={rank!r}: give a whole number from 0 up, or -1 for none")
    return None if rank == -1 else rank, None


def _full_prefix(prefix: str, node: str | None, rank: int | None) -> str:
    full = prefix if node is None else f"{prefix}{node}/"
    for name, text, start in (("prefix", prefix, prefix), ("node", node, full)):
        if text is not None and not (isinstance(text, str) and len(start) <= _MAX_PREFIX and _is_name(f"{start}x")):
            allowed = f"at most {_MAX_PREFIX} letters, digits and any of _-. / as in a relative path"
            raise ValueError(f"{name}={text!r}: give {allowed}")
    return full if rank is None else f"{full}rank_{rank}/"


def _is_name(name: str) -> bool:
    return bool(validate_param_and_metric_name(name)) and not path_not_unique(name)  # type: ignore[no-untyped-call]
