"""What may end a trial of a study early: the user's limits, and a scheduler of Ray Tune."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from entrypoints.errors import UserError
from entrypoints.limits import costs
from entrypoints.limits.grammar import Limits, RelativeLimit
from entrypoints.models.configuration import Configuration
from entrypoints.models.scores import Score
from entrypoints.settings import LimitOptions

# Of a trial's results for Tune:
SCORE = "score"  # whatever ranks the trials, as it was at the last report
PERCENT = "percent"  # of its own steps that it has done


def parse_limits(score: Score, limits: LimitOptions | None, *, here: bool = True) -> Limits:
    """What a user's text limits; nothing without one.

    Args:
        score: of the trials.
        limits: what the user has given.
        here: whether they run on this machine alone.

    Raises:
        UserError: the text has a mistake, or what it limits cannot be read.
    """
    if limits is None:
        return Limits(())
    try:
        parsed = Limits.parse(limits.text, costs.metrics(score.validated, score.higher_is_better))
        for limit in costs.of_served(parsed).bounds:
            if isinstance(limit, RelativeLimit) or limit.from_s:
                raise ValueError(f"limits={parsed}: {limit} is on one served model; write a number alone")
    except ValueError as error:
        raise UserError(str(error)) from None
    for name in costs.unreadable(parsed.metrics, here=here):
        raise UserError(f"limits={parsed}: {name} cannot be read on this machine; leave it out")
    return parsed


def scheduling(
    name: str, trials: Sequence[Configuration], rows: int, *, folds: int, higher_is_better: bool
) -> dict[str, Any]:
    """The arguments of Tune's configuration for a scheduler that looks at the score at every report.

    Losses of different algorithms are different functions: by these it would stop one algorithm and keep another.
    Trials are compared at equal shares of their lengths: at equal steps a small batch has seen few rows, and trials of
    large batches end before they are looked at.

    Args:
        name: none, asha or median.
        trials: those of the study. Each is judged from the share on at which the longest one reports first.
        rows: training rows of a fold.
        folds: their number.
        higher_is_better: of the score.
    """
    if name == "none":
        return {}
    from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule  # slow to import, and rules are read first

    longest = max(trials, key=lambda trial: trial.steps(rows))
    if longest.batch_size is None:
        first_report = percent(1, folds)
    else:
        first_report = percent(longest.report_steps(rows), longest.steps(rows))
    if name == "asha":
        # A trial that reaches max_t is stopped by the scheduler, and these end by themselves.
        scheduler = ASHAScheduler(time_attr=PERCENT, max_t=101, grace_period=first_report)
    else:
        # Never pause a trial to let others run: it has no checkpoint, so it could not go on.
        never = math.inf
        scheduler = MedianStoppingRule(
            time_attr=PERCENT, grace_period=first_report, min_samples_required=5, min_time_slice=never
        )
    return {"scheduler": scheduler, "metric": SCORE, "mode": "max" if higher_is_better else "min"}


def percent(step: int, steps: int) -> float:
    """How much of its length a trial has done."""
    return min(100.0, 100 * step / steps)
