"""How long a study will take: before its first trials each kind is timed, in the processes that wait anyway."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click
from ray.actor import ActorHandle

from entrypoints.compute.barrier import Barrier
from entrypoints.datasets.prepared import Prepared
from entrypoints.limits.cost_history import tell
from entrypoints.limits.duration_forecast import Forecast, forecast, one_of_each, time_kinds
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


def expected(barrier: Barrier, plan: Plan, data: Prepared, cpus: int) -> Forecast:
    """How long a search will take, from what the processes have left at the barrier, or else timed in this process.

    Args:
        barrier: of the first trials.
        plan: of the study.
        data: what its trials are trained on.
        cpus: how many run at once.
    """
    rounds = barrier.brought() or [time_kinds(one_of_each(plan.trials), data)]
    of_all = forecast(plan.trials, cpus, rounds)
    return replace(of_all, search_s=of_all.search_s * plan.size / len(plan.trials))  # which ones is not known


def announce(plan: Plan, trials: int, cpus: int, search_s: float) -> None:
    """Say what is about to happen.

    Args:
        plan: of the study.
        trials: how many are to be run.
        cpus: how many at once.
        search_s: how long they are expected to take in all.
    """
    settings, takes = plan.settings, duration(search_s)
    within = f", at most {duration(settings.time_limit_s)}" if settings.time_limit_s else ""
    of = f" of {plan.size}" if trials < plan.size else ""
    among = f", chosen among {len(plan.trials)}," if plan.learns else ""
    click.echo(
        f"Search: {trials}{of} trials of {settings.folds} folds{among} on {cpus} CPU cores, about {takes}{within}"
    )
    if min(search_s, settings.time_limit_s or math.inf) > LONG_S:
        within_an_hour = max(1, int(trials * 3600 / search_s))
        learn = "search=tpe (it tries a quarter of the grid), " if settings.search == "grid" else ""
        click.echo(
            f"This study takes about {takes} on {cpus} CPU cores and starts now. To shorten it, stop it and set "
            f"{learn}max_trials (about {within_an_hour} of the {trials} take an hour), max_rows, "
            f"folds (now {settings.folds}), max_steps, max_epochs, or time_limit_s (the best by then counts)."
        )
    if plan.stopping:
        click.echo(f"Limits: {plan.stopping.limits}; they may end the search sooner")
