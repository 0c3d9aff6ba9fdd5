"""Settings -> a study. All that can be wrong with them is found here, before Ray is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from entrypoints import own_modules
from entrypoints.compute.backends import backend
from entrypoints.datasets import known
from entrypoints.datasets.splits import Split, make_split
from entrypoints.datasets.tables import Table
from entrypoints.errors import UserError, say
from entrypoints.limits.costs import parse_limits
from entrypoints.limits.grammar import Limits
from entrypoints.models import algorithms, scores
from entrypoints.models.algorithms import Algorithm
from entrypoints.models.configuration import Configuration
from entrypoints.models.scores import Score
from entrypoints.search import defaults
from entrypoints.search.grid import configurations
from entrypoints.search.references import references
from entrypoints.search.study import Study
from entrypoints.settings import AUTO_NUMBER, StudySettings
from entrypoints.tags import FOLD

FAST_ROWS = 1000  # of a fold; with as many a trial takes seconds
TRIALS = "entrypoints.search.trial"  # what the processes of trials import


def planned(asked: StudySettings, *, folder: Path) -> Study:
    """All that can be wrong with settings is found here, before anything slow begins.

    Args:
        asked: what is searched, maybe with ``auto``.
        folder: where the user typed the command. A module of theirs is found there, or beside their table.

    Raises:
        UserError: the settings do not fit the dataset, each other, or the model registry.
    """
    settings = asked
    if settings.register:
        from entrypoints.models import registered  # which imports MLflow

        registered.check(settings.register)
    where = backend(settings.ray_address, settings.cpus, imports=TRIALS)
    table = known.load(
        settings.dataset,
        target=settings.target,
        drop=settings.drop,
        decimal=settings.decimal,
        scored=scores.task_of(settings.metric),
        group=settings.group,
        time=settings.time,
        max_rows=settings.max_rows,
        seed=settings.seed,
    )
    table = scores.with_positive(table, settings.positive)
    duplicates = defaults.duplicates_of(asked.duplicates, asked.dataset, table)
    settings = replace(defaults.resolved(asked, table.task), duplicates=duplicates)
    said = [defaults.sentence(asked, settings, table.task)]
    score = scores.find(settings.metric, table.task, table.positive)
    parsed = parse_limits(settings.limits, score, here=where.is_here)
    folders = (folder, Path(settings.dataset).parent) if Path(settings.dataset).is_absolute() else (folder,)
    own_modules.look_in(folders, settings.algorithm)
    searched = algorithms.find_all(table.task, settings.algorithm)
    said.append(_without_curves(parsed, searched))
    split = _split(settings, table)
    trials = configurations(settings, split, searched, len(table.classes), folders)
    if settings.time_limit_s and where.is_here and asked.search_rows == AUTO_NUMBER and split.fit_rows > FAST_ROWS:
        from entrypoints.search import pace  # imports what a small table need not wait for

        paced, lowered = pace.fitted(settings, table, split, trials, may_fold=asked.folds == AUTO_NUMBER)
        if lowered:
            said.append(lowered)
            settings = paced
            split = _split(settings, table)
            trials = configurations(settings, split, searched, len(table.classes), folders)
    _check_models(score, trials, table)
    study = Study(
        settings=settings,
        limits=parsed,
        table=table,
        split=split,
        configurations=trials,
        references=references(settings, table.task),
        backend=where,
        score=score,
        baseline=score.baseline(table, split),
    )
    for sentence in filter(None, said):
        say(sentence)
    return study


def _without_curves(limits: Limits, searched: Sequence[Algorithm]) -> str:
    """The sentence that names the algorithms to which patience does not apply; empty where there are none.

    Raises:
        UserError: it applies to no algorithm of the study.
    """
    by_fold = [algorithm.name for algorithm in searched if algorithm.axis == FOLD]
    if not by_fold or not limits.patience:
        return ""
    why = f"patience needs a curve of training, which models without partial_fit ({', '.join(by_fold)}) do not have"
    if len(by_fold) == len(searched):
        raise UserError(f"limits={limits}: {why}; leave it out, or add an algorithm with partial_fit, such as mlp")
    return f"Limits: {why}, so it does not stop them"


def _split(settings: StudySettings, table: Table) -> Split:
    split = make_split(table, folds=settings.folds, seed=settings.seed, duplicates=settings.duplicates)
    return split if settings.search_rows is None else split.thinned(settings.search_rows, table)


def _check_models(score: Score, trials: list[Configuration], table: Table) -> None:
    """That the models of each algorithm can be scored."""
    for trial in {trial.algorithm: trial for trial in trials}.values():
        learner = trial.find_algorithm(table.task).learner(trial.hyperparameters, len(table.classes), trial.seed)
        score.check(trial.algorithm, learner.loss)
