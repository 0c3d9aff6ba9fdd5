"""Which finished studies a report is about: the newest of a dataset, or those whose run ids a user gives."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from mlflow import MlflowClient
from mlflow.entities import Run

from entrypoints.errors import UserError
from entrypoints.reporting.questions import DATASETS, STUDY
from entrypoints.runs.mlflow_io import find_run, search_runs
from entrypoints.runs.tags import DATASET, STUDY_KEY, STUDY_LIMITS
from entrypoints.trials.frame import Frame
from mlflow_sysmetrics.recording.tags import KIND

MAX_LIMITED = 5


def find(client: MlflowClient, experiment_id: str, dataset: str, target: str | None = None) -> list[Run]:
    """The newest full study of a dataset in an experiment, and those of the same data and training under limits.

    The latter are at most five, the newest first, and only the newest of equal limits, algorithms and space. Without a
    full study it is the newest one under limits alone.

    Raises:
        UserError: there is no finished study of this dataset.
    """
    finished = f"tags.`{KIND}` = 'study' and attributes.status = 'FINISHED'"
    studies = list(search_runs(client, experiment_id, finished))
    runs = [run for run in studies if run.data.tags.get(DATASET) == dataset]
    if runs and target is not None:
        targets = dict.fromkeys(str(run.data.params.get("target")) for run in runs)
        runs = [run for run in runs if run.data.params.get("target") == target]
        if not runs:
            raise UserError(
                f"target={target}: the finished studies of {dataset} predict {', '.join(targets)}; use one of these, "
                "or leave target out"
            )
    if not runs:
        others = {run.data.tags[DATASET] for run in studies if DATASET in run.data.tags}
        name = client.get_experiment(experiment_id).name
        use = f", only of {', '.join(sorted(others))}; use one of these, " if others else "; "
        raise UserError(
            f"dataset={dataset}: the experiment {name} has no finished study of it{use}run mlflow run . -e tune -P "
            f"dataset={shlex.quote(dataset)} first, or name a study of another experiment with study=<run id>"
        )
    full = next((run for run in runs if STUDY_LIMITS not in run.data.tags), None)
    if full is None:
        return runs[:1]
    limited: dict[tuple[str | None, ...], Run] = {}
    for run in studies:
        tags, params = run.data.tags, run.data.params
        if STUDY_LIMITS in tags and tags.get(STUDY_KEY) == full.data.tags.get(STUDY_KEY, ""):
            limited.setdefault((tags[STUDY_LIMITS], params.get("algorithm"), params.get("space")), run)
    return [full, *list(limited.values())[:MAX_LIMITED]]


def by_ids(client: MlflowClient, run_ids: Iterable[str]) -> list[Run]:
    """The studies in these runs, full ones first. Whether they go together ``kind_of`` says.

    Args:
        client: of the store.
        run_ids: of ``tune`` or ``early_stop``.

    Raises:
        UserError: one of them is not a finished study.
    """
    runs = [_study_run(client, run_id) for run_id in dict.fromkeys(run_ids)]
    return sorted(runs, key=lambda run: STUDY_LIMITS in run.data.tags)


def kind_of(frame: Frame) -> str:
    """What kind of report these studies are for, of ``questions.ALL``.

    Raises:
        UserError: they do not go together.
    """
    studies = frame.studies
    given = f"study={','.join(studies.index)}"
    datasets = [str(each) for each in studies["dataset"]]
    keys = list(studies["key"])
    if len(set(datasets)) > 1:
        if len(set(datasets)) < len(datasets) or studies["limits"].notna().any():
            raise UserError(
                f"{given}: they are of different datasets ({', '.join(dict.fromkeys(datasets))}); give those of one, "
                "or one full study, by tune, of each"
            )
        if len(set(keys)) < len(keys):
            raise UserError(f"{given}: two of {', '.join(datasets)} are the same data; give one study of each data")
        return DATASETS
    if studies["limits"].isna().sum() > 1:
        raise UserError(f"{given}: several full studies of one dataset are compared on the page All studies; give one")
    if len(set(keys)) > 1:
        raise UserError(
            f"{given}: they cannot be compared, since their data or the length of their trials differ; give them one "
            "at a time"
        )
    return STUDY


def _study_run(client: MlflowClient, run_id: str) -> Run:
    """The run with this id, if it may be a finished study."""
    run = find_run(client, run_id)
    if run is None:
        raise UserError(
            f"study={run_id}: MLflow has no run with this id; give the run id on the page of a study, a run of tune or "
            "early_stop, or leave study out for the newest ones of a dataset"
        )
    kind, status = run.data.tags.get(KIND) or "study", run.info.status
    if kind != "study":
        parent = run.data.tags.get("mlflow.parentRunId") if kind == "trial" else None
        advice = (
            f"give the one that it is part of, {parent}" if parent else "give the id of a run of tune or early_stop"
        )
        raise UserError(f"study={run_id}: this run is of the kind {kind} and not a study; {advice}")
    if status != "FINISHED":
        advice = "wait for its end" if status == "RUNNING" else "run it again"
        raise UserError(f"study={run_id}: {run.info.run_name} is {status}, and a study has to be finished; {advice}")
    return run
