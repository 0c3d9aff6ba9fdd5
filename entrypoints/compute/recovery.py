"""Trials start again when their process or node dies, on another node if necessary; after an error they do not.

An error in the training would come back at every attempt, and each attempt costs a process. Tune counts both kinds of
failure alike, so they are told apart here, where Tune counts them. Tune does not count the loss of a node that
announced its end, as reclaimed cloud instances do.
"""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.search import SearchGenerator
from ray.tune.search.basic_variant import BasicVariantGenerator

MAX_DEATHS = 2  # a trial that kills its own process, for example by its memory, fails at the third death


def died(error: BaseException | None) -> bool:
    """Whether the trial's process died, as opposed to code in it that raised an error."""
    return isinstance(error, RayActorError) and not getattr(error, "_actor_init_failed", False)


class RecoveringTrial(Trial):
    """One of Tune's trials that fails for good as soon as it raises."""

    def handle_error(self, exc: Any = None) -> None:
        """Count a failure."""
        super().handle_error(exc)
        if not died(exc):
            self.max_failures = 0


def _recovering(trial: Trial | None) -> Trial | None:
    if trial is not None:
        trial.__class__ = RecoveringTrial
    return trial


class RecoveringTrials(BasicVariantGenerator):
    """Tune's trials of a grid, as ``RecoveringTrial``."""

    def next_trial(self) -> Trial | None:
        """The next one, or None."""
        return _recovering(super().next_trial())


class RecoveringSamples(SearchGenerator):
    """Tune's trials of a sampler, as ``RecoveringTrial``."""

    def next_trial(self) -> Trial | None:
        """The next one; None if none can begin now."""
        return _recovering(super().next_trial())

    def save_to_dir(self, dirpath: str, session_str: str) -> None:
        """No-op: Tune would write what is searched to disk, to restore it, which no study asks for."""
