"""The processes of one machine that are watched, by the keys of whoever asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import psutil

from mlflow_sysmetrics.host import HostContext
from mlflow_sysmetrics.measure import Measurement
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.ranks import figures_in_turn
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION as DEFINITION
from mlflow_sysmetrics.stopping.cause_of_death import MemoryKills
from mlflow_sysmetrics.tags import MEMORY_DEFINITION


class LetGo(NamedTuple):
    """A process that is watched no longer: its last windows, the figures of the whole time, and how it died.

    `death` holds the tags that say so; it is empty for a process that is still there.
    """

    windows: list[Window]
    figures: dict[str, float]
    death: Mapping[str, str]


NOTHING = LetGo([], {}, {})


class _Watched(NamedTuple):
    pid: int
    watch: Measurement
    kills: MemoryKills
    seen: dict[str, float]  # the figures at the last reading at which it was there


class NodeWatches:
    """For one thread; nothing raises."""

    def __init__(self, groups: Collection[str], interval_s: float) -> None:
        self._groups, self._interval_s = tuple(groups), interval_s
        self._watched: dict[str, _Watched] = {}
        self._host = HostContext()

    def start(self, key: str, pid: int) -> dict[str, str]:
        """Measure this process under a key, if it is there; return tags of its host, and what its memory figure is."""
        try:
            watch = Measurement(pid, self._groups, self._interval_s)
        except ValueError:
            return self._host.tags()
        seen: dict[str, float] = {}
        watch.tell(lambda figures: seen.update(figures) if "memory_mb" in figures else None)
        self._watched[key] = _Watched(pid, watch.start(), MemoryKills(pid), seen)
        return {MEMORY_DEFINITION: DEFINITION} | self._host.tags()

    def drain(self) -> dict[str, list[Window]]:
        """The windows of each process that have closed since the last call."""
        for each in self._watched.values():
            each.kills.look()
        return {key: windows for key, each in self._watched.items() if (windows := each.watch.drain())}

    def stop(self, key: str) -> LetGo:
        """Let a process go. Nothing of one not watched. The time of one that is gone is that up to its last reading."""
        if key not in self._watched:
            return NOTHING
        pid, watch, kills, seen = self._watched.pop(key)
        runs = _runs(pid)
        watch.stop()
        figures = watch.figures()
        if not runs and seen:
            figures = figures_in_turn([figures | {"elapsed_s": seen["elapsed_s"]}])
        death = {} if runs else kills.death(figures, kills.happened(), "its process was gone")
        return LetGo(watch.drain(), figures, death)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
