"""The answer to a question: what pages, the terminal and the artifacts of a report are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # takes a third of a second


@dataclass(frozen=True)
class Answer:
    """What one question has found.

    Attributes:
        name: of the question's module; its table is logged as ``<name>.json``, its figure as ``figures/<name>.png``.
        sentences: what was found, the most important first; empty where nothing was.
        table: with every number that the sentences say, one row a finding; empty where there is nothing to show.
        shown: what of it a page shows at its top; by default what finds room below.
        draw: makes the figure, whose title is the first sentence; None where there is nothing to draw.
        open_question: why the data cannot answer, and what could; empty where they can.
        metrics: for the report's own run, by name.
    """

    name: str
    sentences: tuple[str, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    draw: Callable[[], Figure] | None = None
    open_question: str = ""
    shown: pd.DataFrame = field(default_factory=pd.DataFrame)
    metrics: Mapping[str, float] = field(default_factory=dict)


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, by the names of its columns."""
    return table.to_dict("records")  # type: ignore[return-value]
