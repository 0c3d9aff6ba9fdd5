"""Settings -> a study that runs: Ray starts while MLflow, and what else the study needs, is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from entrypoints.runs import CommandRun, RecordedRun
from entrypoints.search.plan import Plan, planned
from entrypoints.settings import Limits, StudySettings

if TYPE_CHECKING:
    from entrypoints.search.earlier import Earlier


def begin(command: CommandRun, settings: StudySettings, limits: Limits | None = None, *, folder: Path) -> None:
    """Plan a study and carry it out in its command's run.

    Args:
        command: opens the run.
        settings: what is searched.
        limits: what a trial may cost.
        folder: where the user typed the command.

    Raises:
        UserError: the settings cannot be carried out, or no trial came to a usable end.
    """
    if "." in settings.algorithm or settings.register:
        command.open()  # before the user's own module, or the model registry, asks for MLflow's current run and store
    plan = planned(settings, limits, folder=folder)
    with plan.place:
        run = command.open()
        from entrypoints.search.study import run_study  # takes a second

        run_study(run, plan)


def go_on(run: RecordedRun, plan: Plan, earlier: Earlier) -> None:
    """Carry out what an interrupted command has left of a study, in the study's run.

    Raises:
        UserError: no trial came to a usable end.
    """
    from entrypoints.search.study import run_study

    with plan.place:
        run_study(run, plan, earlier)
