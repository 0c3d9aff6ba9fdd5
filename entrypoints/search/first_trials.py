"""How long a study will take: before its first trials each kind is timed, in the processes that wait anyway."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from ray.actor import ActorHandle

from entrypoints.compute.barrier import Barrier
from entrypoints.datasets.prepared import Prepared
from entrypoints.limits.duration_forecast import Forecast, forecast, one_of_each, time_kinds
from entrypoints.limits.ledger import tell
from entrypoints.models.configuration import Configuration
from entrypoints.progress import duration

if TYPE_CHECKING:
    from entrypoints.search.plan import Plan

LONG_S = 3600.0  # a study that takes longer is announced with what would shorten it


@dataclass(frozen=True)
class FirstTrials:
    """The side of a trial's process.

    The processes wait for each other, time each kind of trial at once, as loaded as in the search, and leave what they
    have seen at the barrier and in the ledger.

    Attributes:
        barrier: where they wait.
        kinds: one configuration of each kind.
        ledger: of the costs of trials, if there are limits.
    """

    barrier: Barrier
    kinds: list[Configuration]
    ledger: ActorHandle | None = None

    def wait(self, data: Prepared) -> bool:
        """Return when this process's trial can begin; False where it takes the place of another process."""
        if not self.barrier.wait():
            return False
        timed = time_kinds(self.kinds, data)
        tell(self.ledger, [(kind, costs) for kind, costs in zip(self.kinds, timed, strict=True) if costs])
        self.barrier.bring(timed)
        return True

    def begin(self) -> None:
        """Return when Tune has begun all of the first trials.

        When a trial ends, Tune drops other processes that it does not yet know to be up. A skipped trial takes only a
        few milliseconds, so without this wait the whole study could run in one process.
        """
        self.barrier.begin()


def expected(barrier: Barrier, trials: list[Configuration], data: Prepared, cpus: int) -> Forecast:
    """How long a search will take, from what the processes have left at the barrier, or else timed in this process.

    Args:
        barrier: of the first trials.
        trials: of the whole study.
        data: what they are trained on.
        cpus: how many run at once.
    """
    return forecast(trials, cpus, barrier.brought() or [time_kinds(one_of_each(trials), data)])


def announce(plan: Plan, left: Sequence[Configuration], cpus: int, search_s: float) -> None:
    """Say what is about to happen.

    Args:
        plan: of the study.
        left: the trials that are to be run.
        cpus: how many at once.
        search_s: how long they are expected to take in all.
    """
    settings, trials, takes = plan.settings, len(left), duration(search_s)
    within = f", at most {duration(settings.time_limit_s)}" if settings.time_limit_s else ""
    of = f" of {len(plan.trials)}" if trials < len(plan.trials) else ""
    click.echo(f"Search: {trials}{of} trials of {settings.folds} folds on {cpus} CPU cores, about {takes}{within}")
    if min(search_s, settings.time_limit_s or math.inf) > LONG_S:
        within_an_hour = max(1, int(trials * 3600 / search_s))
        click.echo(
            f"This study takes about {takes} on {cpus} CPU cores and starts now. To shorten it, stop it and set "
            f"max_trials (about {within_an_hour} of the {trials} take an hour), max_rows, folds (now {settings.folds}),"
            " max_steps, max_epochs, or time_limit_s (the best by then counts)."
        )
    if plan.stopping:
        click.echo(f"Limits: {plan.stopping.criteria}; they may end the search sooner")
