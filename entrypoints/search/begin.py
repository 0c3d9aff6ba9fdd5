"""Begin a study: plan it, start where its trials run, and carry it out in the run of its command."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from entrypoints.runs import CommandRun
from entrypoints.search.plan import planned
from entrypoints.settings import LimitOptions, StudySettings
from mlflow_sysmetrics.measurement import Measurement


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
    before_cpu_s = time.process_time()
    with Measurement(interval_s=0.5) as measurement:  # Ray's processes are read, too, of which there are a dozen
        if "." in settings.algorithm or settings.register:
            command.open()  # before the user's own module, or the model registry, asks for the current run and store
        plan = planned(settings, limits, folder=folder)

        def cost() -> dict[str, float]:
            """What the command has cost since its process began: all processes, unless some are on other machines."""
            found = {"command_elapsed_s": time.time() - psutil.Process().create_time()}
            cpu_s = measurement.summary.get("cpu_seconds")
            if cpu_s is not None and plan.backend.is_here:
                found["command_cpu_seconds"] = before_cpu_s + cpu_s
            return found

        with plan.backend:  # Ray starts while MLflow, and what else the study needs, is imported
            run = command.open()
            from entrypoints.search.resume import keep
            from entrypoints.search.study import run_study

            command.continued_by = keep(run, settings, limits)
            run_study(run, plan, command=cost)
