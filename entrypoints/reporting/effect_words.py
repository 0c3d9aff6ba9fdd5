"""The sentences about effects, made of rows of their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from entrypoints.reporting.words import digits, joined, quoted, with_interval
from entrypoints.trials.frame import level

Row = Mapping[Any, Any]  # of a table
MAX_PARTS = 3  # of the first sentence
MAX_DIGITS = 9  # of a level
MAX_NOISE = 0.25  # of a time, from which on the page warns that little can be told


def sentences(score: Sequence[Row], costs: Sequence[Row]) -> tuple[str, ...]:
    """What changes the score and the costs, the most important first, and what is not shown.

    Args:
        score: the rows of ``effects.of_score``.
        costs: the rows of ``effects.of_costs``.
    """
    by_levels: dict[str, list[str]] = {}
    for row in (*sorted(score, key=lambda row: -abs(row["change"])), *costs):
        if row["reported"]:
            levels = f"`{row['hyperparameter']}` {level_in_words(row['from'])} -> {level_in_words(row['to'])}"
            by_levels.setdefault(levels, []).append(f"`{row['metric']}` {change_in_words(row)}")
    parts = [f"{levels}: {joined(changes)}" for levels, changes in by_levels.items()]
    found = [f"{'; '.join(some)}." for some in (parts[:MAX_PARTS], parts[MAX_PARTS:]) if some]
    return (*found, *_busy(costs), *_not_shown_of_score(score), *_none_of_costs(costs))


def _busy(costs: Sequence[Row]) -> Iterator[str]:
    for row in costs:
        if row["metric"] == "training_time_s" and row.get("noise", 0.0) > MAX_NOISE:
            yield (
                f"The machine was busy: equal trials differ by {digits(100 * row['noise'])} % in `training_time_s`, so "
                f"two trials surely differ only if one takes {digits(1 + row['least_significant_difference'])} times "
                "as long."
            )
            return


def _not_shown_of_score(rows: Sequence[Row]) -> Iterator[str]:
    """Which hyperparameters change no model, and where nothing is shown."""
    same = [row["hyperparameter"] for row in rows if row["same"]]
    if same:
        yield (
            f"{quoted(same)} {'changes' if len(same) == 1 else 'change'} no score in any fold: {rows[0]['of_trials']} "
            f"trials are {rows[0]['models']} different models."
        )
    tested = [row for row in rows if not row["reported"] and not row["same"] and row["high"] == row["high"]]
    if tested:
        names = quoted(row["hyperparameter"] for row in tested)
        unseen = max(row["reach"] for row in tested)
        yield (
            f"No effect of {names} on `{rows[0]['metric']}` is shown: folds differ so much that an effect below "
            f"{digits(unseen)} may go unnoticed."
        )


def _none_of_costs(rows: Sequence[Row]) -> Iterator[str]:
    if rows and not any(row["reported"] for row in rows):
        names = quoted(dict.fromkeys(row["metric"] for row in rows))
        yield f"No effect on {names} is shown, beyond noise and 5 % (memory: 2 %)."


def change_in_words(row: Row) -> str:
    """Such as ``falls to 1/7.9 (1/8.4 to 1/7.4)``, ``rises by 12 % (10 to 14)``, ``rises by 5 MB (4.8 to 5.2)``."""
    change, low, high = row["change"], row["low"], row["high"]
    if row["unit"] != "times":
        by = with_interval(abs(change), abs(low), abs(high), row["unit"])
        return f"{'rises' if change > 0 else 'falls'} by {by}"
    if change >= 2:
        return f"rises to {with_interval(change, low, high, 'times')}"
    if change <= 0.5:
        return f"falls to {with_interval(1 / change, 1 / low, 1 / high, prefix='1/')}"
    share, least, most = (100 * abs(factor - 1) for factor in (change, low, high))
    return f"{'rises' if change > 1 else 'falls'} by {with_interval(share, least, most, '%')}"


def level_in_words(value: Any) -> str:
    """A level as it was given; one that was drawn at random with three digits."""
    text = level(value)
    return text if len(text) <= MAX_DIGITS or isinstance(value, str) else f"{value:.3g}"
