"""Search a grid of models for one dataset; each trial is an MLflow run with its accuracy and its cost.

A small table, such as red_wine, takes a minute or two.
"""

from __future__ import annotations

from entrypoints import environment, signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

from pathlib import Path
from typing import Any

import click

from entrypoints.own_modules import user_folder
from entrypoints.runs import RecordedCommand, recorded_command
from entrypoints.settings import LimitOptions, StudySettings, as_typed, resume_option, study_options


@click.command(cls=RecordedCommand, help=__doc__)
@study_options
@resume_option
def tune(resume: str | None, **options: Any) -> None:
    search("tune", resume, options)


def search(command: str, resume: str | None, options: dict[str, Any], limits: dict[str, Any] | None = None) -> None:
    """Carry out a study with these options, or go on with the one in the run to resume."""
    given = options | (limits or {})
    if resume is not None:
        from entrypoints.search.resume import resume_study

        resume_study(command, resume, given)
        return
    folder = user_folder()
    with recorded_command("study", f"{command} {Path(options['dataset']).name}", as_typed(given)) as run:
        settings = StudySettings(**options)
        from entrypoints.search.begin import begin  # imports what a mistake above need not wait for

        begin(run, settings, LimitOptions(**limits) if limits else None, folder=folder)


if __name__ == "__main__":
    tune()
