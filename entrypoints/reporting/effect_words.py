"""The sentences about effects, made of rows of their tables, and their figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from entrypoints.frame import Frame, level
from entrypoints.reporting.answer import rows_of
from entrypoints.reporting.drawing import BLUE, GREY, scale_axis, sheet, styled
from entrypoints.reporting.statistics import MAX_LEVELS, ORDER, is_number
from entrypoints.reporting.words import digits, listed, with_interval

Row = Mapping[Any, Any]  # of a table
MAX_PARTS, MAX_PANELS = 3, 4  # of the first sentence, of the figure
MAX_DIGITS = 9  # of a level
MAX_NOISE = 0.25  # of a time, from which on the page warns that little can be told


def sentences(score: pd.DataFrame, costs: pd.DataFrame, varied: set[str]) -> list[str]:
    """What changes the score and the costs, the most important first, and what is not shown.

    Args:
        score: of ``effects.of_score``.
        costs: of ``effects.of_costs``.
        varied: the hyperparameters that differ between trials.
    """
    reported = [row for row in rows_of(costs) if row["reported"]]
    parts = [*_of_score(score), *_of_costs(reported)]
    found = [f"{'; '.join(some)}." for some in (parts[:MAX_PARTS], parts[MAX_PARTS:]) if some]
    found += _interactions(reported)
    found += _of_order(reported)
    found += _busy(costs)
    found += _not_shown_of_score(rows_of(score))
    found += _not_shown_of_costs(costs, varied)
    return found


def _of_score(score: pd.DataFrame) -> Iterator[str]:
    """What changes the score, the largest change first."""
    reported = [row for row in rows_of(score) if row["reported"]]
    for row in sorted(reported, key=lambda row: -abs(row["change"])):
        by = with_interval(*_digits(abs(row["change"]), abs(row["low"]), abs(row["high"])))
        yield f"{_ends_in_words(row)}: `{row['metric']}` {'rises' if row['change'] > 0 else 'falls'} by {by}"


def _not_shown_of_score(rows: Sequence[Row]) -> Iterator[str]:
    """Which hyperparameters change no model, and where nothing is shown."""
    same = [f"`{row['hyperparameter']}`" for row in rows if row["same"]]
    if same:
        yield (
            f"{listed(same)} {'changes' if len(same) == 1 else 'change'} no score in any fold: {rows[0]['of_trials']} "
            f"trials are {rows[0]['models']} different models."
        )
    tested = [row for row in rows if not row["reported"] and not row["same"] and row["high"] == row["high"]]
    if tested:
        names = listed([f"`{row['hyperparameter']}`" for row in tested])
        unseen = max(row["reach"] for row in tested)
        yield (
            f"No effect of {names} on `{rows[0]['metric']}` is shown: folds differ so much that an effect below "
            f"{digits(unseen, 2)} may go unnoticed."
        )


def _not_shown_of_costs(costs: pd.DataFrame, varied: set[str]) -> Iterator[str]:
    """That nothing is; where trials do not tell two hyperparameters apart, either may have an effect."""
    if costs.empty or costs["reported"].any():
        return
    by_cost = costs.groupby("metric", sort=False)["hyperparameter"]
    known = [f"`{cost}`" for cost, names in by_cost if varied <= {*names}]
    if known:
        yield f"No effect on {listed(known)} is shown, beyond noise and 5 % (memory: 2 %)."


def _of_costs(reported: Sequence[Row]) -> list[str]:
    """A part of a sentence for each two levels, with all costs that they change, the first of ``MAIN_COSTS`` first."""
    by_ends: dict[str, list[Row]] = {}
    for row in reported:
        if not row["beside"] and row["hyperparameter"] != ORDER:
            by_ends.setdefault(_ends_in_words(row), []).append(row)
    return [f"{ends}: {listed([_of_metric(row) for row in rows])}" for ends, rows in by_ends.items()]


def _interactions(reported: Sequence[Row]) -> Iterator[str]:
    """The interactions, one sentence each."""
    rows = [row for row in reported if row["beside"]]
    for low, high in zip(rows[::2], rows[1::2], strict=True):
        yield (
            f"{_ends_in_words(low)}: `{low['metric']}` {change_in_words(low)} with {low['beside']}, but "
            f"{change_in_words(high)} with {high['beside']}."
        )


def _of_order(reported: Sequence[Row]) -> list[str]:
    rows = [_of_metric(row) for row in reported if row["hyperparameter"] == ORDER]
    return [f"From the first trial to the last, {listed(rows)}, whatever their hyperparameters."] if rows else []


def _busy(costs: pd.DataFrame) -> list[str]:
    rows = [row for row in rows_of(costs) if row["metric"] == "training_time_s"][:1]
    return [
        f"The machine was busy: equal trials differ by {digits(100 * row['noise'], 2)} % in `{row['metric']}`, so two "
        f"trials surely differ only if one takes {digits(1 + row['least_significant_difference'], 2)} times as long."
        for row in rows
        if row["noise"] > MAX_NOISE
    ]


def _of_metric(row: Row) -> str:
    return f"`{row['metric']}` {change_in_words(row)}"


def _ends_in_words(row: Row) -> str:
    return f"`{row['hyperparameter']}` {level_in_words(row['first_at'])} -> {level_in_words(row['second_at'])}"


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
def drawn(frame: Frame, reported: pd.DataFrame, title: str) -> Figure:
    """The trials by the levels that change a metric, and their medians."""
    strongest = reported.sort_values("p_value").head(MAX_PANELS)
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


def level_in_words(value: Any) -> str:
    """A level as it was given; one that was drawn at random with three digits."""
    text = level(value)
    return text if len(text) <= MAX_DIGITS or isinstance(value, str) else f"{value:.3g}"
