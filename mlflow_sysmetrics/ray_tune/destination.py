"""Where the runs of an experiment go: which experiment of MLflow's, which run around them, which runs from before."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from mlflow.exceptions import MlflowException

from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.common.threads import within
from mlflow_sysmetrics.common.time_limits import ANSWER_S
from mlflow_sysmetrics.delivery import RunRef, current_run, one_line
from mlflow_sysmetrics.delivery.location import find_run
from mlflow_sysmetrics.delivery.store import Store, StoredRun, no_experiment
from mlflow_sysmetrics.recording.tags import KIND, PID, STUDY_ID, TRIAL_ID

logger = get_logger(__name__)
STUDY = "study"  # the name of the parent run of the trials, among the ids of these
_SUMMARY_BEFORE_END_MS = 1000  # a summary is queued just before the end
_BY_ID = ", or give experiment_id=, then trials begin and their runs wait for it"
T = TypeVar("T")


def find_parent(
    store: Store,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    parent_run_id: str | None = None,
) -> RunRef:
    """Find where an experiment's runs go: its store, experiment, and the run around them; None: one of their own.

    What was named wins: the experiment's id, then its name, then that of the named parent. Else it is the active run
    of this process (or the one in MLFLOW_RUN_ID, under ``mlflow run``) and its experiment, or else the experiment in
    use. Where no run of that experiment is named or active, trials have one of their own.

    Raises:
        mlflow.exceptions.MlflowException: the store has no such experiment or run, or does not answer within seconds.
            An experiment's id is believed without an answer, and so is a parent that is named with an experiment.
    """
    if experiment_id is None and experiment_name is not None:
        asked = f"experiment_name={experiment_name!r}"
        experiment_id = _answer(store, asked, partial(store.experiment_named, experiment_name))
    elif experiment_id is None and parent_run_id is not None:
        asked = f"parent_run_id={parent_run_id!r}"
        experiment_id = _answer(store, asked, partial(store.run, parent_run_id)).experiment_id
    if parent_run_id is None:
        here = _run_here(store)
        experiment_id = experiment_id or here.experiment_id
        if here.experiment_id == experiment_id:
            parent_run_id = here.run_id
    assert experiment_id is not None
    if not _may_have_experiment(store, experiment_id):
        raise MlflowException(no_experiment(experiment_name or experiment_id))
    return RunRef(store.tracking_uri, experiment_id, parent_run_id)


def _run_here(store: Store) -> RunRef:
    """The run that is active here, or in the environment, if this store has it; else only the experiment in use."""
    here = current_run()
    if here.run_id is None or here.tracking_uri != store.tracking_uri:
        return here._replace(run_id=None)
    try:
        found = find_run(None, store)
    except ValueError as error:
        logger.warning("trials get a study run. %s", error)
        return here._replace(run_id=None)
    return here._replace(experiment_id=found.experiment_id or here.experiment_id)  # "": it has not answered


def _may_have_experiment(store: Store, experiment_id: str) -> bool:
    try:
        return within(ANSWER_S, lambda: store.has_experiment(experiment_id))
    except Exception as error:  # the store is away, and the training has to begin
        logger.warning("MLflow has not said yet whether it has experiment %s. %s", experiment_id, one_line(error))
        return True


def find_earlier(store: Store, experiment_id: str, study_id: str) -> dict[str, StoredRun]:
    """The runs that an interrupted experiment has left, by trial; STUDY is the callback's own run around them.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer within seconds.
    """
    runs = _answer(store, "runs to restore", lambda: store.runs_with(experiment_id, STUDY_ID, study_id), "")
    earlier = {}
    for run in runs:
        if TRIAL_ID in run.tags:
            earlier[run.tags[TRIAL_ID]] = run
        elif run.tags.get(KIND) == "study":
            earlier[STUDY] = run
    return earlier


def _answer(store: Store, asked: str, call: Callable[[], T], otherwise: str = _BY_ID) -> T:
    """The answer of the store within seconds, or else an error that says what was asked, and what to do."""
    try:
        return within(ANSWER_S, call)
    except Exception as error:
        asked = f"{asked}: {store.tracking_uri} has not found it within {ANSWER_S:g} s"
        raise MlflowException(f"{asked}; start the server{otherwise}. {one_line(error)}") from None


def summary_before(earlier: StoredRun | None) -> list[dict[str, float] | None]:
    """The summary that a run has from before an interruption: none where it measured nothing, or [None] if unknown.

    Values logged within a second of the run's end are its summary. Older ones are partial, and are ignored.
    """
    if earlier is None or (TRIAL_ID in earlier.tags and PID not in earlier.tags):  # it had no process
        return []
    since_ms = (earlier.end_ms or math.inf) - _SUMMARY_BEFORE_END_MS
    values = {name: value for name, value in earlier.values.items() if earlier.times_ms[name] > since_ms}
    return [values if "elapsed_s" in values else None]
