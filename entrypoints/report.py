"""Report on finished studies: which model to take, what hyperparameters change, and what limits save.

It reads the newest `tune` and `early_stop` of a dataset, or the studies that are named, and trains nothing. Of full
studies of several datasets it says which hyperparameters change score and costs on all of them. It leaves an MLflow run
with a page, figures and tables.
"""

from __future__ import annotations

from entrypoints.compute import environment
from entrypoints.runs import signals

if __name__ == "__main__":
    signals.note()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

import shlex
from collections.abc import Sequence
from pathlib import Path

import click
import mlflow
from mlflow.entities import Run

from entrypoints.errors import say
from entrypoints.options.settings import as_typed, report_options
from entrypoints.reporting import questions, selection
from entrypoints.reporting.answer import Answer
from entrypoints.reporting.questions import searches
from entrypoints.runs.links import how_to_open, run_view
from entrypoints.runs.recorded import RecordedCommand, RecordedRun, recorded_run
from entrypoints.runs.tags import STUDY_LIMITS
from entrypoints.text import listed
from entrypoints.trials.frame import Frame, StudyRows, frame_of
from entrypoints.trials.reading import rows_of
from entrypoints.tune import tune
from mlflow_sysmetrics.ui import FIRST, Page, saved_link, trials_of


@click.command(cls=RecordedCommand, help=__doc__)
@report_options
def report(dataset: str, target: str | None, study: tuple[str, ...] | None) -> None:
    given = {"study": study} if study else {"dataset": dataset, "target": target, "study": study}
    name = f"report study {study[0][:8]}" if study else f"report {Path(dataset).name}"
    with recorded_run("report", name, as_typed(given)) as run:
        client, where = run.client, run.experiment_id
        runs = selection.by_ids(client, study) if study else selection.find(client, where, dataset, target)
        studies = [rows_of(client, each, questions.CURVES) for each in runs]
        frame = frame_of(studies)
        kind = selection.kind_of(frame)
        if kind == questions.DATASETS:
            run.rename(name, f"report {_datasets(frame)}")
        counts = frame.trials.groupby("study", sort=False).size()
        named = zip(frame.studies["name"], counts[frame.studies.index], strict=True)
        say(f"Report on {', '.join(f'{name} ({count} trials)' for name, count in named)}")
        answers = _answers(kind, studies, frame)
        from entrypoints.reporting import pages  # draws, which a mistake above need not wait for

        mlflow.log_metrics({"trials": float(counts.sum()), "studies": float(len(runs))}, step=0)
        said = pages.write(run, answers, _links(run, frame), how_to_stop_early(runs))
        address = how_to_open(run_view(where, run.run_id), mlflow.get_tracking_uri())
        click.echo(f"\n{said}\n\nThe whole page in the MLflow UI:\n{address}")


def _answers(kind: str, studies: Sequence[StudyRows], frame: Frame) -> list[Answer]:
    """Ask of the first study beside those of the same trials; other searches are compared with it as a whole."""
    others = searches.others(frame) if kind == questions.STUDY else []
    if not others:
        return questions.ask(kind, frame)
    same = [each for each in studies if each.study not in others]
    return questions.ask(kind, frame_of(same), beside=frame)


def _links(run: RecordedRun, frame: Frame) -> list[str]:
    """The studies with their trials, and where to go on, as lines of Markdown."""
    lines = []
    for study_id, study in frame.studies.iterrows():
        count = int((frame.trials["study"] == study_id).sum())
        under = f" under `{study['limits']}`" if study["limits"] else ""
        lines.append(f"[{study['name']}]({run_view(study['experiment_id'], str(study_id))}) has {count} trials{under}.")
    artifacts = run_view(run.experiment_id, run.run_id, "artifacts")
    lines.append(f"Open next: [the trials]({_trials_page(run, frame)}), or [all figures and tables]({artifacts}).")
    return lines


def _trials_page(run: RecordedRun, frame: Frame) -> str:
    """The link of the saved page of the first study's trials; of all of them, the best first, where there is none."""
    experiment_id = str(frame.studies["experiment_id"].iloc[0])
    tags = run.client.get_experiment(experiment_id).tags
    plain = Page("", trials_of(frame.first), sort_by=frame.score, ascending=not frame.higher_is_better)
    saved = saved_link(tags, experiment_id, frame.first, FIRST)
    return saved or plain.plain_link(experiment_id)


def how_to_stop_early(runs: Sequence[Run]) -> str:
    """The command of a study under limits beside a full one; empty where there is one, or this is not of ``tune``."""
    params = {name: _unquoted(value) for name, value in runs[0].data.params.items()}
    if len(runs) > 1 or STUDY_LIMITS in runs[0].data.tags or "space" not in params:
        return ""
    defaults = {str(option.name): option.default for option in tune.params}
    given = [f"{name}={params[name]}" for name, default in defaults.items() if params.get(name, default) != default]
    return " ".join(["mlflow run . -e early_stop --env-manager local", *(f"-P {shlex.quote(each)}" for each in given)])


def _unquoted(value: str) -> str:
    """A parameter as it was given: `mlflow run` keeps one with spaces or braces in quotes, as for a shell."""
    return shlex.split(value)[0] if value.startswith("'") and value.endswith("'") else value


def _datasets(frame: Frame) -> str:
    """What several studies are called together."""
    return listed([Path(str(dataset)).name for dataset in frame.studies["dataset"]], 5)


if __name__ == "__main__":
    report()
