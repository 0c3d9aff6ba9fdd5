"""Inside a trial's process: the MLflow run of the trial. Outside: how the callback makes it known there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import ray

from mlflow_sysmetrics.redact import with_login
from mlflow_sysmetrics.tags import RUN_KEY

if TYPE_CHECKING:
    from mlflow.entities import Run

CREATED_WITHIN_S, _LOOK_EVERY_S = 60.0, 0.2
trial_here: Any = None  # the trainable that this process has now
run_here: dict[str, str | None] = {}  # of its trial, see `Experiment.where`


def introduce(actor: Any, run: dict[str, str | None], parent_run_id: str | None) -> Future[tuple[str, str, int]]:
    """Tell a trial's process, before its next step, which run is its own; return its node's id and name, and its pid.

    It is to forget the driver's runs, which it inherits under ``mlflow run``: ``mlflow.start_run()`` would go on in
    them, and end them. Another run that the process was given on purpose stays.
    """
    inherited = (parent_run_id, os.environ.get("MLFLOW_RUN_ID"))

    def meet(trainable: Any) -> tuple[str, str, int]:  # which travels whole: other nodes need not have this package
        if os.environ.get("MLFLOW_RUN_ID") in inherited:
            os.environ.pop("MLFLOW_RUN_ID", None)
        with suppress(ImportError):
            from mlflow_sysmetrics.ray_tune import inside

            inside.trial_here, inside.run_here = trainable, run
        return ray.get_runtime_context().get_node_id(), socket.gethostname(), os.getpid()

    located: Future[tuple[str, str, int]] = actor.__ray_call__.remote(meet).future()
    return located


def trial_run_id() -> str:
    """The id of the MLflow run of the trial that calls this: in a function, or in the steps of a class.

    It waits until the store has created the run.

    Raises:
        RuntimeError: no trial is known, as in ``setup()`` and ``reset_config()``, or without the callback.
        TimeoutError: the run was not created within a minute.
    """
    return _find()[1]


@contextmanager
def trial_run() -> Iterator[Run]:
    """The run of the trial as MLflow's active run, for ``mlflow.log_artifact``, ``log_model`` and so on.

    The run goes on afterwards: the callback ends it. Raises as `trial_run_id`.
    """
    import mlflow
    from mlflow.tracking.fluent import _active_run_stack  # `mlflow.start_run` would have the run end with this

    (uri, run_id), before = _find(), mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    # Not an ActiveRun: nobody opens or ends it here.
    active, runs = mlflow.get_run(run_id), _active_run_stack.get()  # type: ignore[no-untyped-call]
    runs.append(active)
    try:
        yield active
    finally:
        runs[:] = [run for run in runs if run is not active]
        mlflow.set_tracking_uri(before)


def _find() -> tuple[str, str]:
    """The address of the store, with the login that this process has, and the id of the trial's run there."""
    from mlflow import MlflowClient, get_tracking_uri

    if trial_here is None or trial_here.trial_id != run_here["trial_id"]:
        where = "ask in the trial's function or in step(), not in setup(), with a SystemMetricsCallback"
        raise RuntimeError(f"no trial's run is known here; {where}")
    run, deadline = run_here, time.monotonic() + CREATED_WITHIN_S
    uri, key = with_login(str(run["uri"]), get_tracking_uri()), f"tags.`{RUN_KEY}` = '{run['key']}'"
    while run["run_id"] is None:
        for found in MlflowClient(uri).search_runs([str(run["experiment_id"])], key, max_results=1):
            run["run_id"] = found.info.run_id
        if run["run_id"] is None and time.monotonic() > deadline:
            raise TimeoutError(f"MLflow has not created the run of trial {run['trial_id']} in {CREATED_WITHIN_S:g} s")
        time.sleep(0 if run["run_id"] else _LOOK_EVERY_S)
    return uri, run["run_id"]
