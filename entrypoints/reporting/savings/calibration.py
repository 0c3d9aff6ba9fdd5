"""How right predictions of costs are (RQ3): each trial of a full study, predicted from those that had ended before.

What predicts is the ledger that trials under limits ask before their first step, and the interval is the one by which
they are skipped: a trial is, where the lower bound lies beyond a limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from entrypoints.limits.cost_model import INTERVAL
from entrypoints.limits.ledger import PREDICTED, End, Ledger
from entrypoints.limits.noise import SMALL, SMALL_MB, TOLD_P, is_memory, small
from entrypoints.reporting.savings.replay import Course, at_full_length
from entrypoints.reporting.statistics import holm

MAX_PREDICTED = 100  # trials of a study, evenly spaced, in a report; all of them are learned from
MIN_TRIALS = 8  # of a metric, for it, or its ratios, to be judged
NARROW, LOW, HIGH = "interval too narrow", "predicted too low", "predicted too high"
RIGHT, TOO_FEW = "not found to be off", "too few trials"


def predictions(courses: Sequence[Course], rows: int, most: int = MAX_PREDICTED) -> list[dict[str, Any]]:
    """What each trial was predicted to cost before its first step, against what it cost.

    Nothing is predicted of the first trials, until enough have ended. Those that diverged are learned from, as in a
    study under limits, but not judged: their last figures are not those of all steps.

    Args:
        courses: the trials of a study without limits.
        rows: the training rows of a fold.
        most: how many trials to predict; the costs of all are learned.

    Returns:
        One row for each trial and metric: ``run_id``, ``metric``, ``predicted``, ``low``, ``high``, ``measured``,
        whether it lies ``inside`` of the interval, and ``ratio``, predicted / measured. Where less than 0.1 MB of
        memory is predicted there is none: so much comes and goes by chance.
    """
    began = sorted(courses, key=lambda course: course.began_ms)
    ended = sorted(courses, key=lambda course: course.ended_ms)
    asked = set(np.linspace(0, len(began) - 1, min(most, len(began))).round().astype(int).tolist())
    ledger, told, found = Ledger(rows, PREDICTED), 0, list[dict[str, Any]]()
    for place, course in enumerate(began):
        while told < len(ended) and ended[told].ended_ms <= course.began_ms and ended[told] is not course:
            _tell(ledger, ended[told], rows)
            told += 1
        if place in asked and not course.diverged:
            found += _judged(ledger, course)
    return found


def calibration(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each metric: how far predictions lie from what was measured, and what is said of that.

    An interval is called too narrow where it holds fewer trials than it claims (binomial test), by more than 5 points;
    predictions are called too low or too high where the median ratio is significantly not 1 (sign test) and more than
    5 % from it, of memory more than 0.1 MB. Both at 1 % after Holm's correction over all tests.

    Args:
        found: rows of ``predictions``.
    """
    table = pd.DataFrame(found)
    if table.empty:
        return []
    rows = [_summary(str(metric), each) for metric, each in table.groupby("metric", sort=False)]
    adjusted = holm([row[name] for row in rows for name in ("p_coverage", "p_median")]).reshape(-1, 2)
    for row, (coverage, median) in zip(rows, adjusted.tolist(), strict=True):
        row |= {"p_coverage": coverage, "p_median": median}
        row["verdict"] = _verdict(row)
    return sorted(rows, key=lambda row: PREDICTED.index(row["metric"]))


def _tell(ledger: Ledger, course: Course, rows: int) -> None:
    end: End = "diverged" if course.diverged else "finished"
    ledger.record(course.configuration, course.figures, at_full_length(course, rows), end)


def _judged(ledger: Ledger, course: Course) -> list[dict[str, Any]]:
    found = []
    for metric, prediction in ledger.brief(course.configuration).predictions.items():
        measured = course.figures.get(metric)
        if measured is not None:
            by_chance = is_memory(metric) and prediction.value < SMALL_MB
            row = {"run_id": course.run_id, "metric": metric, "predicted": prediction.value}
            row |= {"low": prediction.low, "high": prediction.high, "measured": measured}
            row |= {"inside": prediction.low <= measured <= prediction.high}
            found.append(row | {"ratio": prediction.value / measured if measured and not by_chance else math.nan})
    return found


def _summary(metric: str, table: pd.DataFrame) -> dict[str, Any]:
    ratios = table["ratio"].dropna()
    inside, trials = int(table["inside"].sum()), len(table)
    above = int((ratios > 1).sum())
    enough = len(ratios) >= MIN_TRIALS
    low, median, high = np.quantile(ratios, (0.05, 0.5, 0.95)) if enough else (math.nan,) * 3
    return {
        "metric": metric,
        "trials": trials,
        "ratios": len(ratios),
        "median_measured": float(table["measured"].median()),
        "median_ratio": float(median),
        "low_ratio": float(low),
        "high_ratio": float(high),
        "coverage_percent": 100 * inside / trials,
        "interval_percent": 100 * INTERVAL,
        # A trial that costs less than its lower bound may be skipped though it meets a limit.
        "below_percent": 100 * float((table["measured"] < table["low"]).mean()),
        "p_coverage": float(stats.binomtest(inside, trials, INTERVAL, "less").pvalue),
        "p_median": float(stats.binomtest(above, len(ratios)).pvalue) if enough else math.nan,
    }


def _verdict(row: dict[str, Any]) -> str:
    if row["trials"] < MIN_TRIALS:
        return TOO_FEW
    missing = (row["interval_percent"] - row["coverage_percent"]) / 100
    away = row["median_ratio"] - 1
    said = [NARROW] if row["p_coverage"] < TOLD_P and missing > SMALL else []
    if row["p_median"] < TOLD_P and abs(away) > small(row["metric"], row["median_measured"]):
        said.append(HIGH if away > 0 else LOW)
    return ", ".join(said) or RIGHT
