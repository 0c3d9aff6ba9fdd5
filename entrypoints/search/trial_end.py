"""The tags that a trial leaves in its run at its end, for what no other tag or metric of it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from entrypoints.tags import END
from mlflow_sysmetrics.limits import Values

_LENGTH = 4000  # characters of one tag; MLflow's databases hold more, its stores of files do not


@dataclass(frozen=True)
class TrialEnd:
    """What a trial leaves when it ends by itself or by its limits, to the last digit.

    Attributes:
        folds: one row per fold.
        expected: its expected final costs, for the history of costs; None without one.
    """

    folds: list[dict[str, float]]
    expected: Values | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The text of it; where it is long, in several tags."""
        text = json.dumps(asdict(self), separators=(",", ":"), default=float)
        parts = [text[start : start + _LENGTH] for start in range(0, len(text), _LENGTH)]
        return {_name(number): part for number, part in enumerate(parts)}

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> TrialEnd | None:
        """What the tags of a run say; None where it has none, or not all of them."""
        parts: list[str] = []
        while (name := _name(len(parts))) in tags:
            parts.append(tags[name])
        try:
            return cls(**json.loads("".join(parts)))
        except (ValueError, TypeError):
            return None


def _name(number: int) -> str:
    return f"{END}_{number}" if number else END
