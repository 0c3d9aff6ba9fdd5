"""Is one model's score worse than another's on the same rows? The paired t test of `verdict`, at one look.

A score need not be a mean of rows, so its noise is that of a jackknife: how the difference of both models changes when
a block of the rows is left out. Of means of rows this is the usual paired test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlflow_gate.check.verdict import PASSES, UNDECIDED, ComparedMetric, Differences, Finding, by_noise

NUMBERS, CLASSES, PROBABILITIES = "numbers", "classes", "probabilities"
_P_SURELY, _P_SHOWN = 0.01, 0.05  # as those of all looks of a cost together; the first is shared by all metrics
_TOLERANCE = 1.0  # % of the loss
_ROUNDING = 0.01  # of two probabilities that a model has rounded
_NO_PROBABILITIES = 'does not predict probabilities; log it with pyfunc_predict_fn="predict_proba"'
_BLOCKS = 50  # by simulation: fewer find less, and more take longer


def _log_loss(is_positive: np.ndarray, p: np.ndarray) -> Any:
    of_truth = np.where(is_positive, p, 1 - p)
    return -np.log(np.maximum(of_truth, np.finfo(float).eps)).mean()


def _roc_auc(is_positive: np.ndarray, p: np.ndarray) -> Any:
    """The share of pairs of a positive and a negative in which the positive has more; a tie is half a pair."""
    positives, negatives = _by_rank(is_positive, p)
    below = negatives.cumsum() - negatives / 2
    return positives @ below / (positives.sum() * negatives.sum())


def _average_precision(is_positive: np.ndarray, p: np.ndarray) -> Any:
    """The mean over the positives of the precision among all rows that have at least as much."""
    positives, negatives = _by_rank(is_positive, -p)
    precision = positives.cumsum() / (positives + negatives).cumsum()
    return positives @ precision / positives.sum()


def _by_rank(is_positive: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many positives and negatives have each value, from the smallest."""
    _, places = np.unique(p, return_inverse=True)
    positives = np.bincount(places, is_positive)
    return positives, np.bincount(places) - positives


class HeldOut(NamedTuple):
    """The targets of rows and the number of each row's group; with two classes also the positive one.

    `positive` is its label in the targets, and `positive_in_models` what models call it that have other labels.
    """

    truth: np.ndarray
    groups: np.ndarray
    positive: str = ""
    positive_in_models: str = ""


class Score(NamedTuple):
    """The score of targets and predictions, and what these are; targets of probabilities are whether it is positive."""

    of: Callable[[np.ndarray, np.ndarray], Any]  # a number
    predicted: str
    higher_is_better: bool = False


SCORES = {
    "rmse": Score(lambda y, predicted: ((y - predicted) ** 2).mean() ** 0.5, NUMBERS),
    "mae": Score(lambda y, predicted: abs(y - predicted).mean(), NUMBERS),
    "error_rate": Score(lambda y, predicted: (y != predicted).mean(), CLASSES),
    "log_loss": Score(_log_loss, PROBABILITIES),
    "brier": Score(lambda is_positive, p: ((is_positive - p) ** 2).mean(), PROBABILITIES),
    "roc_auc": Score(_roc_auc, PROBABILITIES, higher_is_better=True),
    "average_precision": Score(_average_precision, PROBABILITIES, higher_is_better=True),
}


def compared_score(name: str) -> ComparedMetric:
    return ComparedMetric(name, "%", _TOLERANCE, higher_is_better=SCORES[name].higher_is_better)


def read_answers(answers: pd.DataFrame, predicted: str, rows: HeldOut) -> np.ndarray:
    """Numbers, classes or probabilities of the positive class, one for each row.

    Two columns of probabilities have the model's own names of the classes. ValueError: the answers are something else.
    """
    truth = rows.truth
    are_of_both = predicted == PROBABILITIES and answers.shape[1] == 2
    if are_of_both:
        shares = answers.apply(pd.to_numeric, errors="coerce")
        if not np.allclose(shares.sum(axis=1), 1, atol=_ROUNDING):
            raise ValueError(_NO_PROBABILITIES)
        answers = shares.iloc[:, [_place_of_positive(answers.columns, rows)]]
    if answers.shape != (len(truth), 1):
        shape = " x ".join(map(str, answers.shape))
        raise ValueError(f"predicts {shape} values for {len(truth)} rows, of which only one a row can be judged")
    column = answers.iloc[:, 0]
    if predicted == CLASSES:
        values: np.ndarray = column.to_numpy()
        if (values != truth).all():
            example = f"it predicts {values.tolist()[0]!r} where the target is {truth.tolist()[0]!r}"
            raise ValueError(f"is never right: {example}")
        return values
    values = pd.to_numeric(column, errors="coerce").to_numpy(float)
    if not np.isfinite(values).all():
        raise ValueError(f"does not predict {predicted}")
    if predicted == PROBABILITIES:
        are_classes = not are_of_both and np.isin(values, [0, 1]).all()
        if are_classes or values.min() < 0 or values.max() > 1:
            raise ValueError(_NO_PROBABILITIES)
    return values


def _place_of_positive(classes: Iterable[object], rows: HeldOut) -> int:
    """Which of two classes of a model is the positive one. ValueError: its labels are not those of the targets."""
    labels = list(map(_label, classes))
    in_model = _label(rows.positive_in_models)
    if in_model in labels:
        return labels.index(in_model)
    targets = np.unique(rows.truth)
    if sorted(labels) != sorted(map(_label, targets)):
        first, second = classes
        differ = f"has the classes {first} and {second}, where the target has {' and '.join(map(str, targets))}"
        raise ValueError(f"{differ}; if its {second} is {rows.positive}, write --positive {rows.positive}={second}")
    return labels.index(_label(rows.positive))


def _label(value: object) -> str:
    """A class as text: JSON makes text of all names, true of True, and a column of numbers may be one of floats."""
    return str(value).lower().removesuffix(".0")


def judge_score(metric: ComparedMetric, held_out: HeldOut, a: np.ndarray, b: np.ndarray) -> Finding:
    """Judge the candidate's predictions, `b`, against those of the baseline, `a`.

    Amounts are in % of the baseline's loss. Of a score where higher is better the loss is what it lacks to 1, and the
    change is said in the score's own unit. Rows of one group (a number), such as a patient's, err alike, so each group
    is in one block.
    """
    score, predicted, _ = SCORES[metric.name]
    y = held_out.truth
    if predicted == PROBABILITIES:
        y = y.astype(str) == held_out.positive
    before = score(y, a)
    after = score(y, b)
    loss = 1 - before if metric.higher_is_better else before
    if not loss or np.array_equal(a, b):
        verdict = PASSES
        why = f"{before:.4g} -> {after:.4g}"
        if after != before:
            verdict = UNDECIDED
            why += ": the baseline makes no error here, of which a part could be tolerated"
        return Finding(metric.name, verdict, "%", why=why)

    def worse_by(rows: np.ndarray) -> Any:
        more = score(y[rows], b[rows]) - score(y[rows], a[rows])
        return -more if metric.higher_is_better else more

    unit = "%"
    scale = 1.0
    if metric.higher_is_better:
        unit = ""
        scale = loss / 100
    values = scale * _jackknife(worse_by, held_out.groups) * 100 / loss
    tolerance = scale * metric.tolerance
    differences = Differences(values, tolerance, tolerance, scale * metric.min_noise)
    finding = by_noise(replace(metric, unit=unit), differences, _P_SURELY, _P_SHOWN)
    if finding.verdict == UNDECIDED:
        mean = values.mean()
        room = abs(tolerance - mean)  # to the one side or the other, if the change stays what it is
        finding = replace(finding, rows=len(y) * ((finding.detectable - tolerance) / room) ** 2)
    return finding


def _jackknife(difference: Callable[[np.ndarray], Any], groups: np.ndarray) -> np.ndarray:
    """Values whose mean is the difference in all rows, and whose noise is that of independent blocks of groups."""
    count = int(groups.max()) + 1
    blocks = (np.random.default_rng(0).permutation(count) % _BLOCKS)[groups]
    left_out = np.array([difference(blocks != block) for block in range(min(count, _BLOCKS))])
    values: np.ndarray = difference(blocks >= 0) + (len(left_out) - 1) * (left_out.mean() - left_out)
    return values
