"""`measure()`: what a process and those below it use, from start to stop, and in each phase. Needs no MLflow."""

from __future__ import annotations

import functools
import inspect
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mlflow_sysmetrics.guard import never_raises
from mlflow_sysmetrics.metrics import SUMMARY
from mlflow_sysmetrics.monitor import Monitor, Window
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import ProcessSampler, Sampler, check_pid

logger = get_logger(__name__)
_MEMORY = "process_memory_mb"
_OF_A_GPU = "_process_memory_mb"  # the end of the name, gpu_0_process_memory_mb
_REFUSED = re.compile(r"[^\w\-. /]")  # by MLflow, in a metric's name
_MAX_NAME = 100  # of MLflow's 250, with what stands around it

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
        self._is_own = pid in (None, os.getpid())
        self._tree_cpu_s = 0.0  # at the last reading
        self._own_cpu_s = 0.0  # at the last reading: of this process, by its own clock
        self._ended_s: tuple[float, ...] = ()  # CPU time of this process's ended children then
        self._phases: dict[str, Phase] = {}
        self._listeners: tuple[Listener, ...] = ()
        self._peak_gpu_mb: float | None = None
        self._first_mb: float | None = None
        self._last_mb: float | None = None
        self._began: float | None = None
        self.began_ms: int | None = None  # when `start` was called, in unix ms
        self._cut = (0.0, 0.0)  # when `interval` was called last, and the CPU seconds then
        self._summary: dict[str, float] | None = None  # known once it is stopped

    def start(self) -> Measurement:
        """Begin. No-op if it was begun or stopped before."""
        if self._began is None and self._summary is None:
            self._began = self._clock()
            self.began_ms = time.time_ns() // 1_000_000
            self._cut = (self._began, 0.0)
            if self._sample is None:
                sampler = Sampler(self.pid, children=self._children)
                self._process = sampler.process
                self._sample = sampler
            self._first_mb = self._monitor.read().get(_MEMORY)
            self._monitor.start()
        return self

    def stop(self, timeout_s: float = 1.0) -> dict[str, float]:
        """Take a last reading, and return the summary. Idempotent.

        It takes `timeout_s` at most twice: for the reading under way, and for the last one.
        """
        if self._summary is None:
            if self._process is not None:
                self._process.read_all_next()
            self._monitor.stop(timeout_s)
            for phase in tuple(self._phases.values()):
                phase.close()
            self._summary = self._so_far()
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

        ``elapsed_s``; ``cpu_seconds``, the sum of ``user_cpu_seconds`` and ``system_cpu_seconds``;
        ``mean_cpu_percent``: CPU seconds over elapsed ones, 100 is one core; ``peak_memory_mb`` and
        ``memory_growth_mb``: that peak less the first reading; ``peak_rss_mb``: the highest resident memory of one
        process of the tree, by the kernel's own mark; ``read_mb`` and ``write_mb``: from and to storage; where GPUs
        are read ``peak_gpu_memory_mb``, the most on all GPUs together at one reading; and ``phase/<name>/..``.
        """
        if self._summary is not None:
            return dict(self._summary)
        if self._process is not None:
            self._process.read_all_next()
        self._monitor.read()
        return self._so_far()

    def phase(self, name: str) -> Phase:
        """A context manager around a part of the program, which yields an object with a `summary`.

        Phases may be nested, in any thread, and one that is entered again adds up. Characters that MLflow refuses in a
        metric's name become ``_``.
        """
        parts = _REFUSED.sub("_", str(name))[:_MAX_NAME].split("/")
        clean = "/".join(part for part in parts if part not in ("", ".", "..")) or "_"  # else no path on disk is unique
        return self._phases.setdefault(clean, Phase(self._clock, self._cpu_until_now, lambda: self._last_mb))

    def subscribe(self, listener: Listener) -> None:
        """Call this after each reading from now on, in the thread that took it.

        It gets the summary so far, without phases, and ``memory_mb``, the reading itself, which is absent once the
        process is gone. It must not touch a disk, a network, or a lock that these can hold.
        """
        self._listeners = (*self._listeners, listener)

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
        memory_mb = self._monitor.read().get(_MEMORY)
        now = self._clock()
        cut_at, cut_cpu_s = self._cut
        cpu_s = self._cpu_seconds
        if memory_mb is None or cpu_s is None or now <= cut_at:
            return {}
        self._cut = (now, cpu_s)
        return {"cpu_percent": 100 * (cpu_s - cut_cpu_s) / (now - cut_at), "memory_mb": memory_mb}

    def so_far(self) -> dict[str, float]:
        """Means and maxima of the readings since the last call, or in the last window, `interval`, and the summary."""
        interval = self.interval()
        self._monitor.cut()
        values: dict[str, float] = {}
        for window in self.drain()[-1:]:
            values = window.mean | {f"{name}_max": value for name, value in window.maximum.items()}
        return values | interval | self.summary

    def _read(self) -> Mapping[str, float]:
        self._ended_s = os.times()[2:4]
        return self._sample() if self._sample is not None else {}

    @property
    def _cpu_seconds(self) -> float | None:
        if self._process is None or not self._process.cpu.is_known:
            return None
        return self._process.cpu.seconds

    def _cpu_until_now(self) -> float | None:
        """As `_cpu_seconds`, up to now: this process's own time needs no reading, that of its children does."""
        if self._process is None:
            return None
        if len(self._process.pids) > 1 or os.times()[2:4] != self._ended_s:
            self._monitor.read()
        if not self._is_own:
            return self._tree_cpu_s
        return self._tree_cpu_s + max(0.0, time.process_time() - self._own_cpu_s)

    def _so_far(self) -> dict[str, float]:
        values = self._own_summary()
        for name, phase in tuple(self._phases.items()):
            for key, value in phase.summary.items():
                values[f"phase/{name}/{key}"] = value
        return values

    def _own_summary(self) -> dict[str, float]:
        """The summary without phases."""
        elapsed_s = self.elapsed_s
        values = {"elapsed_s": elapsed_s}
        if self._process is not None:
            values |= self._process.used
        if "cpu_seconds" in values and elapsed_s:
            values["mean_cpu_percent"] = 100 * values["cpu_seconds"] / elapsed_s
        peak_mb = self._monitor.peaks.get(_MEMORY)
        if peak_mb is not None:
            values["peak_memory_mb"] = peak_mb
            if self._first_mb is not None:  # else nothing tells how much of it was there at the start
                values["memory_growth_mb"] = peak_mb - self._first_mb
        if self._peak_gpu_mb is not None:
            values["peak_gpu_memory_mb"] = self._peak_gpu_mb
        return values

    def _on_reading(self, reading: Mapping[str, float]) -> None:
        if self._process is not None:
            self._tree_cpu_s = self._process.cpu.seconds
            self._own_cpu_s = self._process.root_cpu_s
        memory_mb = reading.get(_MEMORY)
        if memory_mb is not None:
            self._last_mb = memory_mb
            for phase in tuple(self._phases.values()):
                phase.add_reading(memory_mb)
        on_gpus = [value for name, value in reading.items() if name.endswith(_OF_A_GPU)]
        if on_gpus:
            self._peak_gpu_mb = max(sum(on_gpus), self._peak_gpu_mb or 0.0)
        if not self._listeners:
            return
        summary = self._own_summary()
        if memory_mb is not None:
            summary["memory_mb"] = memory_mb
        for listener in self._listeners:
            with never_raises("a listener of a measurement"):  # the other listeners still get the reading
                listener(summary)


class Phase:
    """The times in one phase of a program, and what it used in them. It counts also if it raises.

    A phase has all its time and that of the phases inside it, CPU time of all threads and of the processes below. Of
    threads that are in it at once the times add up; the CPU time is the process's, and counts once. Its peak is that of
    the readings in it; a phase without any has that of the last one before.
    """

    def __init__(
        self, clock: Callable[[], float], cpu_s: Callable[[], float | None], last_mb: Callable[[], float | None]
    ) -> None:
        self._clock = clock
        self._cpu_s = cpu_s
        self._last_mb = last_mb
        self._lock = threading.RLock()  # a signal's handler may end the measurement while its thread is in here
        self._entered: list[float] = []  # when each of those that are in it came: which one leaves makes no difference
        self._elapsed_s = 0.0
        self._used_cpu_s = 0.0
        self._began_cpu_s: float | None = None  # of the process, when the first of them came
        self._before_mb: float | None = None
        self._peak_mb: float | None = None

    def __enter__(self) -> Phase:
        cpu_s = self._cpu_s()
        now = self._clock()  # after it: a reading is none of its time
        with self._lock:
            if not self._entered:
                self._began_cpu_s = cpu_s
            self._entered.append(now)
            self._before_mb = max(self._before_mb or 0.0, self._last_mb() or 0.0) or None
        return self

    def __exit__(self, *exc_info: object) -> None:
        now = self._clock()
        cpu_s = self._cpu_s()
        with self._lock:
            if self._entered:  # else the measurement has ended
                self._elapsed_s += now - self._entered.pop()
                if not self._entered:
                    self._used_cpu_s += (cpu_s or 0.0) - (self._began_cpu_s or 0.0)

    def close(self) -> None:
        """End the times that have not ended."""
        while self._entered:
            self.__exit__()

    def add_reading(self, memory_mb: float) -> None:
        if self._entered:
            self._peak_mb = max(memory_mb, self._peak_mb or 0.0)

    @property
    def summary(self) -> dict[str, float]:
        """``elapsed_s``, ``cpu_seconds`` and ``peak_memory_mb``, of times that go on up to now."""
        now = self._clock()
        entered = tuple(self._entered)
        values = {"elapsed_s": self._elapsed_s + sum(now - entered_at for entered_at in entered)}
        if self._began_cpu_s is not None:
            values["cpu_seconds"] = self._used_cpu_s
            if entered:
                values["cpu_seconds"] += (self._cpu_s() or 0.0) - self._began_cpu_s
        peak_mb = self._before_mb if self._peak_mb is None else self._peak_mb
        if peak_mb is not None:
            values["peak_memory_mb"] = peak_mb
        return values
