"""Search as `tune` does, with limits on what a model may cost, acted on as early as they are known.

The result is the best model that meets the limits; the budget says what the limits saved.
"""

from __future__ import annotations

from pathlib import Path

import click

from entrypoints.algorithms import AUTO
from entrypoints.options import Limits, StudySettings, limit_options, study_options
from entrypoints.runs import RecordedCommand, recorded_run


@click.command(cls=RecordedCommand, help=__doc__)
@study_options
@limit_options
def early_stop(criteria: str, predict: str, scheduler: str, **options: object) -> None:
    """Parse, call, echo."""
    given = {**options, "criteria": criteria, "predict": predict, "scheduler": scheduler}
    with recorded_run("study", f"early_stop {Path(str(options['dataset'])).name}", given) as run:
        settings = StudySettings(**options)  # type: ignore[arg-type]
        limits = Limits(None if criteria == AUTO else criteria, predict == "on", scheduler)
        from entrypoints.study import run_study  # imports ray, which a mistake above need not wait for

        run_study(run, settings, limits)


if __name__ == "__main__":
    early_stop()
