"""What a process tree uses, in one MLflow run, with nothing but ``with SystemMetricsLogger():``."""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import mlflow
import psutil
from mlflow.entities import Metric

from mlflow_sysmetrics.criteria.judge import Stop
from mlflow_sysmetrics.delivery.backlog import Backlog
from mlflow_sysmetrics.delivery.leftovers import keep
from mlflow_sysmetrics.delivery.points import SYSTEM_PREFIX, now_ms, points_now
from mlflow_sysmetrics.delivery.recording import Recording
from mlflow_sysmetrics.delivery.run_queue import End, RunQueue
from mlflow_sysmetrics.delivery.spool import (
    ForeignSpoolError,
    Header,
    SpoolFile,
    SpoolInUseError,
    spool_folder,
    spool_path,
)
from mlflow_sysmetrics.delivery.store import Store, find_run
from mlflow_sysmetrics.delivery.time_limit import within
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.measure import Measurement
from mlflow_sysmetrics.phases.figure import log_figure
from mlflow_sysmetrics.ranks import job_figures, rank_here
from mlflow_sysmetrics.redact import get_logger, lasting_uri, redacted_text
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION as DEFINITION
from mlflow_sysmetrics.sampling import check_groups, check_pid, check_seconds
from mlflow_sysmetrics.stopping.brake import Brake
from mlflow_sysmetrics.stopping.end_tree import end_tree
from mlflow_sysmetrics.stopping.process_criteria import check_readable, process_criteria
from mlflow_sysmetrics.tags import MEMORY_DEFINITION, NODE, PID

logger = get_logger(__name__)
T = TypeVar("T")

_NAME = re.compile(r"[\w\-. /]*")  # what MLflow takes in a metric's name on every system
_MAX_PREFIX = 150  # of MLflow's 250, so that there is room for the metric's own name
_REMEMBERED = 256
_WINDOW_S = 1.0  # a killed process loses at most this and one sample
_ENDING_S = 0.5  # to deliver before the process is ended, which goes on meanwhile
_NAMES_S = 1.0  # for the store to say which metrics the program has logged
_DISK_S = 5.0  # for opening the file in which points wait

_recorded: dict[Path, int] = {}  # by the series that a logger writes: its process
_last_steps: OrderedDict[Path, int] = OrderedDict()  # of series that ended in this process


class SystemMetricsLogger:
    """Record what this process, and those it started, use while a run is active.

    ``with SystemMetricsLogger(): train()`` is all that is needed inside an MLflow run. Each reading is folded into
    windows of a second; their means and maxima go to the run, first to a file of the user's own (see `spool`), then in
    batches to the store. While the store is away they wait there; ``mlflow-sysmetrics sync`` delivers what a process
    that ended meanwhile has left. Nothing raises after construction, and no call but ``stop`` waits for the store.

    A run's series of one prefix have one writer on a machine. Where a logger of this process has them, another one
    raises; where another process has them, it warns and records nothing, so that all workers of a distributed training
    may run the same script.

    Args:
        run_id: the run; by default the active one (this thread's, or else the latest of any), or MLFLOW_RUN_ID's.
        tracking_uri: the store of that run; by default MLflow's current one.
        interval_s: seconds between two readings.
        flush_every_s: seconds between two deliveries.
        prefix: of the metrics' names; only those that start with ``system/`` are in the UI's System metrics tab.
        groups: what is read.
        pid: the process; by default this one.
        node: a label of this machine in the names, ``system/<node>/...``, where several machines share a run.
        rank: which process of a job this is, where several share a run: its names are ``system/rank_<rank>/...``, and
            the figures of the run are those of the job, see `ranks`. By default what torchrun, MPI or Slurm say in the
            environment. -1: none, whatever they say.
        criteria: limits, such as ``"peak_memory_mb<=8000, elapsed_s<=7200"``. When one is broken, the tag
            ``sysmetrics.stop_reason`` says so, and `on_break` is called.
        on_break: called once, in a thread of its own, with the ``Stop`` that says which limit was broken. By default
            the run becomes KILLED, and this process and those below it get SIGTERM, ten seconds later SIGKILL.
        spool: the folder for what waits; by default MLFLOW_SYSMETRICS_SPOOL, or ``~/.local/state/mlflow-sysmetrics``.
        stop_within_s: the longest that `stop` takes, whatever the store and the disk do; at least half a second.
        watch: a watch that was made, and perhaps started, before; instead of `groups` and `interval_s`.

    Raises:
        ValueError: an argument is wrong, there is no run, or this process records it already.
    """

    def __init__(
        self,
        run_id: str | None = None,
        tracking_uri: str | None = None,
        *,
        interval_s: float = 0.1,
        flush_every_s: float = 2.0,
        prefix: str = SYSTEM_PREFIX,
        groups: Collection[str] = ("process",),
        pid: int | None = None,
        node: str | None = None,
        rank: int | None = None,
        criteria: str | None = None,
        on_break: Callable[[Stop], None] | None = None,
        spool: str | Path | None = None,
        stop_within_s: float = 5.0,
        watch: Measurement | None = None,
    ) -> None:
        check_seconds(interval_s=interval_s, flush_every_s=flush_every_s, stop_within_s=stop_within_s)
        self._flush_every_s, self._stop_within_s = flush_every_s, stop_within_s
        self._rank, self._ranks = _checked_rank(rank)
        self._prefix = _full_prefix(prefix, node, self._rank)
        self._criteria = None if criteria is None else process_criteria(criteria)
        self._on_break = on_break
        self._judged_while = "memory_mb" if "process" in groups else ""
        check_groups(groups)
        check_pid(pid)
        check_readable(self._criteria, groups)
        self._make_watch: Callable[[], Measurement] = lambda: (
            watch or Measurement(pid, groups, interval_s, window_s=_WINDOW_S)
        )
        self._tags = {NODE: node or platform.node(), MEMORY_DEFINITION: DEFINITION}
        self._store = Store(tracking_uri or mlflow.get_tracking_uri())
        self._run = find_run(run_id, self._store)
        self._watched = pid
        self._spool = spool_folder(spool)
        self._path = spool_path(self._spool, self._header(), self._prefix)
        if _recorded.get(self._path) == os.getpid():
            raise ValueError(
                f"run_id={self._run.run_id!r}: a logger of this process writes its {self._prefix}* already; "
                "stop that one, or give this one another prefix or node"
            )
        self._recording: Recording | None = None
        self._brake: Brake | None = None
        self._lock = threading.Lock()

    @property
    def run_id(self) -> str:
        """The run that is written to."""
        return self._run.run_id

    @property
    def is_recording(self) -> bool:
        """Whether readings are taken: False before `start`, after `stop`, and where another process has the series."""
        recording = self._recording
        return recording is not None and recording.is_here

    @property
    def store_is_away(self) -> bool:
        """Whether the store did not take what it was sent last."""
        recording = self._recording
        return recording is not None and recording.store_is_away

    def start(self) -> SystemMetricsLogger:
        """Start reading. No-op if already started. After `stop` the series go on where they ended."""
        try:
            with self._lock:
                if not self.is_recording:
                    self._recording = self._begin()
        except Exception:
            logger.warning("run %s goes on without system metrics", self.run_id, exc_info=True)
        return self

    def stop(self) -> None:
        """Take a last reading, and deliver what is left within `stop_within_s`. No-op if it has ended."""
        recording = self._recording
        if recording is None or not recording.is_here:
            return
        with self._lock:
            recording, self._recording = self._recording, None
        if recording is not None:
            try:
                self._end(recording)
            except Exception:
                logger.warning("the last system metrics of run %s may be missing", self.run_id, exc_info=True)

    def __enter__(self) -> SystemMetricsLogger:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def phase(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A context manager around a part of the program, such as ``with logger.phase("load"):``.

        The run gets ``phase/<name>/elapsed_s``, ``cpu_seconds`` and ``peak_memory_mb``, and at the end a figure of CPU
        and memory over time, ``phases.png``, where matplotlib is installed. Phases may be nested, in any thread, and
        one that is entered again adds up.
        """
        recording = self._recording
        return recording.phases.phase(name) if recording is not None and recording.is_here else contextlib.nullcontext()

    def step(self) -> Step:
        """A context manager around one training step. Steps of any thread count; one that raises does not."""
        return Step(self._step_took)

    def timed(self, iterable: Iterable[T]) -> Iterator[T]:
        """The same items; from handing one out to being asked for the next is one training step."""
        for item in iterable:
            began = time.perf_counter()
            yield item
            self._step_took(time.perf_counter() - began)

    def _step_took(self, seconds: float) -> None:
        recording = self._recording
        if recording is not None:
            recording.step_took(seconds)

    def _header(self) -> Header:
        tags = {**self._tags, PID: str(self._watched or os.getpid())}
        return Header(self.run_id, lasting_uri(self._store.tracking_uri), tags, start_ms=now_ms())

    def _begin(self) -> Recording | None:
        watch, header = self._make_watch(), self._header()  # before the file is open: the process may be gone by now
        try:
            file = within(_DISK_S, lambda: SpoolFile.create(self._path, header))
        except SpoolInUseError:
            logger.warning(
                "%s* of run %s is recorded by another logger; this one records nothing", self._prefix, self.run_id
            )
            watch.stop()
            return None
        except (OSError, ForeignSpoolError) as error:  # a TimeoutError, too
            logger.warning(
                "system metrics wait in memory only while MLflow is away, and not in %s. %s", self._path, error
            )
            file = None
        backlog = Backlog(file)
        writer = Writer(self._store, every_s=self._flush_every_s)
        queue = RunQueue(backlog, run_id=self.run_id, tags=header.tags)
        writer.attach(queue)
        began_ms = now_ms()
        try:
            recording = Recording(
                watch,
                backlog,
                writer,
                prefix=self._prefix,
                first_step=self._first_step(file),
                taken=lambda: self._logged_since(began_ms, writer),
            )
            if self._criteria is not None:
                process = psutil.Process(self._watched)
                self._brake = Brake(
                    lambda tags: self._broken(queue, process, tags), self._criteria, judged_while=self._judged_while
                )
                watch.tell(self._brake.see)
            recording.start()
        except BaseException:
            backlog.close()
            raise
        _recorded[self._path] = os.getpid()
        atexit.register(self.stop)
        return recording

    def _first_step(self, file: SpoolFile | None) -> int:
        """The last step of these series so far: in the store, in this process, and on disk."""
        steps = [step for name, step in self._run.steps.items() if self._prefix and name.startswith(self._prefix)]
        return max(0, *steps, _last_steps.get(self._path, 0), file.last_step if file is not None else 0)

    def _logged_since(self, began_ms: int, writer: Writer) -> set[str]:
        """The names of the metrics that the program has logged since then; the logger writes its own figures later."""
        if writer.is_away:
            return set()
        try:
            run = within(min(_NAMES_S, self._stop_within_s / 4), lambda: self._store.run(self.run_id))
        except Exception:  # then the program's own values are unknown, and ours are added to them
            return set()
        return {name for name, time_ms in run.times_ms.items() if time_ms >= began_ms}

    def _broken(self, queue: RunQueue, process: psutil.Process, tags: Mapping[str, str]) -> None:
        """A limit is broken: tag the run, then call `on_break` or end the process."""
        if self._on_break is not None:
            queue.add(tags=tags)
            if self._brake is not None and self._brake.broken is not None:
                self._on_break(self._brake.broken)
            return
        with self._lock:  # `start` may be under way
            recording, self._recording = self._recording, None
        if recording is None:  # `stop` was there first: the process has gone on without a limit
            return
        queue.add(tags=tags)
        killed = End("KILLED", now_ms())

        def end_the_run() -> None:
            queue.end = killed

        self._end(recording, end_the_run)
        end_tree(process)

    def _end(self, recording: Recording, end_the_run: Callable[[], None] | None = None) -> None:
        """Deliver what is left; where a limit ends the process, in a short time, with the end of its run."""
        atexit.unregister(self.stop)
        if self._brake is not None:
            self._brake.release()
        deadline = time.monotonic() + self._stop_within_s
        try:
            if end_the_run is None:
                delivered = recording.stop(self._stop_within_s)
            else:
                delivered = recording.stop(min(_ENDING_S, self._stop_within_s), end_the_run)
        finally:
            _recorded.pop(self._path, None)
            _last_steps[self._path] = recording.last_step
            _last_steps.move_to_end(self._path)
            if len(_last_steps) > _REMEMBERED:
                _last_steps.popitem(last=False)
        if end_the_run is None and delivered:
            self._complete(recording, deadline)
        elif end_the_run is not None and not delivered:  # the spool has the points, and this the end of the run
            keep(recording.left(lasting_uri(self._store.tracking_uri)), self._spool)
        if recording.lost:
            logger.warning("%d points of run %s could not be kept and are lost", recording.lost, self.run_id)
        elif not delivered:
            logger.warning(
                "MLflow has not taken all of run %s yet; `mlflow-sysmetrics sync` will deliver it", self.run_id
            )

    def _complete(self, recording: Recording, deadline: float) -> None:
        """Log the figures of the whole job and the picture of the phases, if there is time."""
        uri, moments, phases = self._store.tracking_uri, recording.course.moments, recording.phases
        name = "phases.png" if self._rank is None else f"phases_rank_{self._rank}.png"
        tasks: list[Callable[[], object]] = [self._log_job] if self._rank is not None else []
        if phases.is_used:
            tasks.append(lambda: log_figure(uri, self.run_id, moments, phases, name))
        for task in tasks:
            try:
                within(max(0.0, deadline - time.monotonic()), task)
            except Exception as error:
                logger.warning("run %s lacks a part of its figures: %s", self.run_id, redacted_text(str(error)))

    def _log_job(self) -> None:
        """The figures of all ranks together. Each rank logs them after its own, and again while more come."""
        written: dict[str, float] = {}
        while (figures := job_figures(self._store.run(self.run_id).values, self._ranks)) != written:
            points = points_now(figures, step=0)
            self._store.log_batch(
                self.run_id, [Metric(each.name, each.value, each.time_ms, each.step) for each in points], (), ()
            )
            written = figures


class Step:
    """One training step, from ``__enter__`` to ``__exit__``."""

    __slots__ = ("_began", "_took")

    def __init__(self, took: Callable[[float], None]) -> None:
        self._took, self._began = took, 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._took(time.perf_counter() - self._began)


def _checked_rank(rank: int | None) -> tuple[int | None, int | None]:
    """The rank, and the number of ranks where that is known."""
    if rank is None:
        return rank_here() or (None, None)
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < -1:
        raise ValueError(f"rank={rank!r}: give a whole number from 0 up, or -1 for none")
    return None if rank == -1 else rank, None


def _full_prefix(prefix: str, node: str | None, rank: int | None) -> str:
    for name, text in (("prefix", prefix), ("node", node)):
        if text is not None and not (isinstance(text, str) and _NAME.fullmatch(text) and len(text) <= _MAX_PREFIX):
            raise ValueError(
                f"{name}={text!r}: give letters, digits and any of _-. / and at most {_MAX_PREFIX} of them"
            )
    of_node = "" if node is None else f"{node}/"
    return f"{prefix}{of_node}" if rank is None else f"{prefix}{of_node}rank_{rank}/"
