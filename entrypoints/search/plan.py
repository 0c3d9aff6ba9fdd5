"""Settings -> what a study does, as data. All that can be wrong with them is found here, before Ray is started."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from entrypoints import own_modules
from entrypoints.compute.backends import Backend, backend
from entrypoints.datasets import known
from entrypoints.datasets.splits import Split, make_split
from entrypoints.datasets.tables import Table
from entrypoints.limits.costs import of_trials, parse_limits
from entrypoints.limits.grammar import Limits
from entrypoints.models import algorithms, scores
from entrypoints.models.configuration import Configuration
from entrypoints.models.scores import Score
from entrypoints.search.grid import configurations, tried
from entrypoints.settings import StudySettings

TRIALS = "entrypoints.search.trial"  # what the processes of trials import
_OF_KEY = ("max_rows", "folds", "seed")
_OF_KEY_IF_GIVEN = ("metric", "group", "time", "duplicates")


@dataclass(frozen=True)
class Plan:
    """What a study does, and where: ``trials`` has one configuration each.

    ``score`` ranks trials, and ``baseline`` is what it is on each fold of a model that ignores all features. A search
    that learns tries as many of its ``trials`` as ``size`` says.
    """

    settings: StudySettings
    limits: Limits
    table: Table
    split: Split
    trials: list[Configuration]
    backend: Backend
    score: Score
    baseline: list[float]

    @property
    def score_line(self) -> str:
        """What ranks its trials, in one line."""
        better = "higher" if self.score.higher_is_better else "lower"
        classes = self.table.class_names
        positive = f"; {classes[1]} is the positive class" if len(classes) == 2 and not self.score.in_numpy else ""
        baseline = f"a model that ignores all features has {fmean(self.baseline):.4g}"
        return f"{self.score.validated}, {better} is better{positive}; {baseline}"

    @property
    def trial_limits(self) -> Limits:
        """The limits without those on served models, by which no trial is judged."""
        return of_trials(self.limits)

    @property
    def learns(self) -> bool:
        """Whether what it tries next depends on what has come of the trials before."""
        return self.settings.search == "tpe"

    @property
    def size(self) -> int:
        """How many trials it has, if the time is enough."""
        repetitions = sum(trial.repeat > 0 for trial in self.trials)
        return tried(self.settings, len(self.trials) - repetitions) + repetitions


def planned(settings: StudySettings, *, folder: Path) -> Plan:
    """All that can be wrong with settings is found here, before anything slow begins.

    Args:
        settings: what is searched.
        folder: where the user typed the command. A module of theirs is found there, or beside their table.

    Raises:
        UserError: the settings do not fit the dataset, each other, or the model registry.
    """
    if settings.register:
        from entrypoints.models import registered  # which imports MLflow

        registered.check(settings.register)
    where = backend(settings.ray_address, settings.cpus, imports=TRIALS)
    table = known.load(
        settings.dataset,
        target=settings.target,
        drop=settings.drop,
        decimal=settings.decimal,
        group=settings.group,
        time=settings.time,
        max_rows=settings.max_rows,
        seed=settings.seed,
    )
    score = scores.find(settings.metric, table.task)
    parsed = parse_limits(settings.limits, score, here=where.is_here)
    folders = [folder]
    if Path(settings.dataset).is_absolute():
        folders.append(Path(settings.dataset).parent)
    own_modules.look_in(folders, settings.algorithm)
    searched = algorithms.find_all(table.task, settings.algorithm)
    split = make_split(table, folds=settings.folds, seed=settings.seed, duplicates=settings.duplicates)
    made = configurations(settings, split, searched, len(table.classes))
    trials = [replace(trial, folders=tuple(folders)) for trial in made]
    _check_models(score, trials, table)
    return Plan(
        settings=settings,
        limits=parsed,
        table=table,
        split=split,
        trials=trials,
        backend=where,
        score=score,
        baseline=score.baseline(table, split),
    )


def _check_models(score: Score, trials: list[Configuration], table: Table) -> None:
    """That the models of each algorithm can be scored."""
    for trial in {trial.algorithm: trial for trial in trials}.values():
        learner = trial.find_algorithm(table.task).learner(trial.hyperparameters, len(table.classes), trial.seed)
        score.check(trial.algorithm, learner.loss)


def study_key(settings: StudySettings, table: Table) -> str:
    """Studies with the same key train the same configurations in the same way."""
    same = {name: getattr(settings, name) for name in _OF_KEY} | {"length": str(settings.length)}
    same |= {name: given for name in _OF_KEY_IF_GIVEN if (given := getattr(settings, name)) is not None}
    return hashlib.sha256(json.dumps([table.digest, table.target, same]).encode()).hexdigest()[:16]
