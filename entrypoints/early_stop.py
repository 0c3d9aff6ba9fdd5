"""Search as `tune` does, with limits on the cost of a model; trials that break them are stopped as early as possible.

The result is the best model that meets the limits; the budget says what the limits saved.
"""

from __future__ import annotations

from entrypoints import environment, signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

from pathlib import Path

import click

from entrypoints.options import limit_options, resume_option, study_options
from entrypoints.own_modules import user_folder
from entrypoints.runs import RecordedCommand, recorded_command
from entrypoints.settings import Limits, StudySettings, as_typed


@click.command(cls=RecordedCommand, help=__doc__)
@study_options
@resume_option
@limit_options
def early_stop(criteria: str, predict: str, scheduler: str, resume: str | None, **options: object) -> None:
    given = {**options, "criteria": criteria, "predict": predict, "scheduler": scheduler}
    if resume is not None:
        from entrypoints.search.resume import resume_study

        resume_study("early_stop", resume, given)
        return
    folder = user_folder()
    with recorded_command("study", f"early_stop {Path(str(options['dataset'])).name}", as_typed(given)) as command:
        settings = StudySettings(**options)  # type: ignore[arg-type]
        limits = Limits.of(criteria, predict, scheduler)
        from entrypoints.search.plan import begin  # imports what a mistake above need not wait for

        begin(command, settings, limits, folder=folder)


if __name__ == "__main__":
    early_stop()
