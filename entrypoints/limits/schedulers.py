"""What may end a trial of a study early: the user's limits, and a scheduler of Ray Tune."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.limits import costs
from entrypoints.limits.stopping import Stopping
from entrypoints.settings import DEFAULT_CRITERIA, Limits
from mlflow_sysmetrics.criteria.judge import Criteria, CriteriaError


@dataclass(frozen=True)
class Rules:
    """Limits, or None; and a scheduler's name, or "none"."""

    stopping: Stopping | None = None
    scheduler: str = "none"


NO_RULES = Rules()


def stopping_rules(task: Task, limits: Limits | None, readable: Callable[[Task], set[str]] = costs.readable) -> Rules:
    """The rules that a user's limits mean for trials of a task.

    Raises:
        UserError: the text of the limits has a mistake, or this machine cannot read what it limits.
    """
    if limits is None:
        return NO_RULES
    try:
        criteria = Criteria.parse(DEFAULT_CRITERIA if limits.criteria is None else limits.criteria, costs.metrics(task))
        criteria.check(readable(task))
    except CriteriaError as error:
        raise UserError(str(error)) from None
    return Rules(Stopping(criteria, limits.predict), limits.scheduler)


def scheduling(name: str, report_every: int, steps: int) -> dict[str, Any]:
    """The arguments of Tune's configuration for a scheduler that looks at ``val_loss`` at every report.

    Args:
        name: none, asha or median.
        report_every: training steps between two reports.
        steps: those of the longest trial.
    """
    if name == "none":
        return {}
    from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule  # slow to import, and rules are read first

    if name == "asha":
        # A trial that reaches max_t is stopped, so that it is one step more than any trial has.
        scheduler = ASHAScheduler(time_attr="step", max_t=steps + 1, grace_period=report_every)
    else:
        # A trial never makes way for others, from which it could not come back: nothing of it is kept.
        never = math.inf
        scheduler = MedianStoppingRule(
            time_attr="step", grace_period=report_every, min_samples_required=5, min_time_slice=never
        )
    return {"scheduler": scheduler, "metric": "val_loss", "mode": "min"}
