"""What each hyperparameter does to what trials cost and score (RQ2), and how much of a difference is noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from entrypoints.frame import Frame, configurations, without_rounding
from entrypoints.limits.costs import SERVED
from entrypoints.limits.noise import SMALL, SMALL_MB, is_memory
from entrypoints.reporting import effect_words
from entrypoints.reporting.answer import Answer
from entrypoints.reporting.statistics import (
    LEVEL,
    MAX_LEVELS,
    MIN_DEGREES,
    ORDER,
    REPORTED,
    Array,
    LinearModel,
    combined,
    design,
    fitted,
    holm,
    is_learned,
    is_number,
    over_folds,
    terms_of,
)
from entrypoints.reporting.words import quoted

NOISE = ("metric", "noise", "degrees_of_freedom", "least_significant_difference")  # columns
SMALL_SHARE = 0.02  # of memory, of which a process alone has more than a hundred megabytes
ROUNDING = 1e-12  # of a score
# Of costs that say the same, one: a trial's elapsed time follows its training time.
MAIN_COSTS = (
    "training_time_s",
    "model_memory_mb",
    "peak_memory_mb",
    "inference_latency_ms",
    "model_size_kb",
    "peak_gpu_memory_mb",
)
# Arithmetic, the last value of a curve, and what is known of few trials.
_NO_COST = ("steps", "step_time_ms", "cpu_percent", "memory_mb", *SERVED)


def of_costs(frame: Frame) -> pd.DataFrame:
    """The effect of each hyperparameter on each cost, over the first study's trials that ran to their end.

    One linear model a cost: of its logarithm, of memory as it is, on the levels of all hyperparameters, on the order of
    the starts, and on those interactions of two that matter. So a rate at which only cheap trials are left does not
    look cheap. Repeated trials count.

    Returns:
        A row per cost and hyperparameter whose effect the trials tell from that of others, and one of ``ORDER``:

        - metric, hyperparameter
        - from, to: the levels that cost least and most, all else equal, in their own order
        - change: the factor from one to the other; of memory the difference in MB, which ``unit`` says
        - low, high: its 95 % interval, which allows for the choice of two levels among all
        - depends_on: the hyperparameters on which the change depends, separated by commas
        - p_value, p_holm: of the F test that no level differs (type II), as it is and adjusted within this cost
        - trials; noise and least_significant_difference: as of ``noise``
        - reported: whether it is worth a sentence: p_holm below 0.01; more than 5 %, of memory than 2 % and 0.1 MB, and
          by the interval more than half of that; and more than twice what the order of the starts makes of it. Of
          ``ORDER``: more than twice what two trials may differ by
    """
    rows: list[dict[str, Any]] = []
    for cost in _costs(frame):
        model = _model(frame, cost)
        if model is not None:
            rows += _rows_of_cost(cost, model)
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def of_score(frame: Frame) -> pd.DataFrame:
    """The effect of each hyperparameter on the score, with the folds as replication: all trials share them.

    Two levels are compared over configurations that have both, and differ in nothing else: per fold the mean of their
    differences, then the corrected resampled t-test. Configurations with equal scores in each fold count once. A number
    with many values, as a random search draws them, has no such configurations: there it is the slope in its logarithm,
    per fold, and trials have to agree that there is one.

    Returns:
        A row per hyperparameter: metric, hyperparameter, from, to (levels), change (of the score, from one to the
        other), low, high, reach (its 95 % interval, and half of that), trials (compared), of_trials and models (of the
        study, and the different ones of these), same (whether no pair of levels makes another model), p_value, p_holm
        (over hyperparameters), reported (p_holm below 0.05). Of several pairs of levels the one with the largest change
        of those that differ, else the one with the smallest p-value; both allow for the choice.
    """
    scores = fold_scores(frame)
    nothing: pd.DataFrame = pd.DataFrame()
    if scores.empty or scores.shape[1] < 2:
        return nothing
    trials = frame.complete.set_index("trial_id").loc[scores.index]
    rows = [row for name in frame.hyperparameters if (row := _effect_on_score(frame, name, trials, scores))]
    if not rows:
        return nothing
    table: pd.DataFrame = pd.DataFrame(rows)
    table["of_trials"] = len(scores)
    table["models"] = len(scores.drop_duplicates())
    table["p_holm"] = holm(table["p_value"])
    table["reported"] = (table["p_holm"] < LEVEL) & ((table["low"] > 0) | (table["high"] < 0))
    return table


def noise(frame: Frame) -> pd.DataFrame:
    """How much the score and each cost differ where nothing differs.

    Returns:
        A row per metric:

        - noise: of a cost the standard deviation that its model leaves, as a share of it; of the score the standard
          error of the difference between two models (Nadeau and Bengio), over the better half of the different ones
        - degrees_of_freedom: of that
        - least_significant_difference: two trials that differ by no more may be equal. Of a cost a share; of the score
          in its own unit, for one of all models against any other (Bonferroni), and never less than the standard error
          of the best one's folds. NaN where a study has one fold
    """
    rows = [noise_of_score(frame)] if len(fold_scores(frame)) else []
    for cost in _costs(frame, all_of_them=True):
        model = _model(frame, cost)
        if model is not None:
            rows.append(_noise_row(cost, model.noise, model.degrees, model.least_difference))
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(NOISE))
    return table


def _costs(frame: Frame, *, all_of_them: bool = False) -> list[str]:
    """The costs whose values differ; of the bundle's studies without those that say the same as another."""
    ended = frame.ended
    names = [name for name in frame.metrics if name != frame.score and not is_learned(name) and name not in _NO_COST]
    main = [name for name in MAIN_COSTS if name in names]
    if main and not all_of_them:
        names = main
    return [name for name in names if ended[name].nunique() > 1]


def _rows_of_cost(cost: str, model: LinearModel) -> Iterator[dict[str, Any]]:
    """The rows of ``of_costs`` of one of them, the smallest p-value first."""
    p_values = {name: model.p_value(name) for name in model.terms}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    for name in sorted(p_values, key=lambda name: np.nan_to_num(p_values[name], nan=1.0)):
        first, second = model.ends(name)
        change, low, high = model.change(name, first, second)
        if math.isnan(change):
            continue
        levels = model.terms[name].levels
        row = {
            "metric": cost,
            "hyperparameter": name,
            "from": levels[first],
            "to": levels[second],
            "change": change,
            "low": low,
            "high": high,
            "unit": "times" if model.in_logarithms else "MB",
            "depends_on": ", ".join(model.depends_on(name, first, second)),
            "p_value": p_values[name],
            "p_holm": adjusted[name],
            "trials": len(model.values),
            "noise": model.noise,
            "least_significant_difference": model.least_difference,
        }
        is_sure = row["p_holm"] < REPORTED and _matters(row, model)
        if name == ORDER:
            is_reported = is_sure and abs(_size(change, model)) > 2 * model.least_difference
        else:
            is_reported = is_sure and model.is_beyond_order(name, first, second)
        yield row | {"reported": bool(is_reported)}


def _matters(row: Mapping[str, Any], model: LinearModel) -> bool:
    """Whether an effect is more than what is too small for a sentence, and surely more than half of that."""
    least = SMALL if model.in_logarithms else max(SMALL_SHARE, SMALL_MB / model.level)
    change, low, high = (_size(row[name], model) for name in ("change", "low", "high"))
    if low <= 0 <= high:
        return False
    return abs(change) > least and min(abs(low), abs(high)) > least / 2


def _size(change: float, model: LinearModel) -> float:
    """Of a change, as a share of the cost."""
    if not model.in_logarithms:
        return change / model.level
    return change - 1 if change > 1 else 1 - 1 / change


def _model(frame: Frame, cost: str) -> LinearModel | None:
    """None where the trials are too few."""
    trials = frame.ended
    values = trials[cost].to_numpy(float)
    in_logarithms = not is_memory(cost)
    known = np.isfinite(values)
    if in_logarithms:
        known &= values > 0
    if known.sum() < MIN_DEGREES or np.ptp(values[known]) == 0:
        return None
    model = LinearModel.of(trials[known], values[known], frame.hyperparameters, in_logarithms=in_logarithms)
    return model if model.degrees >= 2 else None


def fold_scores(frame: Frame) -> pd.DataFrame:
    """A row per trial that ran to its end, the best first, a column per fold; trials that lack one are left out."""
    of = frame.folds[frame.folds["study"] == frame.first]
    if frame.score is None or frame.score not in of:
        nothing: pd.DataFrame = pd.DataFrame()
        return nothing
    wide = of.pivot(index="trial_id", columns="fold", values=frame.score).astype(float)
    kept: pd.DataFrame = wide.reindex(frame.complete["trial_id"]).replace([np.inf, -np.inf], np.nan).dropna()
    return without_rounding(kept)


def _noise_row(metric: str, noise: float, degrees: int, least_difference: float) -> dict[str, Any]:
    return dict(zip(NOISE, (metric, noise, degrees, least_difference), strict=True))


def noise_of_score(frame: Frame) -> dict[str, Any]:
    """The row of ``noise`` of the score."""
    models = fold_scores(frame).drop_duplicates().to_numpy()
    count, folds = models.shape
    score = str(frame.score)
    if folds < 2:
        return _noise_row(score, math.nan, 0, math.nan)
    least = float(models[0].std(ddof=1)) / math.sqrt(folds)
    if least < ROUNDING * abs(float(models[0].mean())):  # each fold has the same, as where no model finds a rare class
        least = 0.0
    if count < 2:
        return _noise_row(score, math.nan, 0, least)
    better = models[: max(2, (count + 1) // 2)]  # bad ones differ more
    left = better - better.mean(axis=1, keepdims=True) - better.mean(axis=0) + better.mean()
    degrees = (len(better) - 1) * (folds - 1)
    error = math.sqrt(2 * float((left**2).sum()) / degrees * (1 / folds + 1 / (folds - 1)))
    t = float(stats.t.isf(0.025 / (count - 1), degrees))
    return _noise_row(score, error, degrees, max(least, t * error))


def _effect_on_score(frame: Frame, name: str, trials: pd.DataFrame, scores: pd.DataFrame) -> dict[str, Any] | None:
    """The row of one hyperparameter; None where no trials differ in it alone."""
    values = trials[name] if is_number(trials[name]) else trials[name].dropna().astype(str).reindex(trials.index)
    levels = sorted(values.dropna().unique())
    if is_number(values) and len(levels) > MAX_LEVELS:
        return _slope(frame, name, trials, scores)
    alike = configurations(trials, [other for other in frame.hyperparameters if other != name])
    by_level = {level: scores[values == level].set_axis(alike[values == level]) for level in levels}
    pairs = list(itertools.combinations(levels, 2))
    rows = []
    for first, second in pairs:
        common = by_level[first].index.intersection(by_level[second].index)
        if common.empty:
            continue
        one, other = (by_level[level].loc[common].to_numpy() for level in (first, second))
        models = np.unique(np.hstack([one, other]), axis=0)
        per_fold = (models[:, scores.shape[1] :] - models[:, : scores.shape[1]]).mean(axis=0)
        row = _score_row(frame, name, (first, second), per_fold, len(pairs))
        rows.append(row | {"trials": 2 * len(common), "same": np.array_equal(one, other)})
    if not rows:
        return _slope(frame, name, trials, scores)
    different = [row for row in rows if row["p_value"] < LEVEL]
    if different:
        return max(different, key=lambda row: abs(row["change"]))
    return min(rows, key=lambda row: (row["same"], row["p_value"]))


def _slope(frame: Frame, name: str, trials: pd.DataFrame, scores: pd.DataFrame) -> dict[str, Any] | None:
    """Of a number with many values what a straight line in its logarithm changes from the lowest to the highest.

    None, too, where another hyperparameter says the same.
    """
    models = scores.drop_duplicates()
    terms = terms_of(trials.loc[models.index], frame.hyperparameters)
    if name not in terms or terms[name].is_categorical:
        return None
    straight = terms.pop(name).columns[:, :1]
    columns = design({name: straight} | {other: term.columns for other, term in terms.items()})
    fit = fitted(columns, models.mean(axis=1).to_numpy())
    slope, error = combined(fit, np.eye(columns.shape[1])[1])
    if fit.df_resid < MIN_DEGREES or math.isnan(slope):
        return None
    per_fold = (fit.model.pinv_wexog @ models.to_numpy())[1]
    over_trials = 2 * float(stats.t.sf(abs(slope) / error, fit.df_resid)) if error else 0.0
    row = _score_row(frame, name, (trials[name].min(), trials[name].max()), per_fold, pairs=1)
    return row | {"trials": len(models), "same": False, "p_value": max(row["p_value"], over_trials)}


def _score_row(frame: Frame, name: str, ends: tuple[Any, Any], per_fold: Array, pairs: int) -> dict[str, Any]:
    effect = over_folds(per_fold, LEVEL / pairs)
    return {
        "metric": frame.score,
        "hyperparameter": name,
        "from": ends[0],
        "to": ends[1],
        "change": effect.value,
        "low": effect.low,
        "high": effect.high,
        "unit": "",
        "reach": effect.high - effect.value,
        "p_value": float(np.minimum(1.0, effect.p_value * pairs)),
    }


def answer(frame: Frame) -> Answer:
    """What changes the score, what changes the costs, and how sure that is."""
    score, costs = of_score(frame), of_costs(frame)
    if score.empty and costs.empty:
        why = f"What hyperparameters change: {len(frame.ended)} trials that ran to their end are too few."
        return Answer("effects", open_question=why)
    varied = {name for name in frame.hyperparameters if frame.ended[name].nunique() > 1}
    sentences = effect_words.sentences(score, costs, varied)
    table: pd.DataFrame = pd.concat([part for part in (score, costs) if not part.empty])
    unknown = sorted(varied - {*table["hyperparameter"]})
    why = ""
    if unknown:
        why = f"What {quoted(unknown)} change: the trials do not tell them from other hyperparameters."
    elif score.empty and frame.score is not None:
        why = f"What hyperparameters do to `{frame.score}`: there are no configurations to compare fold by fold."
    table = table.sort_values("reported", ascending=False, kind="stable", ignore_index=True)
    return Answer("effects", tuple(sentences), table, open_question=why)
