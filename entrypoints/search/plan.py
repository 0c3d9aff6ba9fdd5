"""Settings -> what a study does. All that can be wrong with them is found here, before Ray is started."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from entrypoints import own_modules
from entrypoints.compute.places import Place, place
from entrypoints.datasets import known
from entrypoints.datasets.prepared import Prepared, Request
from entrypoints.datasets.splits import Split, make_split
from entrypoints.datasets.tables import Table
from entrypoints.limits.schedulers import stopping
from entrypoints.limits.stop_or_skip import Stopping
from entrypoints.models import algorithms
from entrypoints.models.configuration import Configuration
from entrypoints.runs import CommandRun
from entrypoints.search.grid import configurations, tried
from entrypoints.search.run_names import run_names
from entrypoints.settings import Limits, StudySettings

TRIALS = "entrypoints.search.trial"  # what the processes of trials import
_OF_KEY = ("max_rows", "folds", "seed", "max_steps", "max_epochs", "report_every")


@dataclass(frozen=True)
class Plan:
    """What a study does, and where: ``trials`` has one configuration each, and the result meets the ``limits``.

    A search that learns tries as many of its ``trials`` as ``size`` says.
    """

    settings: StudySettings
    limits: Limits | None
    stopping: Stopping | None
    request: Request
    table: Table
    split: Split
    trials: list[Configuration]
    place: Place

    @property
    def searched(self) -> list[str]:
        """The names of what it searches, in the order of the first trials that have them."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.searched))

    @property
    def learns(self) -> bool:
        """Whether what it tries next depends on what has come of the trials before."""
        return self.settings.search == "tpe"

    @property
    def size(self) -> int:
        """How many trials it has, if the time is enough."""
        repetitions = sum(trial.repeat > 0 for trial in self.trials)
        return tried(self.settings, len(self.trials) - repetitions) + repetitions

    @property
    def names(self) -> dict[str, str]:
        """What the runs of its trials are called, by the ids of their configurations."""
        return dict(zip((trial.id for trial in self.trials), run_names(self.trials), strict=True))


def planned(settings: StudySettings, limits: Limits | None = None, *, folder: Path) -> Plan:
    """All that can be wrong with settings is found here, before anything slow begins.

    Args:
        settings: what is searched.
        limits: what a trial may cost.
        folder: where the user typed the command. A module of theirs is found there, or beside their table.

    Raises:
        UserError: the settings do not fit the dataset, each other, or the model registry.
    """
    if settings.register:
        from entrypoints.models import registered  # which imports MLflow

        registered.check(settings.register)
    where = place(settings.ray_address, settings.cpus or 0, imports=TRIALS)
    table = known.load(settings.dataset, target=settings.target).sample(settings.max_rows, settings.seed)
    ends_early = stopping(table.task, limits, settings.groups, here=where.is_here)
    request = Request(settings.dataset, settings.max_rows, settings.folds, settings.seed)
    folders = (folder, Path(settings.dataset).parent) if Path(settings.dataset).is_absolute() else (folder,)
    own_modules.look_in(folders, settings.algorithm)
    searched = algorithms.find_all(table.task, settings.algorithm)
    split = make_split(table, folds=settings.folds, seed=settings.seed)
    made = configurations(settings, split, searched, len(table.classes))
    trials = [replace(trial, folders=folders) for trial in made]
    return Plan(settings, limits, ends_early, request, table, split, trials, where)


def study_key(settings: StudySettings, data: Prepared | Table) -> str:
    """Studies with the same key train the same configurations in the same way."""
    same = {name: getattr(settings, name) for name in _OF_KEY}
    return hashlib.sha256(json.dumps([data.digest, data.target, same]).encode()).hexdigest()[:16]


def begin(command: CommandRun, settings: StudySettings, limits: Limits | None = None, *, folder: Path) -> None:
    """Plan a study and carry it out in its command's run. Arguments as of ``planned``.

    Raises:
        UserError: the settings cannot be carried out, or no trial came to a usable end.
    """
    if "." in settings.algorithm or settings.register:
        command.open()  # before the user's own module, or the model registry, asks for MLflow's current run and store
    plan = planned(settings, limits, folder=folder)
    with plan.place:  # Ray starts while MLflow, and what else the study needs, is imported
        run = command.open()
        from entrypoints.search.study import run_study

        run_study(run, plan)
