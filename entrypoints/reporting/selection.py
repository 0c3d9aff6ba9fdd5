"""Which finished studies a report is about: the newest of a dataset, or those whose run ids a user gives."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from entrypoints.errors import UserError
from entrypoints.mlflow_io import find_run, search_runs
from entrypoints.reporting.studies import Study, study_of, tag
from entrypoints.settings import SHARED
from entrypoints.tags import CRITERIA, DATASET, STUDY_KEY
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.ui import trials_of

MAX_LIMITED = 5


def find(
    client: MlflowClient, experiment_id: str, dataset: str, metric: str | None = None, mode: str | None = None
) -> list[Study]:
    """The newest full study of a dataset in an experiment, and those of the same trials under limits.

    Of the latter, at most five, the newest first, and only the newest of equal limits. Without a full study it is the
    newest one under limits alone. ``metric`` and ``mode`` as in ``study_of``.

    Raises:
        UserError: there is no finished study of this dataset.
    """
    finished = f"tags.`{KIND}` = 'study' and attributes.status = 'FINISHED'"
    studies = {run.info.run_id: (run, _dataset(client, run)) for run in search_runs(client, experiment_id, finished)}
    runs = [run for run, its_dataset in studies.values() if its_dataset == dataset]
    if not runs:
        raise UserError(_none_of(dataset, client, experiment_id, {other for _, other in studies.values() if other}))
    full = next((run for run in runs if tag(run, CRITERIA) is None), None)
    if full is None:
        return [study_of(client, runs[0], metric, mode)]
    whole = study_of(client, full, metric, mode)
    limited: dict[tuple[str | None, ...], Study] = {}
    for run, _ in studies.values():
        kind = (tag(run, CRITERIA), run.data.params.get("predict"), run.data.params.get("scheduler"))
        same = whole.key is not None and tag(run, STUDY_KEY) == whole.key and kind[0] is not None
        if same and kind not in limited and len(limited) < MAX_LIMITED:
            study = study_of(client, run, metric, mode)
            if _tried(study) <= _tried(whole):
                limited[kind] = study
    return [whole, *limited.values()]


def by_ids(
    client: MlflowClient, run_ids: Iterable[str], metric: str | None = None, mode: str | None = None
) -> list[Study]:
    """The studies in these runs, full ones first. Whether they go together ``report_kind.kind_of`` says.

    Args:
        client: of the store.
        run_ids: a run of ``tune`` or ``early_stop``, or one that trials of another Tune script are nested under.
        metric, mode: as in ``study_of``.

    Raises:
        UserError: one of them is not a finished study with trials, or the metric does not fit.
    """
    runs = [_study_run(client, run_id) for run_id in dict.fromkeys(run_ids)]
    studies = [study_of(client, run, metric, mode) for run in runs]
    return sorted(studies, key=lambda study: study.criteria is not None)


def _none_of(dataset: str, client: MlflowClient, experiment_id: str, others: set[str]) -> str:
    """That there is no study of a dataset, and what to do."""
    found = f"dataset={dataset}: the experiment {client.get_experiment(experiment_id).name} has no finished study of it"
    use = f", only of {', '.join(sorted(others))}; use one of these, " if others else "; "
    tune = f"mlflow run . -e tune -P dataset={shlex.quote(dataset)}"
    return f"{found}{use}run {tune} first, or name a study of another experiment with study=<run id>"


def _tried(study: Study) -> set[frozenset[tuple[str, Any]]]:
    """What each trial of a study trained."""
    rows = study.trials[study.hyperparameters].to_dict("records")
    same = {name: value for name, value in study.fixed.items() if name not in SHARED}
    return {frozenset((str(name), _plain(value)) for name, value in {**same, **row}.items()) for row in rows}


def _plain(value: Any) -> Any:
    with contextlib.suppress(ValueError):
        return float(value)
    return value


def _study_run(client: MlflowClient, run_id: str) -> Run:
    """The run with this id, if it may be a finished study."""
    run = find_run(client, run_id)
    if run is None:
        raise UserError(
            f"study={run_id}: MLflow has no run with this id; give the run id on the page of a study, a run of tune or "
            "early_stop, or leave study out for the newest ones of a dataset"
        )
    kind, status = tag(run, KIND) or "study", run.info.status
    if kind != "study":
        parent = tag(run, "mlflow.parentRunId") if kind == "trial" else None
        advice = (
            f"give the one that it is part of, {parent}" if parent else "give the id of a run of tune or early_stop"
        )
        raise UserError(f"study={run_id}: this run is of the kind {kind} and not a study; {advice}")
    if status != "FINISHED":
        advice = "wait for its end" if status == "RUNNING" else "run it again"
        raise UserError(f"study={run_id}: {run.info.run_name} is {status}, and a study has to be finished; {advice}")
    return run


def _dataset(client: MlflowClient, run: Run) -> str | None:
    """The dataset of a study, from its tag or else from one of its trials."""
    if (dataset := tag(run, DATASET)) is not None:
        return dataset
    some = client.search_runs([run.info.experiment_id], trials_of(run.info.run_id), max_results=1)
    return some[0].data.params.get("dataset") if some else None
