"""Run the whole study of a dataset: prepare, tune, early_stop, and a report on both.

Several datasets are studied one after the other, and a last report compares them. Each step is an MLflow run nested
under this one. What early_stop finds is registered, if a name is given.
"""

from __future__ import annotations

from entrypoints.runs import signals

if __name__ == "__main__":
    signals.note()  # until all that follows is imported

import os
from collections.abc import Mapping
from pathlib import Path

import click
import mlflow.projects
from mlflow.exceptions import ExecutionException

from entrypoints.compute.own_modules import OF_STEPS, user_folder
from entrypoints.errors import UserError
from entrypoints.options.settings import OF_DATA, as_typed, main_options
from entrypoints.runs.recorded import RecordedCommand, RecordedRun, recorded_run

PROJECT = Path(__file__).parent.parent


@click.command(cls=RecordedCommand, help=__doc__)
@main_options
def main(dataset: tuple[str, ...], **options: object) -> None:
    name, given = ", ".join(Path(each).name for each in dataset), as_typed(options)
    of_data = {each: given[each] for each in OF_DATA if each in given}
    params = {"dataset": ",".join(dataset), **given}
    without_limits = {each: text for each, text in given.items() if each not in ("limits", "register")}
    os.environ[OF_STEPS] = str(user_folder())
    with recorded_run("main", f"main {name}", params) as run:
        studies = []
        for each in dataset:
            _run(run, "prepare", each, {"dataset": each, **of_data})
            full = _run(run, "tune", each, {"dataset": each, **without_limits})
            limited = _run(run, "early_stop", each, {"dataset": each, **given})
            _run(run, "report", each, {"study": f"{full},{limited}"})
            studies.append(full)
        if len(studies) > 1:
            _run(run, "report", name, {"study": ",".join(studies)})


def _run(run: RecordedRun, step: str, of: str, parameters: Mapping[str, str]) -> str:
    """Run a step to its end, and return the id of its run."""
    click.echo(f"\n== {step} {of}")
    try:
        # This process already runs in the environment that --env-manager has made. A signal here ends the step, too.
        done = mlflow.projects.run(  # type: ignore[no-untyped-call]
            str(PROJECT), step, parameters=dict(parameters), experiment_id=run.experiment_id, env_manager="local"
        )
    except ExecutionException:
        raise UserError(f"{step} did not succeed, so main stops here; see its error above") from None
    return str(done.run_id)


if __name__ == "__main__":
    main()
