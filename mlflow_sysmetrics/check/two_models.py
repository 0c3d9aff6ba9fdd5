"""Is one model worse than another, on the same rows and in what it costs as served?"""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from mlflow_sysmetrics.check import output, verdict
from mlflow_sysmetrics.check.comparing import begin, in_pairs, recorded, with_tolerances
from mlflow_sysmetrics.check.losses import LOSSES, compared_loss, judge_loss
from mlflow_sysmetrics.check.models import ModelPairs, of_models
from mlflow_sysmetrics.check.promotion import Promotion, fixed
from mlflow_sysmetrics.check.sides import CandidateError, CheckError
from mlflow_sysmetrics.check.verdict import ComparedMetric, Judged
from mlflow_sysmetrics.served import ServedError, ServerError


def check_models(
    baseline: str,
    candidate: str,
    rows: pd.DataFrame,
    *,
    target: str,
    group: str | None,
    losses: Sequence[str],
    tolerate: str,
    wall_time: bool,
    promote: str | None,
) -> output.Result:
    """Compare two models until each metric is decided, or ten pairs have run; record it, and move the alias.

    click.ClickException: what was given is wrong, a model fails, the alias was moved, or the store does not answer.
    """
    costs = [verdict.SERVED_CPU, verdict.SERVED_MEMORY]
    if wall_time:
        costs.append(verdict.SERVED_TIME)
    compared = with_tolerances([*map(compared_loss, losses), *costs], tolerate)
    truth, groups = _truth(rows, target, group, losses)
    baseline, candidate = fixed(baseline), fixed(candidate)
    promotion = Promotion.of(promote, baseline, candidate) if promote else None
    try:
        with of_models(baseline, candidate, rows.drop(columns=target), group) as sides:
            run = begin(candidate, {"candidate": candidate, "baseline": baseline})
            pairs = ModelPairs(sides, run)
            of_rows, of_servers = compared[: len(losses)], compared[len(losses) :]

            def judge_rows() -> list[Judged]:
                return [_judged(metric, pairs, truth, groups, len(compared)) for metric in of_rows]

            result = recorded(run, lambda: in_pairs(pairs, of_servers, judge_rows))
    except ServerError as error:
        kind = CandidateError if error.uri == candidate else CheckError
        raise kind(str(error)) from None
    except ServedError as error:
        raise click.UsageError(str(error)) from None
    if promotion is not None and result.exit_code == 0:
        click.echo(promotion.move(), err=True)
    return result


def _truth(rows: pd.DataFrame, target: str, group: str | None, losses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The targets, and for each row which group it is of; without groups each is its own."""
    for option, name in (("--target", target), ("--group", group)):
        if name is None:
            continue
        if name not in rows:
            raise click.UsageError(f"{option} {name}: --data has no such column, but {', '.join(map(str, rows))}")
        if rows[name].isna().any():
            raise click.UsageError(f"{option} {name}: the column has empty cells; leave these rows out")
    if not is_numeric_dtype(rows[target]):
        for loss in losses:
            if loss != "error_rate":
                raise click.UsageError(f"--lower {loss}: --target {target} is not numeric; use --lower error_rate")
    groups = np.arange(len(rows)) if group is None else rows[group].to_numpy()
    if len(pd.unique(groups)) < 2:
        raise click.UsageError("--data has fewer than two rows or groups, which tell nothing of the noise")
    return rows[target].to_numpy(), groups


def _judged(metric: ComparedMetric, pairs: ModelPairs, truth: np.ndarray, groups: np.ndarray, together: int) -> Judged:
    losses = []
    for side, predicted in zip(pairs.sides, pairs.predictions, strict=True):
        try:
            of_rows = LOSSES[metric.name].of_rows(truth, predicted).astype(float)
        except TypeError:
            of_rows = np.array([np.nan])
        if not np.isfinite(of_rows).all():
            raise side.failed(f"does not predict numbers, which {metric.name} needs")
        if metric.name == "error_rate" and of_rows.all():
            example = f"{predicted[0]!r} where the target is {truth[0]!r}"
            raise side.failed(f"is never right: it predicts {example}")
        losses.append(of_rows)
    return judge_loss(metric, losses[0], losses[1], groups, together)
