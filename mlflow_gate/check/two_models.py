"""Is one model worse than another, on the same rows and in what it costs as served?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from mlflow_gate.check import verdict
from mlflow_gate.check.budget import Budget
from mlflow_gate.check.contest import BASELINE, CANDIDATE, compare, failure, with_tolerances
from mlflow_gate.check.models import Models, both_models
from mlflow_gate.check.output import Result
from mlflow_gate.check.promotion import fixed, promotion
from mlflow_gate.check.scores import NUMBERS, PROBABILITIES, SCORES, HeldOut, compared_score
from mlflow_gate.served import ServedError, ServerError

_MIN_OF_CLASS = 10  # rows or groups: of fewer the noise of a score is not known


def check_models(
    baseline: str,
    candidate: str,
    rows: pd.DataFrame,
    *,
    target: str,
    positive: str | None,
    group: str | None,
    lower: Sequence[str],
    higher: Sequence[str],
    tolerate: str,
    rate: float | None,
    wall_time: bool,
    max_pairs: int,
    max_minutes: float,
    promote: str | None,
) -> Result:
    """Compare two models until the verdict is decided; record it, and move the alias.

    click.ClickException: what was given is wrong, a model fails, the alias was moved, or the store does not answer.
    """
    scores = list(dict.fromkeys([*lower, *higher]))
    costs = [verdict.SERVED_CPU, verdict.SERVED_MEMORY]
    if rate is not None:
        costs.append(verdict.ANSWERED)
    if wall_time:
        costs.append(verdict.SERVED_TIME)
    compared = with_tolerances([*map(compared_score, scores), *costs], tolerate)
    truth = _column(rows, "--target", target).to_numpy()
    groups = np.arange(len(rows)) if group is None else pd.factorize(_column(rows, "--group", group))[0]
    held_out = HeldOut(truth, groups, *_positive(positive or "", truth))
    _check_target(held_out, target, scores)
    baseline, candidate = fixed(baseline), fixed(candidate)
    move = promotion(promote, baseline, candidate) if promote else None
    params = {"candidate": candidate, "baseline": baseline, "rate": rate or "none"}
    try:
        with both_models(baseline, candidate, rows.drop(columns=target), group) as models:
            of_rows = compared[: len(scores)]
            of_servers = compared[len(scores) :]
            contest = Models(models, of_rows, of_servers, held_out, rate)
            return compare(contest, candidate, params, Budget(max_pairs, max_minutes), move)
    except ServerError as error:
        raise failure(CANDIDATE if error.uri == candidate else BASELINE, str(error)) from None
    except ServedError as error:
        raise click.UsageError(str(error)) from None


def _column(rows: pd.DataFrame, option: str, name: str) -> pd.Series[Any]:
    if name not in rows:
        raise click.UsageError(f"{option} {name}: --data has no such column, but {', '.join(map(str, rows))}")
    column: pd.Series[Any] = rows[name]
    if column.isna().any():
        raise click.UsageError(f"{option} {name}: the column has empty cells; leave these rows out")
    return column


def _positive(given: str, truth: np.ndarray) -> tuple[str, str]:
    """The label of the positive class in the target, and the one in models: empty, but of `churned=1`."""
    if "=" not in given or given in map(str, pd.unique(truth)):  # such as <=50K
        return given, ""
    label, _, in_models = given.rpartition("=")
    return label, in_models


def _check_target(held_out: HeldOut, target: str, scores: Sequence[str]) -> None:
    truth, groups, positive, _ = held_out
    if not scores:
        raise click.UsageError("give a score with --lower or --higher")
    if len(np.unique(groups)) < 2:
        raise click.UsageError("--data has fewer than two rows or groups, which tell nothing of the noise")
    classes = pd.unique(truth)
    for name in scores:
        predicted = SCORES[name].predicted
        if predicted == NUMBERS and not is_numeric_dtype(truth):
            raise click.UsageError(f"--lower {name}: --target {target} is not numeric; use --lower error_rate")
        if predicted != PROBABILITIES:
            continue
        if len(classes) != 2 or positive not in [str(value) for value in classes]:
            has = ", ".join(map(str, classes[:5]))
            needs = "two classes in --target, and one of them as --positive"
            raise click.UsageError(f"{name} needs {needs}; {target} has {has}")
        if min(len(np.unique(groups[truth == value])) for value in classes) < _MIN_OF_CLASS:
            raise click.UsageError(f"{name} needs {_MIN_OF_CLASS} rows or groups with each class of {target}")
