"""One process from start to stop, and its total figures. A process's figures are computed here alone."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from mlflow_sysmetrics.monitor import Monitor, Window
from mlflow_sysmetrics.phases.totals import Phases
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import ProcessSampler, sampler

logger = get_logger(__name__)
LAST_READING_S = 1.0
MEMORY = "process_memory_mb"
_OF_A_GPU = "_process_memory_mb"  # the end of the name, gpu_0_process_memory_mb

CURVES = ("cpu_percent", "memory_mb")  # of the intervals between two reports of a trial
FIGURES = (  # of the whole time; those of `phases` come with them
    *("elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb", "peak_gpu_memory_mb"),
    *("read_mb", "write_mb"),
)
_OF_GROUP = {"peak_gpu_memory_mb": "gpu"}  # the others, but for elapsed_s, are of `process`
Listener = Callable[[dict[str, float]], None]


def figures_of(groups: Collection[str]) -> set[str]:
    """The names of the figures that a `Measurement` of these groups may have."""
    return {name for name in FIGURES if name == "elapsed_s" or _OF_GROUP.get(name, "process") in groups}


class Measurement:
    """A process, and those below it, from construction to ``stop``; read in a thread from ``start`` on.

    Used once. After construction nothing raises.

    Args:
        pid: the process; None is this one.
        groups: what is read, see `sampling`. Without ``process`` there are no figures but ``elapsed_s``.
        interval_s: seconds between two readings.
        window_s: seconds of a window of the series.
        on_reading: called after each reading, see `tell`.
        sample: read this instead of the groups: a function that returns numbers by name.
        clock: seconds that never go back.

    Raises:
        ValueError: an argument is wrong, or there is no such process.
    """

    def __init__(
        self,
        pid: int | None = None,
        groups: Collection[str] = ("process",),
        interval_s: float = 0.1,
        *,
        window_s: float = 1.0,
        on_reading: Listener | None = None,
        sample: Callable[[], Mapping[str, float]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._began = self._cut_at = clock()
        read = sampler(groups, pid) if sample is None else sample
        self._process: ProcessSampler | None = getattr(read, "process", None)
        self._monitor = Monitor(read, interval_s=interval_s, window_s=window_s, on_sample=self._seen, clock=clock)
        self._is_own = pid in (None, os.getpid())
        self._cpu_read = (0.0, 0.0)  # at the last reading: of the tree, and of this process by its own clock
        self.phases = Phases(clock, self._cpu_until_now)
        self._listeners: tuple[Listener, ...] = ()
        self._failed: list[Listener] = []
        self._peak_gpu_mb: float | None = None
        self._first_mb = self._monitor.read().get(MEMORY)
        if on_reading is not None:
            self.tell(on_reading)
        self._cut_cpu_s = 0.0
        self._elapsed_s: float | None = None  # known once it is stopped

    def start(self) -> Measurement:
        """Read in a thread from now on. No-op if it was started or stopped before."""
        with contextlib.suppress(RuntimeError):
            self._monitor.start()
        return self

    def tell(self, listener: Listener) -> None:
        """Call this after each reading from now on, in the thread that took it.

        It gets the figures that are known at once: ``elapsed_s``, ``cpu_seconds``, ``mean_cpu_percent``, ``read_mb``,
        ``write_mb``, ``peak_memory_mb``, ``memory_growth_mb``, ``peak_gpu_memory_mb``, and ``memory_mb``, the reading
        itself, which is absent once the process is gone. What a listener raises is logged once.
        """
        self._listeners = (*self._listeners, listener)

    @property
    def elapsed_s(self) -> float:
        """Seconds since construction, up to ``stop``."""
        return self._clock() - self._began if self._elapsed_s is None else self._elapsed_s

    @property
    def pids(self) -> set[int]:
        """The ids of the process, and of those that were seen below it; none where it is not read."""
        return set() if self._process is None else self._process.pids.copy()

    def read(self) -> None:
        """Take one more reading now."""
        self._monitor.read()

    def drain(self) -> list[Window]:
        """The windows that have closed since the last call."""
        return [window for window in self._monitor.drain() if window.mean]

    def interval(self) -> dict[str, float]:
        """``cpu_percent`` since the last call (100 is one core), and ``memory_mb`` now; absent if not readable."""
        memory_mb = self._monitor.read().get(MEMORY)
        now, cpu_s = self._clock(), self._cpu_seconds
        if memory_mb is None or cpu_s is None or now <= self._cut_at:
            return {}
        percent = 100 * (cpu_s - self._cut_cpu_s) / (now - self._cut_at)
        self._cut_at, self._cut_cpu_s = now, cpu_s
        return {"cpu_percent": percent, "memory_mb": memory_mb}

    def so_far(self) -> dict[str, float]:
        """Means and maxima of the readings since the last call, ``interval``, and the figures of the whole time.

        Of a longer time than 1200 windows only the newest readings count.
        """
        interval = self.interval()
        self._monitor.cut()
        means, maxima = folded(self.drain())
        return means | {f"{name}_max": value for name, value in maxima.items()} | interval | self.figures()

    def figures(self) -> dict[str, float]:
        """What the process used from construction until now, or ``stop``; what could not be read is absent.

        ``elapsed_s``, ``cpu_seconds`` (user and system), ``mean_cpu_percent`` (the one over the other; 100 is one
        core), ``peak_memory_mb``, ``memory_growth_mb``: that peak less the first reading, and ``read_mb`` and
        ``write_mb``: from and to storage. With the group ``gpu`` ``peak_gpu_memory_mb``, the most that it had on all
        GPUs together at one reading.
        """
        if self._elapsed_s is None and self._process is not None:
            self._process.read_all_next()
        self._monitor.read()
        return self._times() | self._io_mb | self._memory() | self.phases.figures()

    def stop(self, timeout_s: float = LAST_READING_S) -> None:
        """Take a last reading and end; the last windows can be drained then. Idempotent.

        It takes `timeout_s` at most twice: for the reading under way, and for the last one.
        """
        if self._elapsed_s is None:
            if self._process is not None:
                self._process.read_all_next()
            self._monitor.stop(timeout_s)
            self.phases.close()
            self._elapsed_s = self.elapsed_s

    @property
    def _cpu_seconds(self) -> float | None:
        return None if self._process is None else self._process.cpu_seconds

    @property
    def _io_mb(self) -> dict[str, float]:
        return {} if self._process is None else self._process.io_mb

    def _cpu_until_now(self) -> float | None:
        """As `_cpu_seconds`; this process's own time since the last reading is in it."""
        if self._process is None:
            return None
        read_s, own_s = self._cpu_read
        return read_s + (max(0.0, time.process_time() - own_s) if self._is_own else 0.0)

    def _times(self) -> dict[str, float]:
        elapsed_s, cpu_s = self.elapsed_s, self._cpu_seconds
        if cpu_s is None or self._first_mb is None or not elapsed_s:
            return {"elapsed_s": elapsed_s}
        return {"elapsed_s": elapsed_s, "cpu_seconds": cpu_s, "mean_cpu_percent": 100 * cpu_s / elapsed_s}

    def _memory(self) -> dict[str, float]:
        on_gpus = {} if self._peak_gpu_mb is None else {"peak_gpu_memory_mb": self._peak_gpu_mb}
        peak_mb = self._monitor.peaks.get(MEMORY)
        if peak_mb is None or self._first_mb is None:
            return on_gpus
        peak_mb = max(peak_mb, self._first_mb)
        return {"peak_memory_mb": peak_mb, "memory_growth_mb": peak_mb - self._first_mb, **on_gpus}

    def _seen(self, reading: Mapping[str, float]) -> None:
        if (cpu_s := self._cpu_seconds) is not None:
            self._cpu_read = (cpu_s, time.process_time() if self._is_own else 0.0)
        if MEMORY in reading:
            self.phases.see(reading[MEMORY])
        if on_gpus := [value for name, value in reading.items() if name.endswith(_OF_A_GPU)]:
            self._peak_gpu_mb = max(sum(on_gpus), self._peak_gpu_mb or 0.0)
        if not self._listeners:
            return
        figures = self._times() | self._memory() | self._io_mb
        if MEMORY in reading:
            figures["memory_mb"] = reading[MEMORY]
        for listener in self._listeners:
            try:
                listener(figures)
            except Exception as error:  # the other listeners still get the reading
                self._fail(listener, error)

    def _fail(self, listener: Listener, error: Exception) -> None:
        if listener not in self._failed:
            self._failed.append(listener)
            logger.warning("a listener failed after a reading; the recording goes on", exc_info=error)


def folded(windows: Sequence[Window]) -> tuple[dict[str, float], dict[str, float]]:
    """The means, over the seconds of each, and the maxima of several windows as one."""
    sums: dict[str, float] = {}
    seconds: dict[str, float] = {}
    maxima: dict[str, float] = {}
    for window in windows:
        for name, mean in window.mean.items():
            sums[name] = sums.get(name, 0.0) + window.seconds[name] * mean
            seconds[name] = seconds.get(name, 0.0) + window.seconds[name]
        for name, value in window.maximum.items():
            maxima[name] = max(value, maxima.get(name, value))
    return {name: total / seconds[name] for name, total in sums.items()}, maxima
