"""What each hyperparameter does to what trials cost and score (RQ2), and how much of a difference is noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from entrypoints.frame import Frame, configurations, level, without_rounding
from entrypoints.limits.noise import SMALL, SMALL_MB, is_memory
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.drawing import BLUE, GREY, scale_axis, sheet, styled
from entrypoints.reporting.statistics import (
    LEVEL,
    MAX_LEVELS,
    MIN_DEGREES,
    PLACE,
    REPORTED,
    Array,
    Fit,
    LinearModel,
    design,
    holm,
    is_learned,
    is_number,
    over_folds,
    terms,
)
from entrypoints.reporting.words import digits, listed, with_interval

Row = Mapping[Any, Any]  # of a table
MAX_PARTS, MAX_PANELS = 3, 4  # of the first sentence, of the figure
DRIFT = 0.01  # of a cost, over the order of trials, from which on a sentence warns of it
APART = 0.2  # by how much an effect has to depend on another hyperparameter for a sentence
MAX_DIGITS = 9  # of a level
ROUNDING = 1e-12  # of a score
MAX_NOISE = 0.25  # of a time, from which on the page warns that little can be told
# Of costs that say the same, one: a trial's elapsed time follows its training time.
MAIN_COSTS = (
    "training_time_s",
    "model_memory_mb",
    "peak_memory_mb",
    "inference_latency_ms",
    "model_size_kb",
    "peak_gpu_memory_mb",
)
_NO_COST = ("steps", "step_time_ms", "cpu_percent", "memory_mb")  # arithmetic, and the last value of a curve


def of_costs(frame: Frame) -> pd.DataFrame:
    """The effect of each hyperparameter on each cost, over the first study's trials that ran to their end.

    One linear model a cost: of its logarithm, of memory as it is, on the levels of all hyperparameters, on the place in
    the order of the trials, and on those interactions of two that matter. So a rate at which only cheap trials are left
    does not look cheap. Repeated trials count.

    Returns:
        A row per cost and hyperparameter, and one of ``place``; and two per interaction that is told, with the effect
        at either end of the other hyperparameter:

        - metric, hyperparameter, beside (of an interaction the other hyperparameter and its value, else empty)
        - first_at, second_at: the levels that cost least and most, all else equal, in their own order
        - change: the factor from first to second; of memory the difference in MB, which ``unit`` says
        - low, high: its 95 % interval, which allows for the choice of two levels among all
        - p_value, p_holm: of the F test that no level differs (type II), as it is and adjusted within this cost
        - trials; noise and margin: as of ``noise``
        - told: whether it is worth a sentence: p_holm below 0.01, and more than 5 %, of memory than 0.1 MB, and by
          the interval more than half of that; of ``place`` also more than 1 % and than twice what two trials may differ
          by
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
        A row per hyperparameter: metric, hyperparameter, first_at, second_at, change (of the score, from first to
        second), low, high, reach (its 95 % interval, and half of that), trials (compared), models (the different ones
        of the study), same (whether no pair of levels makes another model), p_value, p_holm (over hyperparameters),
        told (p_holm below 0.05). Of several pairs of levels the one with the largest change of those that differ, else
        the one with the smallest p-value; both allow for the choice.
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
    table["models"] = len(scores.drop_duplicates())
    table["p_holm"] = holm(table["p_value"])
    table["told"] = (table["p_holm"] < LEVEL) & ((table["low"] > 0) | (table["high"] < 0))
    return table


def noise(frame: Frame) -> pd.DataFrame:
    """How much the score and each cost differ where nothing differs.

    Returns:
        A row per metric:

        - noise: of a cost the standard deviation that its model leaves, as a share of it; of the score the standard
          error of the difference between two models (Nadeau and Bengio), over the better half of the different ones
        - degrees_of_freedom: of that
        - margin: two trials that differ by no more may be equal. Of a cost a share; of the score in its own unit, for
          one of all models against any other (Bonferroni), and never less than the standard error of the best one's
          folds. NaN where a study has one fold
    """
    rows = [_noise_of_score(frame)] if len(fold_scores(frame)) else []
    for cost in _costs(frame, all_of_them=True):
        model = _model(frame, cost)
        if model is not None:
            known = {"noise": model.noise, "degrees_of_freedom": model.degrees, "margin": model.margin}
            rows.append({"metric": cost, **known})
    table: pd.DataFrame = pd.DataFrame(rows, columns=["metric", "noise", "degrees_of_freedom", "margin"])
    return table


def _costs(frame: Frame, *, all_of_them: bool = False) -> list[str]:
    """The costs whose values differ; of the bundle's studies without those that say the same as another."""
    ended = frame.ended
    names = [name for name in frame.metrics if name != frame.score and not is_learned(name) and name not in _NO_COST]
    main = [name for name in MAIN_COSTS if name in names]
    return [name for name in (names if all_of_them or not main else main) if ended[name].nunique() > 1]


def _rows_of_cost(cost: str, model: LinearModel) -> Iterator[dict[str, Any]]:
    """The rows of ``of_costs`` of one of them."""
    p_values = {name: model.p_value(name) for name in model.terms}
    adjusted = dict(zip(p_values, holm(list(p_values.values())).tolist(), strict=True))
    for name in sorted(p_values, key=lambda name: np.nan_to_num(p_values[name], nan=1.0)):
        first, second = model.ends(name)
        row = _change(cost, model, name, (first, second), {})
        row |= {"p_value": p_values[name], "p_holm": adjusted[name], "noise": model.noise, "margin": model.margin}
        if math.isnan(row["change"]):
            continue
        told = bool(row["p_holm"] < REPORTED) and _matters(row)
        if name == PLACE:
            told = told and _share(row, model) > max(DRIFT, 2 * model.margin)
        yield row | {"told": told}
        for one, other in model.together if told else []:
            if name == one:
                each = [
                    row | _change(cost, model, name, (first, second), {other: place}) | {"told": True}
                    for place in range(len(model.terms[other].levels))
                ]
                each.sort(key=lambda found: float(found["change"]))
                if _apart(each[0], each[-1]):
                    yield from (each[0], each[-1])


def _change(
    cost: str, model: LinearModel, name: str, ends: tuple[int, int], beside: Mapping[str, int]
) -> dict[str, Any]:
    """From one level to another, in the mean over those of the others or beside one of them."""
    change, low, high = model.change(name, *ends, beside)
    levels = model.terms[name].levels
    at = [f"{other} {_text(model.terms[other].levels[place])}" for other, place in beside.items()]
    return {
        "metric": cost,
        "hyperparameter": name,
        "beside": "".join(at),
        "first_at": levels[ends[0]],
        "second_at": levels[ends[1]],
        "change": change,
        "low": low,
        "high": high,
        "unit": "MB" if is_memory(cost) else "times",
        "trials": len(model.values),
    }


def _matters(row: Row) -> bool:
    """Whether it is more than what is too small for a sentence, and surely more than half of that."""
    low, high = row["low"], row["high"]
    if row["unit"] == "MB":
        return bool(abs(row["change"]) > SMALL_MB and max(low, -high) > SMALL_MB / 2)
    return bool(max(row["change"], 1 / row["change"]) > 1 + SMALL and max(low, 1 / high) > 1 + SMALL / 2)


def _share(row: Row, model: LinearModel) -> float:
    """The size of a change as a share of the cost."""
    if row["unit"] == "MB":
        return float(abs(row["change"]) / abs(model.values.mean()))
    return float(max(row["change"], 1 / row["change"]) - 1)


def _apart(least: Row, most: Row) -> bool:
    if least["unit"] == "MB":
        return bool(most["change"] - least["change"] > SMALL_MB)
    return bool(most["change"] > least["change"] * (1 + APART))


def _model(frame: Frame, cost: str) -> LinearModel | None:
    """None where the trials are too few."""
    trials = frame.ended
    values = trials[cost].to_numpy(float)
    known = np.isfinite(values) & ((values > 0) | is_memory(cost))
    if known.sum() < MIN_DEGREES or np.ptp(values[known]) == 0:
        return None
    model = LinearModel(
        values[known],
        {each.name: each for each in terms(trials[known], frame.hyperparameters)},
        in_logarithms=not is_memory(cost),
    )
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


def _noise_of_score(frame: Frame) -> dict[str, Any]:
    models = fold_scores(frame).drop_duplicates().to_numpy()
    folds = models.shape[1]
    error, degrees, of_best = math.nan, 0, math.nan
    if folds > 1:
        of_best = float(models[0].std(ddof=1)) / math.sqrt(folds)
    if folds > 1 and len(models) > 1:
        better = models[: max(2, (len(models) + 1) // 2)]  # bad ones differ more
        left = better - better.mean(axis=1, keepdims=True) - better.mean(axis=0) + better.mean()
        degrees = (len(better) - 1) * (folds - 1)
        error = math.sqrt(2 * float((left**2).sum()) / degrees * (1 / folds + 1 / (folds - 1)))
    t = float(stats.t.isf(0.025 / max(len(models) - 1, 1), max(degrees, 1)))
    margin = float(np.fmax(t * error, of_best))
    if margin < ROUNDING * abs(float(models[0].mean())):  # each fold has the same, as where no model finds a rare class
        margin = 0.0
    return {"metric": frame.score, "noise": error, "degrees_of_freedom": degrees, "margin": margin}


def _effect_on_score(frame: Frame, name: str, trials: pd.DataFrame, scores: pd.DataFrame) -> dict[str, Any] | None:
    """The row of one hyperparameter; None where no trials differ in it alone."""
    values = trials[name] if is_number(trials[name]) else trials[name].astype(str)
    levels = sorted(values.dropna().unique())
    if is_number(values) and len(levels) > MAX_LEVELS:
        return _slope(frame, name, trials, scores)
    alike = configurations(trials, [other for other in frame.hyperparameters if other != name])
    by_level = {level: scores[values == level].set_axis(alike[values == level]) for level in levels}
    pairs = list(itertools.combinations(levels, 2))
    rows = []
    for first, second in pairs:
        common = by_level[first].index.intersection(by_level[second].index)
        one, other = (by_level[level].loc[common].to_numpy() for level in (first, second))
        models = np.unique(np.hstack([one, other]), axis=0)
        if len(models):
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
    """Of a number with many values what a straight line in its logarithm changes from the lowest to the highest."""
    models = scores.drop_duplicates()
    found = {term.name: term for term in terms(trials.loc[models.index], frame.hyperparameters)}
    if name not in found or found[name].is_categorical:
        return None
    others = {other: term.columns for other, term in found.items() if other != name}
    explained = design({name: found[name].columns[:, :1], **others})
    fit = Fit(models.mean(axis=1).to_numpy(), explained)
    if fit.degrees < MIN_DEGREES:
        return None
    per_fold = (fit.inverse @ explained.T @ models.to_numpy())[1]
    slope, error = fit.combined(np.eye(explained.shape[1])[1])
    over_trials = 2 * float(stats.t.sf(abs(slope) / error, fit.degrees)) if error else math.nan
    row = _score_row(frame, name, (trials[name].min(), trials[name].max()), per_fold, pairs=1)
    return row | {"trials": len(models), "same": False, "p_value": max(row["p_value"], over_trials)}


def _score_row(frame: Frame, name: str, ends: tuple[Any, Any], per_fold: Array, pairs: int) -> dict[str, Any]:
    mean, reach, p = over_folds(per_fold, 0.05 / pairs)
    return {
        "metric": frame.score,
        "hyperparameter": name,
        "beside": "",
        "first_at": ends[0],
        "second_at": ends[1],
        "change": mean,
        "low": mean - reach,
        "high": mean + reach,
        "unit": "",
        "reach": reach,
        "p_value": float(np.minimum(1.0, p * pairs)),
    }


def answer(frame: Frame) -> Answer:
    """What changes the score, what changes the costs, and how sure that is."""
    score, costs = of_score(frame), of_costs(frame)
    table: pd.DataFrame = pd.concat([each for each in (score, costs) if not each.empty] or [score])
    if table.empty:
        why = f"What hyperparameters change: {len(frame.ended)} trials that ran to their end are too few."
        return Answer("effects", open_question=why)
    told = [row for row in rows_of(costs) if row["told"]]
    parts = [*_of_score(score), *_of_costs(told)]
    found = [f"{'; '.join(some)}." for some in (parts[:MAX_PARTS], parts[MAX_PARTS:]) if some]
    sentences = [*found, *_beside(told), *_of_place(told), *_busy(costs), *_not_shown(frame, score, costs)]
    open_question = ""
    if score.empty and frame.score is not None:
        open_question = (
            f"What hyperparameters do to `{frame.score}`: there are no configurations to compare fold by fold."
        )
    table = table.sort_values("told", ascending=False, kind="stable").reset_index(drop=True)
    drawn = table[table["told"] & (table["beside"] == "") & (table["hyperparameter"] != PLACE)]
    draw = None if drawn.empty else lambda: _drawn(frame, drawn, sentences[0])
    return Answer("effects", tuple(sentences), table, draw, open_question)


def _of_score(score: pd.DataFrame) -> Iterator[str]:
    """What changes the score, the largest change first."""
    told = [row for row in rows_of(score) if row["told"]]
    for row in sorted(told, key=lambda row: -abs(row["change"])):
        by = with_interval(*_digits(abs(row["change"]), abs(row["low"]), abs(row["high"])))
        yield f"{_ends_in_words(row)}: `{row['metric']}` {'rises' if row['change'] > 0 else 'falls'} by {by}"


def _not_shown(frame: Frame, score: pd.DataFrame, costs: pd.DataFrame) -> Iterator[str]:
    """Which hyperparameters change no model, and where nothing is shown."""
    rows = rows_of(score)
    same = [f"`{row['hyperparameter']}`" for row in rows if row["same"]]
    if same:
        trials = len(fold_scores(frame))
        yield (
            f"{listed(same)} {'changes' if len(same) == 1 else 'change'} no score in any fold: {trials} trials are "
            f"{rows[0]['models']} different models."
        )
    tested = [row for row in rows if not row["told"] and not row["same"] and row["high"] == row["high"]]
    if tested:
        names = listed([f"`{row['hyperparameter']}`" for row in tested])
        unseen = max(row["reach"] for row in tested)
        yield (
            f"No effect of {names} on `{frame.score}` is shown: folds differ so much that an effect below "
            f"{digits(unseen, 2)} may go unnoticed."
        )
    if not costs.empty and not costs["told"].any():
        varied = {name for name in frame.hyperparameters if frame.ended[name].nunique() > 1}
        # Where trials do not tell two hyperparameters apart, either may have an effect.
        by_cost = costs.groupby("metric", sort=False)["hyperparameter"]
        known = [f"`{cost}`" for cost, names in by_cost if varied <= {*names}]
        if known:
            yield f"No effect on {listed(known)} is shown, beyond noise and 5 %."


def _of_costs(told: Sequence[Row]) -> list[str]:
    """A part of a sentence for each two levels, with all costs that they change, the first of ``MAIN_COSTS`` first."""
    by_ends: dict[str, list[Row]] = {}
    for row in told:
        if not row["beside"] and row["hyperparameter"] != PLACE:
            by_ends.setdefault(_ends_in_words(row), []).append(row)
    return [f"{ends}: {listed([_of_metric(row) for row in rows])}" for ends, rows in by_ends.items()]


def _beside(told: Sequence[Row]) -> Iterator[str]:
    """The interactions, one sentence each."""
    rows = [row for row in told if row["beside"]]
    for low, high in zip(rows[::2], rows[1::2], strict=True):
        yield (
            f"{_ends_in_words(low)}: `{low['metric']}` {change_in_words(low)} with {low['beside']}, but "
            f"{change_in_words(high)} with {high['beside']}."
        )


def _of_place(told: Sequence[Row]) -> list[str]:
    rows = [_of_metric(row) for row in told if row["hyperparameter"] == PLACE]
    return [f"From the first trial to the last, {listed(rows)}, whatever their hyperparameters."] if rows else []


def _busy(costs: pd.DataFrame) -> list[str]:
    rows = [row for row in rows_of(costs) if row["metric"] == "training_time_s"][:1]
    return [
        f"The machine was busy: equal trials differ by {digits(100 * row['noise'], 2)} % in `{row['metric']}`, so two "
        f"trials surely differ only if one takes {digits(1 + row['margin'], 2)} times as long."
        for row in rows
        if row["noise"] > MAX_NOISE
    ]


def _of_metric(row: Row) -> str:
    return f"`{row['metric']}` {change_in_words(row)}"


def _ends_in_words(row: Row) -> str:
    return f"`{row['hyperparameter']}` {_text(row['first_at'])} -> {_text(row['second_at'])}"


def change_in_words(row: Row) -> str:
    """Such as ``falls to 1/7.9 (1/8.4 to 1/7.4)``, ``rises by 12 % (10 to 14)``, ``rises by 5 MB (4.8 to 5.2)``."""
    values = change, low, high = row["change"], row["low"], row["high"]
    if row["unit"] == "MB":
        verb = "rises" if change > 0 else "falls"
        return f"{verb} by {with_interval(*_digits(abs(change), abs(low), abs(high)), unit='MB')}"
    if change >= 2:
        return f"rises to {with_interval(*_digits(*values), unit='times')}"
    if change <= 0.5:
        value, least, most = _digits(1 / change, 1 / low, 1 / high)
        return f"falls to {with_interval(f'1/{value}', f'1/{most}', f'1/{least}')}"
    verb = "rises" if change > 1 else "falls"
    shares = _digits(*[100 * abs(each - 1) for each in values])
    return f"{verb} by {with_interval(*shares, unit='%')}"


def _digits(value: float, *ends: float) -> tuple[str, str, str]:
    """A value and the ends of its interval, the lower one first."""
    low, high = sorted(ends)
    return digits(value, 2), digits(low, 2), digits(high, 2)


@styled
def _drawn(frame: Frame, told: pd.DataFrame, title: str) -> Figure:
    """The trials by the levels that change a metric, and their medians."""
    strongest = told.sort_values("p_value").head(MAX_PANELS)
    figure, panels = sheet(len(strongest), title, "Dots: trials that ran to their end. Lines: medians of the levels.")
    for row, axes in zip(rows_of(strongest), panels, strict=True):
        name, metric = row["hyperparameter"], row["metric"]
        trials = frame.complete[[name, metric]].dropna()
        if is_number(trials[name]):
            scale_axis(axes, "x", trials[name])
        else:
            trials = trials.assign(**{name: trials[name].astype(str)}).sort_values(name)
        axes.plot(trials[name], trials[metric], "o", color=GREY, alpha=0.4, markersize=4)
        if trials[name].nunique() <= MAX_LEVELS:
            axes.plot(trials.groupby(name)[metric].median(), color=BLUE, marker="o")
        scale_axis(axes, "y", trials[metric])
        axes.set_xlabel(name)
        axes.set_ylabel(metric)
    return figure


def _text(value: Any) -> str:
    """A level as it was given; one that was drawn at random with three digits."""
    text = level(value)
    return text if len(text) <= MAX_DIGITS or isinstance(value, str) else f"{value:.3g}"
