"""Inside a trial's process: the MLflow run of the trial. Outside: how the callback makes it known there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import ray

from mlflow_sysmetrics.redact import with_login
from mlflow_sysmetrics.tags import RUN_KEY

if TYPE_CHECKING:
    from mlflow.entities import Run

CREATED_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.2
Located = Future[tuple[str, str, int]]  # the id and the name of a process's node, and its pid
trial_here: Any = None  # the trainable that this process has now
location_here: dict[str, str | None] = {}  # of its trial's run, see `Experiment.location`


def introduce(actor: Any, location: Mapping[str, str | None], parent_run_id: str | None) -> Located:
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

            inside.trial_here = trainable
            inside.location_here = dict(location)
        return ray.get_runtime_context().get_node_id(), socket.gethostname(), os.getpid()

    located: Located = actor.__ray_call__.remote(meet).future()
    return located


def trial_run_id() -> str:
    """The id of the MLflow run of the trial that calls this: in a function, or in the steps of a class.

    It waits until the store has created the run.

    Raises:
        RuntimeError: no trial is known, as in ``setup()`` and ``reset_config()``, or without the callback.
        TimeoutError: the run was not created within a minute.
    """
    return _find_run()[1]


@contextmanager
def trial_run() -> Iterator[Run]:
    """The run of the trial as MLflow's active run, for ``mlflow.log_artifact``, ``log_model`` and so on.

    The run goes on afterwards: the callback ends it. Raises as `trial_run_id`.
    """
    import mlflow
    from mlflow.tracking.fluent import _active_run_stack  # `mlflow.start_run` would have the run end with this

    uri, run_id = _find_run()
    uri_before = mlflow.get_tracking_uri()
    active = mlflow.MlflowClient(uri).get_run(run_id)  # not an ActiveRun: nobody opens or ends it here
    runs = _active_run_stack.get()  # type: ignore[no-untyped-call]
    mlflow.set_tracking_uri(uri)
    runs.append(active)
    try:
        yield active
    finally:
        runs[:] = [run for run in runs if run is not active]
        mlflow.set_tracking_uri(uri_before)


def _find_run() -> tuple[str, str]:
    """The address of the store, with the login that this process has, and the id of the trial's run there."""
    from mlflow import get_tracking_uri

    location = location_here
    if trial_here is None or trial_here.trial_id != location["trial_id"]:
        where = "ask in the trial's function or in step(), not in setup(), with a SystemMetricsCallback"
        raise RuntimeError(f"no trial's run is known here; {where}")
    uri = with_login(str(location["uri"]), get_tracking_uri())
    run_id = location["run_id"] or _wait_for_run(uri, location)
    location["run_id"] = run_id
    return uri, run_id


def _wait_for_run(uri: str, location: Mapping[str, str | None]) -> str:
    from mlflow import MlflowClient

    wanted = f"tags.`{RUN_KEY}` = '{location['key']}'"
    deadline = time.monotonic() + CREATED_WITHIN_S
    while time.monotonic() < deadline:
        for run in MlflowClient(uri).search_runs([str(location["experiment_id"])], wanted, max_results=1):
            return str(run.info.run_id)
        time.sleep(_LOOK_EVERY_S)
    raise TimeoutError(f"MLflow has not created the run of trial {location['trial_id']} in {CREATED_WITHIN_S:g} s")
