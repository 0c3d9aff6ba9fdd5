"""Run the whole study for one dataset: prepare, tune, early_stop, report.

Each step is an MLflow run nested under this one.
"""

from __future__ import annotations

from entrypoints import signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported

import contextlib
import os
from pathlib import Path

import click
import mlflow.projects
import psutil
from mlflow.exceptions import ExecutionException

from entrypoints.errors import UserError
from entrypoints.options import dataset_option
from entrypoints.runs import Interrupted, RecordedCommand, recorded_run

STEPS = ("prepare", "tune", "early_stop", "report")
PROJECT = Path(__file__).parent.parent
END_CHILDREN_WITHIN_S = 7.0


@click.command(cls=RecordedCommand, help=__doc__)
@dataset_option
def main(dataset: str, target: str) -> None:
    with recorded_run("main", f"main {Path(dataset).name}", {"dataset": dataset, "target": target}) as run:
        for step in STEPS:
            click.echo(f"\n== {step} {dataset}")
            try:
                # The environment is this one already, whatever --env-manager made it.
                mlflow.projects.run(  # type: ignore[no-untyped-call]
                    str(PROJECT),
                    step,
                    # A report reads what is there, whatever the target was.
                    parameters={"dataset": dataset} | ({} if step == "report" else {"target": target}),
                    experiment_id=run.experiment_id,
                    env_manager="local",
                )
            except ExecutionException:
                raise UserError(f"{step} did not succeed, so main ends here; what was wrong stands above") from None
            except Interrupted:
                _end_children()
                raise


def _end_children() -> None:
    """Ask the step in progress to end, and wait for it: it marks its own runs."""
    children = psutil.Process(os.getpid()).children()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    psutil.wait_procs(children, timeout=END_CHILDREN_WITHIN_S)


if __name__ == "__main__":
    main()
