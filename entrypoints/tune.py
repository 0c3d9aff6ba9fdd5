"""Search a grid of models for one dataset; each trial is an MLflow run with its accuracy and its cost.

A small table, such as red_wine, takes a minute or two.
"""

from __future__ import annotations

from entrypoints import environment, signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

from pathlib import Path

import click

from entrypoints.options import resume_option, study_options
from entrypoints.own_modules import user_folder
from entrypoints.runs import RecordedCommand, recorded_command
from entrypoints.settings import StudySettings, as_typed


@click.command(cls=RecordedCommand, help=__doc__)
@study_options
@resume_option
def tune(resume: str | None, **options: object) -> None:
    if resume is not None:
        from entrypoints.search.resume import resume_study

        resume_study("tune", resume, options)
        return
    folder = user_folder()
    with recorded_command("study", f"tune {Path(str(options['dataset'])).name}", as_typed(options)) as command:
        settings = StudySettings(**options)  # type: ignore[arg-type]
        from entrypoints.search.plan import begin  # imports what a mistake above need not wait for

        begin(command, settings, folder=folder)


if __name__ == "__main__":
    tune()
