"""What a study searches, and what its trials may cost, as the commands' options say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from entrypoints import search_space
from entrypoints.errors import UserError

AUTO = "auto"  # the value of an option that leaves the choice to the study
DEFAULT_CRITERIA = "training_time_s<=1.5x median, model_memory_mb<=1.5x median"
# Of 5 to 40 epochs on red_wine and diabetes: the best RMSE is 0.6592 here (elsewhere 0.6588 at best), the best accuracy
# 0.7825 (0.7861), which is equal within noise. The cap is for small batches, whose epochs have many steps.
DEFAULT_EPOCHS, DEFAULT_STEPS = 10, 1500
SHARED = ("dataset", "target", "max_rows", "folds", "seed", "max_steps", "max_epochs", "report_every")


@dataclass(frozen=True)
class StudySettings:
    """What a study searches, and how. 0 means no limit, of ``cpus`` all, of ``samples`` and ``repeats`` the default.

    ``max_steps`` and ``max_epochs`` become the default length if both are None. If only one is, it sets no limit.
    """

    dataset: str
    target: str
    max_rows: int
    algorithm: str
    batch_sizes: tuple[int, ...] | None
    learning_rates: tuple[float, ...]
    alphas: tuple[float, ...]
    tols: tuple[float, ...]
    grid: search_space.Space | None
    search: str
    samples: int
    repeats: int
    max_trials: int
    folds: int
    seed: int
    max_steps: int
    max_epochs: int
    time_limit_s: float
    report_every: int | None
    cpus: int
    ray_address: str
    groups: tuple[str, ...]
    register: str | None

    def __post_init__(self) -> None:
        default = self.max_steps is None and self.max_epochs is None
        object.__setattr__(self, "max_steps", DEFAULT_STEPS if default else self.max_steps or 0)
        object.__setattr__(self, "max_epochs", DEFAULT_EPOCHS if default else self.max_epochs or 0)
        if not self.max_steps and not self.max_epochs:
            raise UserError(
                "max_steps=0 and max_epochs=0: a trial needs an end, so at least one of them must be above 0; "
                "leave both out for the default length"
            )

    @property
    def shared(self) -> dict[str, Any]:
        """What the run of every trial says of its study."""
        return {name: getattr(self, name) for name in SHARED}


@dataclass(frozen=True)
class Limits:
    """What a trial may cost: a criteria text, or None for the default, and what acts on it."""

    criteria: str | None
    predict: bool
    scheduler: str

    @classmethod
    def of(cls, criteria: str, predict: str, scheduler: str) -> Limits:
        """What the texts of the options mean."""
        return cls(None if criteria == AUTO else criteria, predict == "on", scheduler)


def own_target(target: str) -> str | None:
    """The column that an option's value names; None for the dataset's own."""
    return None if target == AUTO else target
