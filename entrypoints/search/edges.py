"""Where the best value of a hyperparameter is an end of its range: what lies beyond may be better."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from entrypoints.frame import Frame

NEXT = 2  # values beyond


def sentences(
    frame: Frame, chosen: pd.Series[Any], margin: float, rows: int, not_listed: Container[str] = ()
) -> Iterator[str]:
    """What to try where the chosen trial has the smallest or largest number that was tried with its algorithm.

    Only if it beats the best trial of the next value inside by more than noise. The next values go on as the last two
    did.

    Args:
        frame: of the study.
        chosen: one of its complete trials.
        margin: by how much scores must differ to be told apart.
        rows: the largest batch that is possible.
        not_listed: hyperparameters whose values the user did not list, and which so have no end: those drawn from a
            distribution, and batch sizes up to the rows.
    """
    trials, complete, score = frame.trials, frame.complete, str(frame.score)
    if "algorithm" in frame.hyperparameters:
        trials, complete = (each[each["algorithm"] == chosen["algorithm"]] for each in (trials, complete))
    for name in frame.hyperparameters:
        if name == "tol" or name in not_listed or not is_numeric_dtype(trials[name]) or not chosen[name] > 0:
            continue
        values = sorted({value for value in trials[name] if value > 0})
        if len(values) < 2 or chosen[name] not in (values[0], values[-1]):
            continue
        end, inside = ("smallest", values[1]) if chosen[name] == values[0] else ("largest", values[-2])
        beyond = _beyond(name, chosen[name], inside, rows)
        next_best = complete.loc[complete[name] == inside, score].head(1)
        if beyond and not next_best.empty and abs(next_best.iloc[0] - chosen[score]) > margin:
            yield f"The best {name}, {chosen[name]:g}, is the {end} that was tried: try {' and '.join(beyond)} as well."


def _beyond(name: str, value: float, inside: float, rows: int) -> list[str]:
    """The next values beyond the end of a range; of batch sizes those that are possible."""
    values = [value * (value / inside) ** step for step in range(1, NEXT + 1)]
    if name != "batch_size":
        return [f"{each:.4g}" for each in values]
    sizes = dict.fromkeys(min(max(round(each), 1), rows) for each in values)
    return [str(size) for size in sizes if size != value]
