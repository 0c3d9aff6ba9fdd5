"""What a study spent, and what its rules saved of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from entrypoints.search.record import TrialRecord
from mlflow_sysmetrics.limits import Values
from mlflow_sysmetrics.tags import BY_PERSON


@dataclass(frozen=True)
class Spending:
    """Seconds of CPU, and of a process's wall time; NaN where they are unknown."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        return Spending(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)

    @property
    def is_known(self) -> bool:
        """Whether both are."""
        return not math.isnan(self.cpu_s + self.wall_s)

    def less(self, other: Spending) -> Spending:
        """This minus the other, at least 0."""
        return Spending(max(0.0, self.cpu_s - other.cpu_s), max(0.0, self.wall_s - other.wall_s))


@dataclass(frozen=True)
class Budget:
    """What was spent, what was saved, and by which rule; ``source`` says what the saving is counted against.

    ``unknown`` further trials do not say what they have spent, and are in none of the sums.
    """

    spent: Spending
    by_reason: dict[str, Spending]
    stopped: dict[str, int]
    source: str
    unknown: int = 0

    @property
    def saved(self) -> Spending:
        """All of it."""
        return total(self.by_reason.values())

    @property
    def saved_cpu_percent(self) -> float:
        """The share of the CPU seconds that the study would have taken."""
        return _percent(self.saved.cpu_s, self.spent.cpu_s)

    @property
    def saved_wall_percent(self) -> float:
        """The share of the trials' wall seconds."""
        return _percent(self.saved.wall_s, self.spent.wall_s)

    def rows(self) -> list[dict[str, Any]]:
        """One row per rule."""
        return [
            {
                "reason": reason,
                "trials": self.stopped[reason],
                "saved_cpu_s": saved.cpu_s,
                "saved_wall_s": saved.wall_s,
                "counted_against": self.source,
            }
            for reason, saved in self.by_reason.items()
        ]


def spent(figures: Values) -> Spending:
    """The seconds that a trial has used; NaN where its figures do not hold that, as of a process that died."""
    wall_s, cpu_s = figures.get("elapsed_s"), figures.get("cpu_seconds")  # None of a table's row that lacks it
    wall_s = math.nan if wall_s is None else wall_s
    return Spending(wall_s if cpu_s is None else cpu_s, wall_s)


def account(trials: Iterable[TrialRecord], full: Mapping[str, Spending], source: str) -> Budget:
    """Count what trials spent, and what stopped trials would have spent in addition.

    Args:
        trials: all trials of the study.
        full: the full cost of each configuration, by ``Configuration.key``.
        source: where these costs come from.
    """
    each = [(trial, spent(trial.figures)) for trial in trials]
    known = [(trial, cost) for trial, cost in each if cost.is_known]
    by_reason: dict[str, Spending] = {}
    stopped: dict[str, int] = {}
    for trial, cost in known:
        if trial.status == "KILLED":
            reason = _rule(trial)
            saved = full.get(trial.configuration.key, Spending()).less(cost)
            by_reason[reason] = by_reason.get(reason, Spending()) + saved
            stopped[reason] = stopped.get(reason, 0) + 1
    return Budget(total(cost for _, cost in known), by_reason, stopped, source, len(each) - len(known))


def total(spendings: Iterable[Spending]) -> Spending:
    """All of them together."""
    return sum(spendings, Spending())


def _rule(trial: TrialRecord) -> str:
    if trial.ending is None:
        return "time limit" if trial.cut_off else BY_PERSON if trial.by_person else "scheduler"
    return f"{trial.ending.stop.criterion}, {trial.ending.how}"


def _percent(saved: float, spent: float) -> float:
    return 100 * saved / (saved + spent) if saved + spent else 0.0
