"""Trials whose process or node has died begin again, elsewhere if need be; those that have raised do not.

An error of the training's own comes back with every attempt, and each costs a process. Tune counts both as the same
failures, so what a failure was is looked at here, where Tune counts it. A node that has announced its end, as cloud
instances do that are taken back, is not counted at all by Tune.
"""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.search.basic_variant import BasicVariantGenerator

MAX_DEATHS = 2  # what kills its process by itself, such as a want of memory, ends at the third


def died(error: BaseException | None) -> bool:
    """Whether it was the trial's process that ended, and not what the process did that raised."""
    return isinstance(error, RayActorError) and not getattr(error, "_actor_init_failed", False)


class RecoveringTrial(Trial):
    """One of Tune's trials that fails for good as soon as it raises."""

    def handle_error(self, exc: Any = None) -> None:
        """Count a failure."""
        super().handle_error(exc)
        if not died(exc):
            self.max_failures = 0


class RecoveringTrials(BasicVariantGenerator):
    """The trials of a grid, as Tune makes them, each of them recovering."""

    def next_trial(self) -> Trial | None:
        """The next one, or None."""
        trial = super().next_trial()
        if trial is not None:
            trial.__class__ = RecoveringTrial
        return trial
