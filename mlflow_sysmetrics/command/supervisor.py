"""Measure a program from outside, and end it where it breaks a limit or a person asks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from mlflow_sysmetrics.command.follow import Follower
from mlflow_sysmetrics.command.passthrough import STOPPED, Ended
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.limits import (
    GRACE_S,
    KILLED_WITHIN_S,
    Brake,
    Limits,
    MemoryKills,
    StopButton,
    check_readable,
    end_tree,
    process_limits,
)
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import GROUPS
from mlflow_sysmetrics.tags import STOP

logger = get_logger(__name__)
_LOOK_EVERY_S = 1.0  # in which control group the process is
_KILLED = (-9, 128 + 9)  # exit codes; a shell says the second when the command that it ran was killed


@dataclass(frozen=True)
class Settings:
    """What is measured: groups of metrics, and limits."""

    groups: tuple[str, ...] = ("process",)
    limits: Limits | None = None

    @classmethod
    def of(cls, groups: str = "process", limits: str = "") -> Settings:
        """From the command line's form. ValueError, with a sentence for the user, where one of them is wrong."""
        names = tuple(group.strip() for group in groups.split(",") if group.strip())
        found = process_limits(limits) if limits.strip() else None
        if not names or set(names) - set(GROUPS):
            raise ValueError(f"groups={groups!r}: give one or more of {', '.join(GROUPS)}, separated by commas")
        check_readable(found, names)
        return cls(names, found)


class Supervisor:
    """Measures a process and those below it, and has them recorded, from `start` to `finish`.

    It ends them when they break a limit, and when somebody sets the tag ``sysmetrics.stop`` of their run. Nothing
    raises, and nothing but `finish` waits for a store.
    """

    def __init__(self, settings: Settings, follower: Follower) -> None:
        self._settings, self._follower = settings, follower
        here = "memory_mb" if "process" in settings.groups else ""
        self._brake = Brake(lambda tags: self._end_process(), settings.limits, judged_while=here)
        self._button = StopButton(
            self._stop_tag, lambda _, said: self._brake.press(said), self._clear, is_away=lambda: follower.store_is_away
        )
        self._killed_for_memory: bool | None = None  # known once it has ended
        self._look_due = 0.0

    @property
    def stopped(self) -> Mapping[str, str]:
        """Why the process was ended from here, as tags; empty if it was not."""
        return self._brake.tags

    @property
    def summary(self) -> Mapping[str, float]:
        return self._measurement.summary

    def start(self, pid: int) -> None:
        """Measure this process, a child of this one, from now on."""
        self._pid, self._kills = pid, MemoryKills(pid)
        try:
            self._measurement = Measurement(pid, self._settings.groups)
        except ValueError as error:  # it cannot be seen: only its time can be told
            logger.warning("the program goes on without being measured: %s", error)
            self._measurement = Measurement(sample=dict)
        self._measurement.start()
        self._measurement.subscribe(self._brake.see)
        self._measurement.subscribe(self._look)
        self._follower.start(self._measurement, pid)
        self._button.start()

    def ended(self) -> None:
        """The process has ended, and its parent has not asked for its exit status: read it once more."""
        self._button.stop()
        self._brake.release()
        self._killed_for_memory = self._kills.happened()
        self._measurement.stop()
        self._brake.join(GRACE_S + KILLED_WITHIN_S)  # of processes below it that do not end when asked

    def finish(self, ended: Ended, *, ends: bool) -> Ended:
        """Have all of it delivered, after `ended`, and its run ended if asked. With code 124 if it was ended here."""
        tags = {**self.stopped, **self._died_of(ended.code)}
        if ended.peak_rss_mb is not None:
            self._measurement.record_peak_rss(ended.peak_rss_mb)
        if self.stopped:
            ended = Ended(STOPPED, told=True)
        self._follower.finish(ended.status, tags, ends=ends)
        return ended

    def _died_of(self, exit_code: int) -> Mapping[str, str]:
        """What killed the process or one below it, as tags; empty if nothing did."""
        for_memory, killed = self._killed_for_memory, exit_code in _KILLED
        if not exit_code or self.stopped or not (killed or for_memory):
            return {}
        seen = "ended by SIGKILL" if killed else "a process below it was killed"
        return self._kills.death(self.summary, for_memory, seen)

    def _end_process(self) -> None:
        if not end_tree(psutil.Process(self._pid)):
            logger.warning("process %d, or one below it, still runs although it was killed", self._pid)

    def _stop_tag(self) -> dict[str, str]:
        """What the tag of the program's run that asks for its end is set to; {} without it."""
        uri, _, run_id = self._follower.run
        tags = Store(uri).run(run_id).tags if run_id else {}
        return {run_id: tags[STOP]} if STOP in tags else {}

    def _clear(self, run_id: str) -> None:
        Store(self._follower.run.uri).delete_tag(run_id, STOP)

    def _look(self, summary: Mapping[str, float]) -> None:
        if (now := time.monotonic()) >= self._look_due:
            self._look_due = now + _LOOK_EVERY_S
            self._kills.look()
