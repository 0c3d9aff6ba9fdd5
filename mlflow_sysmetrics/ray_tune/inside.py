"""Inside a trial's process: the MLflow run of the trial. Outside: how the callback makes it known there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import ray

from mlflow_sysmetrics.common.redact import with_login
from mlflow_sysmetrics.common.threads import Deadline, within
from mlflow_sysmetrics.common.time_limits import COMMAND_ANSWER_S, LOOK_EVERY_S

if TYPE_CHECKING:
    from mlflow.entities import Run

T = TypeVar("T")
ProcessPlace = tuple[str, str, int]  # the id and the name of a process's node, and its pid
trial_here: Any = None  # the trainable that this process has now
location_here: dict[str, str | None] = {}  # of its trial's run, see `Experiment.location`


def tell_location(actor: Any, location: Mapping[str, str | None], parent_run_id: str | None) -> Future[ProcessPlace]:
    """Tell a trial's process, before its next step, which run is its own; return its node's id and name, and its pid.

    It is to forget the driver's runs, which it inherits under ``mlflow run``: ``mlflow.start_run()`` would go on in
    them, and end them. Another run that the process was given on purpose stays.
    """
    inherited = (parent_run_id, os.environ.get("MLFLOW_RUN_ID"))

    def keep_location(trainable: Any) -> ProcessPlace:  # which travels whole: other nodes need not have this package
        if os.environ.get("MLFLOW_RUN_ID") in inherited:
            os.environ.pop("MLFLOW_RUN_ID", None)
        with suppress(ImportError):
            from mlflow_sysmetrics.ray_tune import inside

            inside.trial_here = trainable
            inside.location_here = dict(location)
        return ray.get_runtime_context().get_node_id(), socket.gethostname(), os.getpid()

    place: Future[ProcessPlace] = actor.__ray_call__.remote(keep_location).future()
    return place


def trial_run_id() -> str:
    """The id of the MLflow run of the trial that calls this: in a function, or in the steps of a class.

    It waits until the store has created the run.

    Raises:
        RuntimeError: no trial is known, as in ``setup()`` and ``reset_config()``, or without the callback.
        TimeoutError: the run was not created within a minute, or the store does not answer.
    """
    return _find_run(Deadline(COMMAND_ANSWER_S))[1]


@contextmanager
def trial_run() -> Iterator[Run]:
    """The run of the trial as MLflow's active run, for ``mlflow.log_artifact``, ``log_model`` and so on.

    The run goes on afterwards: the callback ends it. Raises as `trial_run_id`.
    """
    import mlflow
    from mlflow.tracking.fluent import _active_run_stack  # `mlflow.start_run` would have the run end with this

    deadline = Deadline(COMMAND_ANSWER_S)
    uri, run_id = _find_run(deadline)
    uri_before = mlflow.get_tracking_uri()
    # Not an ActiveRun: nobody opens or ends it here.
    active = _answer(deadline, lambda: mlflow.MlflowClient(uri).get_run(run_id))
    runs = _active_run_stack.get()  # type: ignore[no-untyped-call]
    mlflow.set_tracking_uri(uri)
    runs.append(active)
    try:
        yield active
    finally:
        runs[:] = [run for run in runs if run is not active]
        mlflow.set_tracking_uri(uri_before)


def _find_run(deadline: Deadline) -> tuple[str, str]:
    """The address of the store, with the login that this process has, and the id of the trial's run there."""
    from mlflow import get_tracking_uri

    from mlflow_sysmetrics.delivery.store import Store

    location = location_here
    if trial_here is None or trial_here.trial_id != location["trial_id"]:
        where = "ask in the trial's function or in step(), not in setup(), with a SystemMetricsCallback"
        raise RuntimeError(f"no trial's run is known here; {where}")
    uri = with_login(str(location["uri"]), get_tracking_uri())
    if location["run_id"] is None:
        experiment_id = str(location["experiment_id"])
        key = str(location["key"])
        location["run_id"] = _answer(deadline, lambda: Store(uri).run_with_key(experiment_id, key))
    return uri, str(location["run_id"])


def _answer(deadline: Deadline, call: Callable[[], T | None]) -> T:
    """What the store answers, as soon as it does and it is not None. TimeoutError if it does not in time."""
    from mlflow_sysmetrics.delivery.store import one_line

    why = "it is not there yet"
    while deadline.left():
        try:
            answer = within(deadline.left(), call)
        except Exception as error:  # the store is away
            why = one_line(error)
        else:
            if answer is not None:
                return answer
        time.sleep(LOOK_EVERY_S)
    raise TimeoutError(f"MLflow has not found the run of trial {trial_here.trial_id} in {COMMAND_ANSWER_S:g} s: {why}")
