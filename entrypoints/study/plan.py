"""Settings -> a study. All that can be wrong with them is found here, before Ray is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from entrypoints.compute import own_modules
from entrypoints.compute.backends import backend
from entrypoints.datasets import known
from entrypoints.datasets.splits import Split, make_split
from entrypoints.datasets.tables import Table
from entrypoints.errors import say
from entrypoints.limits.costs import parse_limits
from entrypoints.models import algorithms, scores
from entrypoints.models.algorithms import Algorithm
from entrypoints.options.search_space import Space
from entrypoints.options.settings import AUTO_NUMBER, StudySettings
from entrypoints.search import defaults
from entrypoints.search.grid import Choice, drawn, grid
from entrypoints.search.portfolio import portfolio
from entrypoints.search.references import references
from entrypoints.search.spaces import given_for, spaces_of
from entrypoints.study.study import Study

FAST_ROWS = 1000  # of a fold; with as many a trial takes seconds
TRIALS = "entrypoints.study.trial_process"  # what the processes of trials import


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
    metric = defaults.metric_of(asked.metric, asked.dataset, table)
    settings = replace(defaults.resolved(asked, table.task), duplicates=duplicates, metric=metric)
    said = [defaults.sentence(asked, settings, table.task)]
    score = scores.find(metric, table.task, table.positive)
    why_score = ""
    if metric != asked.metric:
        why_score = f"accuracy hides the others where {table.largest_class:.0%} of the rows are of one class"
    parsed = parse_limits(settings.limits, score, here=where.is_here)
    folders = (folder, Path(settings.dataset).parent) if Path(settings.dataset).is_absolute() else (folder,)
    own_modules.look_in(folders, settings.algorithm)
    searched = algorithms.find_all(table.task, settings.algorithm)

    def study_of(settings: StudySettings) -> Study:
        split = _split(settings, table)
        spaces = spaces_of(settings, searched, split.max_batch_size, len(table.classes))
        return Study(
            settings=settings,
            limits=parsed,
            table=table,
            split=split,
            algorithms=searched,
            spaces=spaces,
            first=_first(settings, searched, spaces),
            folders=folders,
            references=references(settings, table.task),
            backend=where,
            score=score,
            why_score=why_score,
            baseline=score.baseline(table, split),
        )

    study = study_of(settings)
    fit_rows = study.split.fit_rows
    if settings.time_limit_s and where.is_here and asked.search_rows == AUTO_NUMBER and fit_rows > FAST_ROWS:
        from entrypoints.study import pace  # imports what a small table need not wait for

        paced, lowered = pace.fitted(study, may_fold=asked.folds == AUTO_NUMBER)
        if lowered:
            said.append(lowered)
            study = study_of(paced)
    _check_models(study)
    for sentence in filter(None, said):
        say(sentence)
    return study


def _first(settings: StudySettings, searched: Sequence[Algorithm], spaces: Sequence[Space]) -> list[Choice]:
    """What is tried in any case."""
    if settings.search == "grid":
        return grid(spaces, settings.max_trials, settings.seed)
    given = {}
    for algorithm, space in zip(searched, spaces, strict=True):
        own = given_for(settings.space, algorithm)
        if space.keys() - own.keys() != {"algorithm"}:  # else the user gives all of its values
            given[algorithm.name] = own
    return portfolio(given, settings.seed)[: settings.max_trials]


def _split(settings: StudySettings, table: Table) -> Split:
    split = make_split(table, folds=settings.folds, seed=settings.seed, duplicates=settings.duplicates)
    return split if settings.search_rows is None else split.thinned(settings.search_rows, table)


def _check_models(study: Study) -> None:
    """That the models of each algorithm can be scored."""
    for space in study.spaces:
        trial = study.configuration(next(drawn(space, study.settings.seed)), 0)
        algorithm = trial.find_algorithm(study.table.task)
        learner = algorithm.learner(trial.hyperparameters, len(study.table.classes), trial.seed)
        study.score.check(trial.algorithm, learner.loss)
