"""Search a grid of models for one dataset; each trial is an MLflow run with its accuracy and its cost.

A small table, such as red_wine, takes a minute or two.
"""

from __future__ import annotations

from pathlib import Path

import click

from entrypoints.options import StudySettings, study_options
from entrypoints.runs import RecordedCommand, recorded_run


@click.command(cls=RecordedCommand, help=__doc__)
@study_options
def tune(**options: object) -> None:
    """Parse, call, echo."""
    with recorded_run("study", f"tune {Path(str(options['dataset'])).name}", options) as run:
        settings = StudySettings(**options)  # type: ignore[arg-type]
        from entrypoints.study import run_study  # imports ray, which a mistake above need not wait for

        run_study(run, settings)


if __name__ == "__main__":
    tune()
