"""Begin a study: plan it, start where its trials run, and carry it out in the run of its command."""

from __future__ import annotations

from pathlib import Path

from entrypoints.runs import CommandRun
from entrypoints.search.plan import planned
from entrypoints.settings import LimitOptions, StudySettings


def begin(command: CommandRun, settings: StudySettings, limits: LimitOptions | None = None, *, folder: Path) -> None:
    """Plan a study and carry it out in its command's run.

    Args:
        command: the command, whose run need not be open.
        settings: what is searched.
        limits: what a trial may cost.
        folder: where the user typed the command.

    Raises:
        UserError: the settings cannot be carried out, or no trial came to a usable end.
    """
    if "." in settings.algorithm or settings.register:
        command.open()  # before the user's own module, or the model registry, asks for MLflow's current run and store
    plan = planned(settings, limits, folder=folder)
    with plan.backend:  # Ray starts while MLflow, and what else the study needs, is imported
        run = command.open()
        from entrypoints.search.resume import keep
        from entrypoints.search.study import run_study

        keep(run, settings, limits)
        run_study(run, plan)
