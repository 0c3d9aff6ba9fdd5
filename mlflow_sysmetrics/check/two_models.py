"""Is one model worse than another, on the same rows and in what it costs as served?"""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from mlflow_sysmetrics.check import verdict
from mlflow_sysmetrics.check.contest import BASELINE, CANDIDATE, compare, failure, with_tolerances
from mlflow_sysmetrics.check.losses import compared_loss
from mlflow_sysmetrics.check.models import Models, both_models
from mlflow_sysmetrics.check.output import Result
from mlflow_sysmetrics.check.promotion import Promotion, fixed
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
) -> Result:
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
        with both_models(baseline, candidate, rows.drop(columns=target), group) as models:
            of_rows = compared[: len(losses)]
            of_servers = compared[len(losses) :]
            contest = Models(models, of_rows, truth, groups, together=len(compared))
            result = compare(contest, of_servers, candidate, {"candidate": candidate, "baseline": baseline})
    except ServerError as error:
        raise failure(CANDIDATE if error.uri == candidate else BASELINE, str(error)) from None
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
