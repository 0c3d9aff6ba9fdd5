"""Search for the best model of one dataset; each trial is an MLflow run with its accuracy and its cost.

With limits the result is the best model that meets them, and trials that break one are stopped as early as possible;
MLproject's early_stop is this command with limits=auto. A small table, such as red_wine, takes a minute or two.
For a table of your own the search takes at most five minutes.
"""

from __future__ import annotations

from entrypoints.compute import environment
from entrypoints.runs import signals

if __name__ == "__main__":
    signals.note()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

import time
from pathlib import Path
from typing import Any

import click
import psutil

from entrypoints.compute.own_modules import user_folder
from entrypoints.options.settings import StudySettings, as_typed, tune_options
from entrypoints.runs.recorded import RecordedCommand, recorded_command
from mlflow_sysmetrics.measurement import Measurement


@click.command(cls=RecordedCommand, help=__doc__)
@tune_options
def tune(resume: str | None, **options: Any) -> None:
    if resume is None:
        carry_out(StudySettings(**options))
        return
    from entrypoints.study.resume import resume_study

    resume_study(resume, options)


def carry_out(settings: StudySettings) -> None:
    """Carry out a study with these settings.

    Raises:
        UserError: they cannot be carried out, or no trial came to a usable end.
    """
    folder = user_folder()
    before_cpu_s = time.process_time()
    name = f"{settings.entry_point} {Path(settings.dataset).name}"
    with (
        Measurement(interval_s=0.5) as measurement,  # Ray's processes are read, too, of which there are a dozen
        recorded_command("study", name, as_typed(vars(settings))) as recorded,
    ):
        from entrypoints.study.plan import planned  # imports what a mistake above need not wait for

        if "." in settings.algorithm or settings.register:
            recorded.open()  # before the user's own module, or the model registry, asks for the current run and store
        study = planned(settings, folder=folder)
        study.began = psutil.Process().create_time()

        def cost() -> dict[str, float]:
            """What the command has cost since its process began: all processes, unless some are on other machines."""
            found = {"command_elapsed_s": time.time() - study.began}
            cpu_s = measurement.summary.get("cpu_seconds")
            if cpu_s is not None and study.backend.is_here:
                found["command_cpu_seconds"] = before_cpu_s + cpu_s
            return found

        with study.backend:  # Ray starts while MLflow, and what else the study needs, is imported
            study.run = recorded.open()
            from entrypoints.study.resume import keep
            from entrypoints.study.running import best_kept, run_study

            recorded.continued_by = keep(study.run, study.settings)
            recorded.best_so_far = study.best_so_far
            with best_kept(study):
                run_study(study, cost)


if __name__ == "__main__":
    tune()
