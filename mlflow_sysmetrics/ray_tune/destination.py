"""Where the runs of an experiment go: which experiment of MLflow's, which run around them, which runs from before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_RUN_ID
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.tracking.fluent import _get_experiment_id

from mlflow_sysmetrics.delivery.store import QUESTION_S, Store, StoredRun, named_experiment, one_line
from mlflow_sysmetrics.delivery.waiting import within
from mlflow_sysmetrics.metrics import combined_in_turn
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import KIND, PID, STUDY_ID, TRIAL_ID

logger = get_logger(__name__)

_MAX_RUNS = 50_000  # that MLflow gives in one answer
_WITH_THE_END_MS = 1000  # before it: a summary is queued just before the end


class Earlier(NamedTuple):
    """A run of an experiment that was interrupted."""

    run_id: str | None
    status: str | None = None  # of its end; None if it has not ended
    summary: Mapping[str, float] | None = None  # at its end; {} if nothing was measured, None if it is not known

    def followed_by(self, summary: Mapping[str, float]) -> dict[str, float]:
        """The summary with that from before the interruption; {} where that is unknown."""
        return combined_in_turn([self.summary, summary]) if summary and self.summary != {} else dict(summary)

    @classmethod
    def of(cls, run: Run) -> Earlier:
        stored = StoredRun.of(run)
        if stored.end_ms is None:
            return cls(stored.run_id)
        if TRIAL_ID in stored.tags and PID not in stored.tags:  # it failed before it had a process
            return cls(stored.run_id, stored.status, {})
        since_ms = stored.end_ms - _WITH_THE_END_MS  # what is older is of a part of the run
        summary = {name: value for name, value in stored.values.items() if stored.times_ms[name] > since_ms}
        return cls(stored.run_id, stored.status, summary if "elapsed_s" in summary else None)


NEW = Earlier(None, None, {})  # there was none before


class Destination(NamedTuple):
    """An experiment, the run that trials are nested under, and what an interrupted experiment has left there."""

    experiment_id: str
    parent_run_id: str | None = None  # None: a run of the callback's own
    study: Earlier = NEW  # that run, from before
    trials: Mapping[str, Earlier] = {}


def find_destination(
    client: MlflowClient,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    parent_run_id: str | None = None,
    study_id: str | None = None,
) -> Destination:
    """Find the place for an experiment's runs.

    What was named wins: the experiment's id, then its name, then that of the named parent. Else it is the active run
    of this process (or the one in MLFLOW_RUN_ID, under ``mlflow run``) and its experiment, or else the experiment in
    use. Where no run of that experiment is named or active, trials have one of their own. Of an experiment that was
    interrupted, ``study_id`` tells which it is; only then are its runs looked for.

    Raises:
        mlflow.exceptions.MlflowException: the store has no such experiment or run, or cannot be asked for it. An
            experiment's id is believed where the store does not answer within seconds.
    """
    around, named = _run_around(client, parent_run_id), experiment_id or experiment_name
    if experiment_id is None and experiment_name is not None:
        experiment_id = named_experiment(client, experiment_name)
    if experiment_id is None:
        experiment_id = around.info.experiment_id if around else str(_get_experiment_id() or "0")
    if not _may_have_experiment(client, experiment_id):
        said = f"experiment {named or experiment_id!r} does not exist, or was deleted; restore it, or name another one"
        raise MlflowException(said, RESOURCE_DOES_NOT_EXIST)
    parent = around.info.run_id if around and (parent_run_id or around.info.experiment_id == experiment_id) else None
    wanted = f"tags.`{STUDY_ID}` = '{study_id}'"
    runs = client.search_runs([experiment_id], wanted, max_results=_MAX_RUNS) if study_id else []
    trials = {run.data.tags[TRIAL_ID]: Earlier.of(run) for run in runs if TRIAL_ID in run.data.tags}
    studies = (Earlier.of(run) for run in runs if run.data.tags.get(KIND) == "study" and parent is None)
    return Destination(experiment_id, parent, next(studies, NEW), trials)


def _may_have_experiment(client: MlflowClient, experiment_id: str) -> bool:
    try:
        return within(QUESTION_S, lambda: Store(client.tracking_uri).has_experiment(experiment_id))
    except Exception as error:  # it is away, and the training has to begin
        logger.warning("MLflow has not said yet whether it has experiment %s. %s", experiment_id, one_line(error))
        return True


def _run_around(client: MlflowClient, parent_run_id: str | None) -> Run | None:
    """The run that is named, active here, or in the environment, if this store has it."""
    if parent_run_id is not None:
        return client.get_run(parent_run_id)
    if client.tracking_uri != mlflow.get_tracking_uri():
        return None
    if (active := mlflow.active_run()) is not None:
        return active
    inherited = os.environ.get(MLFLOW_RUN_ID.name)
    try:
        return client.get_run(inherited) if inherited else None
    except MlflowException as error:
        said = "MLFLOW_RUN_ID=%s is not a run of %s: trials get a study run. %s"
        logger.warning(said, inherited, client.tracking_uri, error)
        return None
