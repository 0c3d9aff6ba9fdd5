"""`measure()`: what a process and those below it use, from start to stop, and in each phase. Needs no MLflow."""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.common.time_limits import READING_S
from mlflow_sysmetrics.limits import Limits, LimitsError, Stop, Values, digits
from mlflow_sysmetrics.metrics import SUMMARY, allowed_name
from mlflow_sysmetrics.monitor import Monitor, Window
from mlflow_sysmetrics.sampling import MEMORY, ProcessSampler, Sampler, check_pid, reset_peak_rss, trim_heap

logger = get_logger(__name__)
_OF_WHOLE_PROCESS = ("peak_memory_mb", "peak_rss_mb")  # with all that it had loaded before
_OF_A_GPU = "_process_memory_mb"  # the end of the name, gpu_0_process_memory_mb
_MAX_NAME = 100  # of MLflow's 250, with what stands around it
_ADDS_UP = {"elapsed_s", "cpu_seconds"}  # over the times in a phase
_RUN_AFTER_THE_CALL = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
Listener = Callable[[dict[str, float]], None]
F = TypeVar("F", bound=Callable[..., Any])


def measure(pid: int | None = None) -> Measurement:
    """Measure a process and those below it: around a block, or as a decorator around each call of a function.

        with measure() as m:
            with m.phase("load"): ...
            train()
        m.summary["peak_memory_mb"]

        @measure()
        def train(): ...
        train()
        train.summary["cpu_seconds"]

    Args:
        pid: the process; None is this one.

    Raises:
        ValueError: an argument is wrong, or there is no such process.
    """
    return Measurement(pid)


class Measurement:
    """One process tree from `start` to `stop`. Used once; after construction nothing raises. See `measure`.

    Args:
        children: measure the processes below it, too.
        window_s: seconds of a window of the series, see `drain`; in a long run up to ten.
        sample: read this instead: a function that returns numbers by name.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        pid: int | None = None,
        *,
        interval_s: float = 0.1,
        children: bool = True,
        window_s: float = 1.0,
        sample: Callable[[], Mapping[str, float]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_pid(pid)
        self.pid = pid
        self._clock = clock
        self._sample = sample
        self._children = children
        self._process: ProcessSampler | None = None
        self._monitor = Monitor(
            self._read, interval_s=interval_s, window_s=window_s, on_sample=self._on_reading, clock=clock
        )
        self._phases: dict[str, Phase] = {}
        self._listeners: tuple[Listener, ...] = ()
        self._limits = Limits(())
        self._on_break: Callable[[Stop], object] | None = None
        self.broken: Stop | None = None  # the first limit that a reading has broken
        self._peak_gpu_mb: float | None = None
        self._first_mb: float | None = None
        self._began: float | None = None
        self.began_ms: int | None = None  # when `start` was called, in unix ms
        self._interval_began: Mapping[str, float] = {}  # the values when `interval` was called last
        self._summary: dict[str, float] | None = None  # known once it is stopped

    def start(self) -> Measurement:
        """Begin. No-op if it was begun or stopped before."""
        if self._began is None and self._summary is None:
            if self._sample is None and self.pid in (None, os.getpid()):
                trim_heap()  # else memory that earlier work has freed hides some of this one's
                reset_peak_rss()  # else a higher mark of earlier work hides this one's
            self._began = self._clock()
            self.began_ms = time.time_ns() // 1_000_000
            if self._sample is None:
                sampler = Sampler(self.pid, children=self._children)
                self._process = sampler.process
                self._sample = sampler
            self._first_mb = self._monitor.read().get(MEMORY)
            self._monitor.start()
        return self

    def stop(self, timeout_s: float = READING_S) -> dict[str, float]:
        """Take a last reading, and return the summary. Idempotent.

        It takes `timeout_s` at most twice: for the reading under way, and for the last one.
        """
        if self._summary is None:
            if self._process is not None:
                self._process.read_all_next()
            self._on_break = None
            self._monitor.stop(timeout_s)
            self._summary = self._with_phases(self._own_summary())
        return dict(self._summary)

    def __enter__(self) -> Measurement:
        if self._summary is not None:
            logger.warning("this measurement was stopped, and keeps its numbers; make a new one with measure()")
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __call__(self, function: F) -> F:
        """A function like this one; after a call of it, its attribute `summary` has what the call used.

        ValueError for a coroutine or a generator, whose call only makes an object.
        """
        if any(is_kind(function) for is_kind in _RUN_AFTER_THE_CALL):
            raise ValueError(
                f"@measure() on {function.__name__}: it runs after its call; use `with measure():` around what runs it"
            )

        @functools.wraps(function)
        def wrapper(*args: Any, **named: Any) -> Any:
            with Measurement(self.pid) as call:
                try:
                    return function(*args, **named)
                finally:
                    wrapper.summary = call.stop()  # type: ignore[attr-defined]

        return wrapper  # type: ignore[return-value]

    def __repr__(self) -> str:
        """The summary without phases, as of the last reading."""
        values = self._own_summary() if self._summary is None else self._summary
        shown = ", ".join(f"{name}={round(values[name], 2)}" for name in SUMMARY if name in values)
        return f"Measurement({shown})"

    @property
    def summary(self) -> dict[str, float]:
        """What the process used from `start` until now, or `stop`; what could not be read is absent.

        Its metrics are those of a process in docs/metrics.md, and ``phase/<name>/..``.
        """
        if self._summary is not None:
            return dict(self._summary)
        if self._process is not None:
            self._process.read_all_next()
        return self._with_phases(self._read_now())

    def phase(self, name: str) -> Phase:
        """A context manager around a part of the program, which yields an object with a `summary`.

        Phases may be nested, and one that is entered again adds up. Threads that run at once need phases with names of
        their own. Characters that MLflow refuses in a metric's name become ``_``.
        """
        parts = allowed_name(str(name))[:_MAX_NAME].split("/")
        clean = "/".join(part for part in parts if part not in ("", ".", "..")) or "_"  # else no path on disk is unique
        if clean not in self._phases:
            self._phases[clean] = Phase(lambda: self.elapsed_s, self._read_now)
            self.subscribe(self._phases[clean].see)
        return self._phases[clean]

    def subscribe(self, listener: Listener) -> None:
        """Call this after each reading from now on, in the thread that took it, until the process is gone.

        It gets the summary so far, without phases, and ``memory_mb``, the reading itself. It must not touch a disk, a
        network, or a lock that these can hold.
        """
        self._listeners = (*self._listeners, listener)

    def limit(self, limits: Limits, on_break: Callable[[Stop], object] | None = None) -> Measurement:
        """Judge each reading from now on by these: `broken` is the first limit that one has broken.

        Then `on_break` is called, once, as a listener is. The last reading, which `stop` takes, does not call it.
        """
        self._limits = limits
        self._on_break = on_break
        return self

    def record_peak_rss(self, megabytes: float) -> None:
        """Count a high-water mark of a process of the tree that somebody else has read, as wait4(2) gives it."""
        if self._process is not None:
            self._process.peak_rss.record(megabytes)
            if self._summary is not None:
                self._summary |= self._process.used

    @property
    def elapsed_s(self) -> float:
        """Seconds since `start`, up to `stop`; 0 before."""
        if self._summary is not None:
            return self._summary["elapsed_s"]
        return 0.0 if self._began is None else self._clock() - self._began

    def drain(self) -> list[Window]:
        """The windows that have closed since the last call: at most the newest 1200."""
        return self._monitor.drain()

    def interval(self) -> dict[str, float]:
        """``cpu_percent`` since the last call (100 is one core), and ``memory_mb`` now; absent if not readable."""
        before = self._interval_began
        now = self._read_now()
        seconds = now["elapsed_s"] - before.get("elapsed_s", 0.0)
        if "memory_mb" not in now or "cpu_seconds" not in now or seconds <= 0:
            return {}
        self._interval_began = now
        cpu_s = now["cpu_seconds"] - before.get("cpu_seconds", 0.0)
        return {"cpu_percent": 100 * cpu_s / seconds, "memory_mb": now["memory_mb"]}

    def _read(self) -> Mapping[str, float]:
        return self._sample() if self._sample is not None else {}

    def _read_now(self) -> dict[str, float]:
        """The values that listeners get, of a reading that is taken now."""
        return self._values(self._monitor.read())

    def _values(self, reading: Mapping[str, float]) -> dict[str, float]:
        values = self._own_summary()
        if MEMORY in reading:
            values["memory_mb"] = reading[MEMORY]
        return values

    def _with_phases(self, values: Mapping[str, float]) -> dict[str, float]:
        summary = dict(values)
        summary.pop("memory_mb", None)
        for name, phase in tuple(self._phases.items()):
            for key, value in phase.summary_at(values).items():
                summary[f"phase/{name}/{key}"] = value
        return summary

    def _own_summary(self) -> dict[str, float]:
        """The summary without phases."""
        elapsed_s = self.elapsed_s
        values = {"elapsed_s": elapsed_s}
        if self._process is not None:
            values |= self._process.used
        if "cpu_seconds" in values and elapsed_s:
            values["mean_cpu_percent"] = 100 * values["cpu_seconds"] / elapsed_s
        peak_mb = self._monitor.peaks.get(MEMORY)
        if peak_mb is not None:
            values["peak_memory_mb"] = peak_mb
            if self._first_mb is not None:  # else nothing tells how much of it was there at the start
                values["memory_growth_mb"] = peak_mb - self._first_mb
        if self._peak_gpu_mb is not None:
            values["peak_gpu_memory_mb"] = self._peak_gpu_mb
        return values

    def _on_reading(self, reading: Mapping[str, float]) -> None:
        on_gpus = [value for name, value in reading.items() if name.endswith(_OF_A_GPU)]
        if on_gpus:
            self._peak_gpu_mb = max(sum(on_gpus), self._peak_gpu_mb or 0.0)
        if not (self._listeners or self._limits.rules) or MEMORY not in reading:
            return
        values = self._values(reading)
        if self.broken is None:
            self.broken = self._limits.crossed(values)
            if self.broken is not None and self._on_break is not None:
                with never_raises("ending what has broken a limit"):
                    self._on_break(self.broken)
        for listener in self._listeners:
            with never_raises("a listener of a measurement"):  # the other listeners still get the reading
                listener(values)


def check_attainable(limits: Limits, values: Values | None = None) -> None:
    """LimitsError where a process is above a limit on memory before its work has begun.

    `values` are its summary so far. None: this process is read.
    """
    if values is None:
        with Measurement() as measurement:
            values = measurement.summary
    memory = {name: values[name] for name in _OF_WHOLE_PROCESS if name in values}
    if stop := limits.crossed(memory):
        has = f"the process has {stop.metric} {digits(stop.value, 4)} before the work begins"
        raise LimitsError(str(limits), f"{has}; raise the limit, or limit memory_growth_mb in its place")


class Phase:
    """What the process uses while its program is in one phase: the differences of readings as it begins and ends.

    It counts also if it raises, and includes the phases inside it, all threads and the processes below. Its peak is
    that of the readings in it.
    """

    def __init__(self, elapsed_s: Callable[[], float], read: Callable[[], Mapping[str, float]]) -> None:
        self._elapsed_s = elapsed_s
        self._read = read
        self._began: Mapping[str, float] | None = None  # the reading at its entry, while the program is in it
        self._used: dict[str, float] = {}  # in its earlier times
        self._peak_mb: float | None = None

    def __enter__(self) -> Phase:
        self._began = self._read()
        self.see(self._began)
        return self

    def __exit__(self, *exc_info: object) -> None:
        left_s = self._elapsed_s()  # first: the reading is none of its time
        self._used = self.summary_at({**self._read(), "elapsed_s": left_s})
        self._began = None

    def see(self, values: Mapping[str, float]) -> None:
        """Take in a reading, if the program is in this phase."""
        if self._began is not None and "memory_mb" in values:
            self._peak_mb = max(values["memory_mb"], self._peak_mb or 0.0)

    def summary_at(self, now: Mapping[str, float]) -> dict[str, float]:
        """The summary by the values of this moment."""
        summary = dict(self._used)
        began = self._began
        if began is not None:
            for name in _ADDS_UP & now.keys():
                summary[name] = summary.get(name, 0.0) + now[name] - began.get(name, 0.0)
        if self._peak_mb is not None:
            summary["peak_memory_mb"] = self._peak_mb
        return summary

    @property
    def summary(self) -> dict[str, float]:
        """``elapsed_s``, ``cpu_seconds`` and ``peak_memory_mb``, of times that go on up to now."""
        return self.summary_at(self._read())
