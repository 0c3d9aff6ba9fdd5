"""What a search is held against: a model that ignores all features, and a forest as its library makes it."""

from __future__ import annotations

from entrypoints.datasets.tables import Task
from entrypoints.models.algorithms import CONSTANT
from entrypoints.models.configuration import Configuration
from entrypoints.options.settings import StudySettings
from entrypoints.runs.tags import FOLD
from entrypoints.trials.frame import FOREST, IGNORING, REFERENCE


def references(settings: StudySettings, task: Task) -> dict[str, Configuration]:
    """Their configurations, by what they are; the numbers of the study's own trials begin at 1."""
    found = {}
    algorithms = {IGNORING: CONSTANT[task], FOREST: "forest"}
    for number, (name, algorithm) in enumerate(algorithms.items(), -1):
        found[name] = Configuration(
            searched={"algorithm": algorithm},
            axis=FOLD,
            seed=settings.seed,
            metric=settings.metric,
            number=number,
            role=REFERENCE,
        )
    return found
