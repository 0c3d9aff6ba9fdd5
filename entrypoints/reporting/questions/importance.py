"""Which columns of the table the chosen model predicts from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from entrypoints.reporting import drawing
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.words import digits, joined
from entrypoints.trials.frame import Frame

MAX_NAMED = 3
NOTE = (
    "Points: by how much the score on {rows} rows of the test part gets worse where a column is shuffled, mean of "
    "{repeats} times. Lines: twice its standard deviation. Grey: may be chance."
)


def answer(frame: Frame) -> Answer:
    """The columns that the first study's model needs most; nothing where that was not measured."""
    if frame.importance.empty:
        return Answer("importance")
    table = frame.importance[frame.importance["study"] == frame.first].drop(columns="study")
    if table.empty:
        return Answer("importance")
    model = "this model" if len(frame.studies) == 1 else f"the model of {frame.studies['name'].iloc[0]}"
    sentences = [_strongest(table, model), *_shared(table)]
    return Answer("importance", tuple(sentences), table, lambda: _drawn(table, sentences[0]))


def _strongest(table: pd.DataFrame, model: str) -> str:
    score = table["score"].iloc[0]
    mattering = rows_of(table[table["matters"].astype(bool)])
    if not mattering:
        return f"No column is shown to matter alone: shuffling one changes `{score}` by no more than chance."
    drops: list[str] = []
    for row in mattering[:MAX_NAMED]:
        makes = "" if drops else f" makes `{score}` worse"
        drops.append(f"`{row['column']}`{makes} by {digits(row['importance'], 2)} ± {digits(row['spread'], 1)}")
    named = joined(drops)
    repeats = table["repeats"].iloc[0]
    return (
        f"In {model}, shuffled {named} (± the standard deviation of {repeats} shuffles); equally good models may "
        "need other columns."
    )


def _shared(table: pd.DataFrame) -> Iterator[str]:
    """That columns share importance, where two are strongly correlated."""
    pairs: dict[frozenset[str], dict[str, Any]] = {}
    for row in rows_of(table.dropna(subset=["like"])):
        pairs.setdefault(frozenset((row["column"], row["like"])), row)
    if not pairs:
        return
    strongest = list(pairs.values())[:MAX_NAMED]
    named = [f"`{row['column']}` and `{row['like']}` ({digits(row['correlation'], 2)})" for row in strongest]
    yield f"Correlated columns share importance, so each may look weaker than it is: {'; '.join(named)}."


@drawing.styled
def _drawn(table: pd.DataFrame, title: str) -> Figure:
    """The columns, the strongest on top."""
    note = NOTE.format(rows=table["rows"].iloc[0], repeats=table["repeats"].iloc[0])
    figure, (axes,) = drawing.sheet(1, title, note)
    for i, row in enumerate(rows_of(table[::-1])):
        color = drawing.BLUE if row["matters"] else drawing.GREY
        axes.errorbar(row["importance"], i, xerr=2 * row["spread"], fmt="o", color=color, capsize=3)
    axes.set_yticks(range(len(table)), [str(column)[:40] for column in table["column"][::-1]])
    axes.axvline(0, color=drawing.BLACK, linewidth=0.8)
    axes.set_xlabel(f"by how much {table['score'].iloc[0]} gets worse")
    return figure
