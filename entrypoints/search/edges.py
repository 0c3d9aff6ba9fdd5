"""Where the best value of a hyperparameter is an end of its range: what lies beyond may be better."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from entrypoints.frame import Frame


def sentences(
    frame: Frame, chosen: pd.Series[Any], margin: float, rows: int, not_listed: Container[str] = ()
) -> Iterator[str]:
    """A sentence where the chosen trial has the smallest or largest number that was tried with its algorithm.

    Only if it beats the best trial of the next value inside by more than noise, and there is something beyond.

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
        if name == "tol" or name in not_listed or not is_numeric_dtype(trials[name]):
            continue
        value, values = chosen[name], sorted(trials[name].dropna().unique())
        beyond = {1, rows} if name == "batch_size" else {0}
        if len(values) < 2 or value not in (values[0], values[-1]) or value in beyond:
            continue
        end, inside, next_ones = (
            ("smallest", values[1], "smaller") if value == values[0] else ("largest", values[-2], "larger")
        )
        next_best = complete.loc[complete[name] == inside, score].head(1)
        if not next_best.empty and abs(next_best.iloc[0] - chosen[score]) > margin:
            yield f"The best {name}, {value:g}, is the {end} that was tried: try {next_ones} ones as well."
