"""What a report has found: its tables, and a sentence for each question without an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

FRONT_COSTS = ("peak_memory_mb", "training_time_s", "inference_latency_ms")  # that a score is weighed against


@dataclass
class Findings:
    """What was found.

    Attributes:
        tables: by the name under which they are logged; an empty table is left out.
        open_questions: a sentence for each question without an answer.
        curves: what the trials' metrics did during training, one row per point.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    open_questions: list[str] = field(default_factory=list)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)

    def add(self, name: str, table: pd.DataFrame | list[dict[str, Any]]) -> None:
        """Keep a table, unless it is empty."""
        rows: pd.DataFrame = pd.DataFrame(table)
        if not rows.empty:
            self.tables[name] = rows

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A table's rows; empty without such a table."""
        return records(self.tables[name]) if name in self.tables else []


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
