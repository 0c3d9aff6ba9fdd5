"""Report on finished studies: which model to take, what hyperparameters change, and what limits save.

It reads the newest `tune` and `early_stop` of a dataset, or the studies that are named, and trains nothing. Of full
studies of several datasets it says which hyperparameters change score and costs on all of them; of one dataset, with
several seeds or on several machines, what is stable. It leaves an MLflow run with a page, figures and tables.
"""

from __future__ import annotations

from entrypoints import environment, signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

import shlex
from collections.abc import Sequence
from pathlib import Path

import click
from mlflow.entities import Run

from entrypoints.early_stop import early_stop
from entrypoints.errors import say
from entrypoints.frame import Frame, frame_of
from entrypoints.reading import rows_of
from entrypoints.reporting import questions, selection
from entrypoints.runs import RecordedCommand, recorded_run
from entrypoints.settings import as_typed, report_options
from entrypoints.tags import STUDY_LIMITS
from entrypoints.text import listed


@click.command(cls=RecordedCommand, help=__doc__)
@report_options
def report(dataset: str, study: tuple[str, ...] | None, metric: str | None, mode: str | None) -> None:
    given = ({} if study else {"dataset": dataset}) | {"study": study, "metric": metric, "mode": mode}
    name = f"report study {study[0][:8]}" if study else f"report {Path(dataset).name}"
    with recorded_run("report", name, as_typed(given)) as run:
        client, where = run.client, run.experiment_id
        runs = selection.by_ids(client, study) if study else selection.find(client, where, dataset)
        frame = frame_of([rows_of(client, each, metric, mode, questions.CURVES) for each in runs])
        kind = selection.kind_of(frame, runs)
        if kind != questions.STUDY:
            run.rename(name, f"report {_compared(frame)}")
        counts = frame.trials.groupby("study", sort=False).size()
        named = zip(frame.studies["name"], counts[frame.studies.index], strict=True)
        say(f"Report on {', '.join(f'{name} ({count} trials)' for name, count in named)}")
        answers = questions.ask(kind, frame)
        from entrypoints.reporting import pages  # draws, which a mistake above need not wait for

        pages.write(run, frame, answers, how_to_stop_early(runs))


def how_to_stop_early(runs: Sequence[Run]) -> str:
    """The command for the trials of a full study under limits; empty where they have run so, or not by ``tune``."""
    params = {name: _unquoted(value) for name, value in runs[0].data.params.items()}
    if len(runs) > 1 or STUDY_LIMITS in runs[0].data.tags or "space" not in params:
        return ""
    defaults = {str(option.name): option.default for option in early_stop.params}
    given = [f"{name}={params[name]}" for name, default in defaults.items() if params.get(name, default) != default]
    return " ".join(["mlflow run . -e early_stop --env-manager local", *(f"-P {shlex.quote(each)}" for each in given)])


def _unquoted(value: str) -> str:
    """A parameter as it was given: `mlflow run` keeps one with spaces or braces in quotes, as for a shell."""
    return shlex.split(value)[0] if value.startswith("'") and value.endswith("'") else value


def _compared(frame: Frame) -> str:
    """What several studies are called together: their datasets, or how many there are of one."""
    names = list(dict.fromkeys(Path(str(dataset or "unknown")).name for dataset in frame.studies["dataset"]))
    return listed(names, 5) if len(names) > 1 else f"{names[0]}, {len(frame.studies)} studies"


if __name__ == "__main__":
    report()
