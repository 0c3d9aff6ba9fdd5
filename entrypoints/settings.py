"""What a study searches, and what its trials may cost, as the commands' options say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from entrypoints import search_space
from entrypoints.errors import UserError

AUTO = "auto"  # the value of an option that leaves the choice to the study
BEST, CHEAPEST = "best", "cheapest"  # which of the models that are equal within noise a study chooses
DEFAULT_LIMITS = "training_time_s<=1.5x median, model_memory_mb<=1.5x median"
# Of 5 to 40 epochs on red_wine and diabetes: the best RMSE is 0.6592 here (elsewhere 0.6588 at best), the best accuracy
# 0.7825 (0.7861), which is equal within noise. The cap is for small batches, whose epochs have many steps.
DEFAULT_EPOCHS, DEFAULT_STEPS = 10, 1500
SHARED = ("dataset", "target", "max_rows", "folds", "seed", "max_steps", "max_epochs", "report_every")
_ABSENT = {"max_rows": "all", "cpus": "all", "duplicates": "keep"} | dict.fromkeys(
    ("target", "max_trials", "repeats", "report_every", "study", "metric", "mode"), AUTO
)


@dataclass(frozen=True)
class StudySettings:
    """What a study searches, and how.

    None is the dataset's own target, ``all`` rows and cores, no limit of time, steps or epochs, ``keep`` of duplicates
    and of the others what ``auto`` stands for. ``max_steps`` and ``max_epochs`` become the default length if both are
    ``auto``. If only one is, it sets no limit.
    """

    dataset: str
    target: str | None
    drop: str | None
    max_rows: int | None
    algorithm: str
    space: search_space.Space
    metric: str | None
    class_weight: str | None
    choose: str
    search: str
    max_trials: int | None
    repeats: int | None
    folds: int
    group: str | None
    time: str | None
    duplicates: str | None
    seed: int
    max_steps: int | None
    max_epochs: int | None
    time_limit_s: float | None
    report_every: int | None
    cpus: int | None
    ray_address: str
    groups: tuple[str, ...]
    register: str | None

    def __post_init__(self) -> None:
        length: dict[str, Any] = {"max_steps": self.max_steps, "max_epochs": self.max_epochs}
        if set(length.values()) == {AUTO}:
            length = {"max_steps": DEFAULT_STEPS, "max_epochs": DEFAULT_EPOCHS}
        for name, value in length.items():
            object.__setattr__(self, name, None if value == AUTO else value)
        if self.max_steps is None and self.max_epochs is None:
            raise UserError(
                "max_steps=none and max_epochs=none: a trial needs an end; give one of them a number, or leave both "
                "out for the default length"
            )

    @property
    def shared(self) -> dict[str, str]:
        """What the run of every trial says of its study."""
        return as_typed({name: getattr(self, name) for name in SHARED})


@dataclass(frozen=True)
class LimitOptions:
    """What a trial may cost, as a text, and what acts on it."""

    text: str
    predict: bool
    scheduler: str

    @classmethod
    def of(cls, limits: str, predict: str, scheduler: str) -> LimitOptions:
        """What the texts of the options mean."""
        return cls(DEFAULT_LIMITS if limits == AUTO else limits, predict == "on", scheduler)


def as_typed(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as a user types them: ``max_rows=all`` for None."""
    return {name: _typed(name, value) for name, value in options.items()}


def _typed(name: str, value: Any) -> str:
    if value is None:
        return _ABSENT.get(name, "none")
    if name == "space":
        return json.dumps(search_space.described(value)) if value else AUTO
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
