"""Watching a process from one moment to another: the series, and the figures of the whole time."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from mlflow_sysmetrics.monitor import Monitor, Window
from mlflow_sysmetrics.sampling.groups import sampler
from mlflow_sysmetrics.sampling.readings import HERE

WINDOW_S = 1.0
_LAST_READING_S = 1.0
_CPU, _MEMORY = "process_cpu_percent", "process_memory_mb"


class Watch:
    """A process, and those below it, from construction to ``stop``. After construction nothing raises.

    Args:
        pid: the process; None is this one.
        groups: what is read, see `sources`.
        interval_s: seconds between two readings.

    Raises:
        ValueError: an argument is wrong, or there is no such process.
    """

    def __init__(self, pid: int | None, groups: Collection[str] = ("process",), interval_s: float = 0.1) -> None:
        self._began = time.monotonic()
        read = sampler(groups, pid=pid)
        self._first_mb = read().get(_MEMORY)
        self._monitor = Monitor(read, interval_s=interval_s, window_s=WINDOW_S)
        self._cpu_sum, self._cpu_samples = 0.0, 0
        self._monitor.start()

    def drain(self) -> list[Window]:
        """The windows of a second that have closed since the last call."""
        windows = [window for window in self._monitor.drain() if window.mean]
        for window in windows:
            if _CPU in window.mean:
                self._cpu_sum += window.samples * window.mean[_CPU]
                self._cpu_samples += window.samples
        return windows

    def so_far(self) -> dict[str, float]:
        """Means and maxima since the last call, and the figures of the whole time."""
        self._monitor.read()
        self._monitor.cut()
        means, maxima = folded(self.drain())
        return means | {f"{name}_max": value for name, value in maxima.items()} | self.figures()

    def figures(self) -> dict[str, float]:
        """``elapsed_s``, ``cpu_percent`` (the mean), ``peak_memory_mb`` and ``memory_growth_mb`` (that peak less the
        first reading), up to the last windows that were drained; what could not be read is absent."""
        figures = {"elapsed_s": time.monotonic() - self._began}
        if self._cpu_samples:
            figures["cpu_percent"] = self._cpu_sum / self._cpu_samples
        peak_mb = self._monitor.peaks.get(_MEMORY)
        if peak_mb is not None and self._first_mb is not None:
            peak_mb = max(peak_mb, self._first_mb)
            figures |= {"peak_memory_mb": peak_mb, "memory_growth_mb": peak_mb - self._first_mb}
        return figures

    def stop(self) -> None:
        """Take a last reading and end; the last windows can be drained then. Idempotent."""
        self._monitor.stop(_LAST_READING_S)


def folded(windows: Sequence[Window]) -> tuple[dict[str, float], dict[str, float]]:
    """The means, weighted by their readings, and the maxima of several windows as one."""
    sums: dict[str, float] = {}
    samples: dict[str, int] = {}
    maxima: dict[str, float] = {}
    for window in windows:
        for name, mean in window.mean.items():
            sums[name] = sums.get(name, 0.0) + window.samples * mean
            samples[name] = samples.get(name, 0) + window.samples
        for name, value in window.maximum.items():
            maxima[name] = max(value, maxima.get(name, value))
    return {name: total / samples[name] for name, total in sums.items()}, maxima


class Watches:
    """The processes of one machine that are watched, by the keys of whoever asked. For one thread; nothing raises."""

    def __init__(self, groups: Collection[str], interval_s: float) -> None:
        self._groups, self._interval_s = tuple(groups), interval_s
        self._watches: dict[str, Watch] = {}

    def start(self, key: str, pid: int) -> str | None:
        """Watch this process under a key; return what its memory figure is, or None if there is no such process."""
        try:
            self._watches[key] = Watch(pid, self._groups, self._interval_s)
        except ValueError:
            return None
        return HERE.memory_definition

    def drain(self) -> dict[str, list[Window]]:
        """The windows of each process that have closed since the last call."""
        return {key: windows for key, watch in self._watches.items() if (windows := watch.drain())}

    def stop(self, key: str) -> tuple[list[Window], dict[str, float]]:
        """Let a process go: its last windows, and the figures of the whole time. Nothing of one not watched."""
        watch = self._watches.pop(key, None)
        if watch is None:
            return [], {}
        watch.stop()
        windows = watch.drain()
        return windows, watch.figures()
