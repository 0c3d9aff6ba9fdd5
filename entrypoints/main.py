"""Run the whole study of a dataset: prepare, tune, early_stop, report.

Several datasets are studied one after the other, and a last report compares them. Each step is an MLflow run nested
under this one.
"""

from __future__ import annotations

from entrypoints import signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported

import contextlib
import os
from itertools import product
from pathlib import Path

import click
import mlflow.projects
import psutil
from mlflow.exceptions import ExecutionException

from entrypoints.errors import UserError
from entrypoints.options import main_options
from entrypoints.runs import Interrupted, RecordedCommand, RecordedRun, recorded_run
from entrypoints.settings import AUTO

PROJECT = Path(__file__).parent.parent
END_CHILDREN_WITHIN_S = 7.0


@click.command(cls=RecordedCommand, help=__doc__)
@main_options
def main(dataset: tuple[str, ...], target: str, max_rows: int, **space: tuple[float, ...] | None) -> None:
    name = ", ".join(Path(each).name for each in dataset)
    of_data: dict[str, object] = {"target": target, "max_rows": str(max_rows)}
    of_search = of_data | {
        each: AUTO if values is None else ",".join(map(str, values)) for each, values in space.items()
    }
    # A report takes no parameters of the search: it reads the results.
    steps: dict[str, dict[str, object]] = {"prepare": of_data, "tune": of_search, "early_stop": of_search, "report": {}}
    with recorded_run("main", f"main {name}", {"dataset": ",".join(dataset)} | of_search) as run:
        studies = []
        for each, (step, parameters) in product(dataset, steps.items()):
            click.echo(f"\n== {step} {each}")
            run_id = _run(run, step, {"dataset": each} | parameters)
            studies += [run_id] if step == "tune" else []
        if len(studies) > 1:
            click.echo(f"\n== report {name}")
            _run(run, "report", {"study": ",".join(studies)})


def _run(run: RecordedRun, step: str, parameters: dict[str, object]) -> str:
    """Run a step to its end, and return the id of its run."""
    try:
        # This process already runs in the environment that --env-manager has made.
        done = mlflow.projects.run(  # type: ignore[no-untyped-call]
            str(PROJECT), step, parameters=parameters, experiment_id=run.experiment_id, env_manager="local"
        )
    except ExecutionException:
        raise UserError(f"{step} did not succeed, so main stops here; see its error above") from None
    except Interrupted:
        _end_children()
        raise
    return str(done.run_id)


def _end_children() -> None:
    """Ask the step in progress to end, and wait for it: it marks its own runs."""
    children = psutil.Process(os.getpid()).children()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    psutil.wait_procs(children, timeout=END_CHILDREN_WITHIN_S)


if __name__ == "__main__":
    main()
