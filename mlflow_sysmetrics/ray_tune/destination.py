"""Where the runs of an experiment go: which experiment of MLflow's, and which run they are nested under."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_RUN_ID
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.tracking.fluent import _get_experiment_id

from mlflow_sysmetrics.delivery.store import named_experiment
from mlflow_sysmetrics.ray_tune.endings import Ending, recorded_ending
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import KIND, PID, STUDY_ID, TRIAL_ID

logger = get_logger(__name__)

_PAGE = 1000
_WITH_THE_END_MS = 1000  # before it: figures are queued just before the end


@dataclass(frozen=True)
class EarlierRun:
    """The run of a trial of an experiment that was interrupted, and how the trial ended, if it did.

    `figures` are those of the run; {} if the trial's process was not watched; None if they are unknown because the
    driver or the node was killed.
    """

    run_id: str
    ending: Ending | None
    figures: Mapping[str, float] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Destination:
    """An experiment, the run that trials are nested under, and the runs that trials have from before, by trial.

    `is_own` says that the run around them is the callback's: its id is None until it exists. `figures` are those that
    it has from before, as of an `EarlierRun`.
    """

    experiment_id: str
    parent_run_id: str | None
    is_own: bool
    runs: Mapping[str, EarlierRun]
    figures: Mapping[str, float] | None = field(default_factory=dict)


def find_destination(
    client: MlflowClient,
    *,
    experiment_id: str | None,
    experiment_name: str | None,
    parent_run_id: str | None,
    study_id: str | None,
) -> Destination:
    """Find the place for an experiment's runs.

    What was named wins: the experiment's id, then its name, then that of the named parent. Else it is the active run
    of this process (or the one in MLFLOW_RUN_ID, under ``mlflow run``) and its experiment, or else the experiment in
    use. Where no run of that experiment is named or active, trials have one of their own. Of an experiment that was
    interrupted, ``study_id`` tells which it is; only then are its trials' runs looked for.

    Raises:
        mlflow.exceptions.MlflowException: the store cannot be reached, or has no such experiment or run.
    """
    around = _run_around(client, parent_run_id)
    if experiment_id is None and experiment_name is not None:
        experiment_id = named_experiment(client, experiment_name)
    if experiment_id is None:
        experiment_id = around.info.experiment_id if around else str(_get_experiment_id() or "0")
    runs = _runs_by_trial(client, experiment_id, study_id) if study_id else {}
    if around is not None and (parent_run_id is not None or around.info.experiment_id == experiment_id):
        return Destination(experiment_id, around.info.run_id, False, runs)
    study = _study(client, experiment_id, study_id) if study_id else None
    if study is None:
        return Destination(experiment_id, None, True, runs)
    return Destination(experiment_id, study.info.run_id, True, runs, _figures(study))


def _study(client: MlflowClient, experiment_id: str, study_id: str) -> Run | None:
    found = client.search_runs([experiment_id], f"{_of(study_id)} and tags.`{KIND}` = 'study'", max_results=1)
    return found[0] if found else None


def _figures(run: Run) -> Mapping[str, float] | None:
    """The figures that were written at a run's end; None without any, or if the run went on after them.

    Older figures cover only a part of the run's time.
    """
    if recorded_ending(run) is None or run.info.end_time is None:
        return None
    metrics = run.data.to_proto().metrics  # which have their times
    figures = {each.key: each.value for each in metrics if each.timestamp > run.info.end_time - _WITH_THE_END_MS}
    return figures if "elapsed_s" in figures else None


def _runs_by_trial(client: MlflowClient, experiment_id: str, study_id: str) -> dict[str, EarlierRun]:
    runs: dict[str, EarlierRun] = {}
    token = None
    while True:
        page = client.search_runs([experiment_id], _of(study_id), max_results=_PAGE, page_token=token)
        for run in page:
            if TRIAL_ID in run.data.tags:
                figures = _figures(run) if PID in run.data.tags else {}
                runs[run.data.tags[TRIAL_ID]] = EarlierRun(run.info.run_id, recorded_ending(run), figures)
        token = page.token
        if not token:
            return runs


def _of(study_id: str) -> str:
    return f"tags.`{STUDY_ID}` = '{study_id}'"


def source_tags() -> dict[str, str]:
    """Who runs what, as MLflow tags the runs that it makes itself: user, source, commit."""
    return {name: value for name, value in resolve_tags().items() if name.startswith("mlflow.")}


def _run_around(client: MlflowClient, parent_run_id: str | None) -> Run | None:
    """The run that is named, active here, or in the environment, if this store has it."""
    if parent_run_id is not None:
        return client.get_run(parent_run_id)
    if client.tracking_uri != mlflow.get_tracking_uri():
        return None
    active = mlflow.active_run()
    if active is not None:
        return active
    inherited = os.environ.get(MLFLOW_RUN_ID.name)
    try:
        return client.get_run(inherited) if inherited else None
    except MlflowException as error:
        logger.warning(
            "MLFLOW_RUN_ID=%s is not a run of %s: trials get a study run. %s", inherited, client.tracking_uri, error
        )
        return None
