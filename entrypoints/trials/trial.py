"""What a study knows of one trial, which is what its run holds: while it runs, when it has ended, and in the frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from entrypoints.models.configuration import Configuration
from entrypoints.runs.tags import BY_RACE, DIVERGED, END
from entrypoints.trials.frame import Row, trial_row
from mlflow_sysmetrics.recording.tags import BY_LIMITS, STOPPED_BY

End = Literal["finished", "stopped", "diverged"]
Fold = Mapping[str, float]  # the figures of its model

_LENGTH = 4000  # characters of one tag; MLflow's databases hold more, its stores of files do not


@dataclass
class Trial:
    """One trial.

    Attributes:
        trial_id: Tune's.
        configuration: what it trains.
        status: of its run.
        figures: the last value of every metric outside ``system/`` and ``fold/``.
        tags: what became of it, and where.
        run_id: of its run; None while the search goes on.
        error: why it failed.
    """

    trial_id: str
    configuration: Configuration
    status: str = "RUNNING"
    figures: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    run_id: str | None = None
    error: str | None = None

    @property
    def diverged(self) -> bool:
        """Whether its loss became infinite."""
        return self.tags.get(DIVERGED) == "true"

    @property
    def complete(self) -> bool:
        """Whether it ran to its end and did not diverge: then its figures are those of its configuration."""
        return self.status == "FINISHED" and not self.diverged

    @property
    def stopped_by(self) -> str | None:
        """Who ended it early."""
        return self.tags.get(STOPPED_BY)

    @property
    def ended_from_outside(self) -> bool:
        """Whether it failed, or a time limit or a person ended it: its last result was one on its way."""
        return self.status != "FINISHED" and self.stopped_by not in (BY_LIMITS, BY_RACE)

    @property
    def raced(self) -> bool:
        """Whether it was ended since it could not become the best any more."""
        return self.stopped_by == BY_RACE

    @property
    def end(self) -> End:
        """How it ended, for those that follow; before its own end, whatever the reason, is ``stopped``."""
        if self.diverged:
            return "diverged"
        return "finished" if self.status == "FINISHED" else "stopped"

    @property
    def folds(self) -> list[Fold]:
        """The rows of its folds; empty where it did not come to its end."""
        folds: list[Fold] = self._left.get("folds", [])
        return folds

    @property
    def was_judged(self) -> bool:
        """Whether it has left what is expected of it: it ended under limits, by itself or by these, or was raced."""
        return self._left.get("expected") is not None

    @property
    def expected(self) -> dict[str, float]:
        """Its final costs, as far as they can be foreseen of a stopped trial, and its score if it was raced."""
        return self._left["expected"] if self.was_judged else self.figures

    @cached_property
    def _left(self) -> dict[str, Any]:
        """What it has left at its end, which must have come."""
        return read_end(self.tags) or {}

    def row(self) -> Row:
        """It in the frame, but for the name of its run, and for whether it meets the limits."""
        searched = {name: str(value) for name, value in self.configuration.searched.items()}
        return trial_row(
            self.figures,
            self.tags,
            searched,
            trial_id=self.trial_id,
            run_id=self.run_id,
            status=self.status,
            number=self.configuration.number,
            role=self.configuration.role,
            axis=self.configuration.axis,
        )


def end_tags(folds: list[dict[str, float]], expected: Mapping[str, float] | None = None) -> dict[str, str]:
    """The tags that a trial leaves in its run when it ends by itself or by its limits, to the last digit.

    Args:
        folds: one row per fold.
        expected: its expected final costs, and score; None without limits, if it was not raced.
    """
    left = {"folds": folds, "expected": expected}
    text = json.dumps(left, separators=(",", ":"), default=float)
    parts = [text[start : start + _LENGTH] for start in range(0, len(text), _LENGTH)]
    return {_name(i): part for i, part in enumerate(parts)}


def read_end(tags: Mapping[str, str]) -> dict[str, Any] | None:
    """What a trial has left by ``end_tags``; None if its run has no such tags, or not all of them."""
    parts: list[str] = []
    while (name := _name(len(parts))) in tags:
        parts.append(tags[name])
    try:
        left: dict[str, Any] = json.loads("".join(parts))
    except ValueError:
        return None
    return left


def _name(number: int) -> str:
    return f"{END}_{number}" if number else END
