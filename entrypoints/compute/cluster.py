"""An existing Ray cluster: found, checked, and given the code that the workers of a study run."""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import ray

from entrypoints import environment
from entrypoints.compute import workers
from entrypoints.errors import UserError
from entrypoints.own_modules import PACKAGES
from entrypoints.text import shorten
from mlflow_sysmetrics.delivery import within
from mlflow_sysmetrics.redact import redacted

CONNECTED_WITHIN_S = 12.0  # it takes a third of a second
FREE_WITHIN_S = 1.0
LOCAL_STORES = ("", "file", "sqlite")  # kinds of addresses that mean a place on this machine


def connect(address: str, modules: Sequence[Path], store_uri: str) -> None:
    """Connect to a cluster and check that a study can run there.

    Args:
        address: ``auto`` or host:port.
        modules: files and folders that workers must be able to import, besides the bundle and the plugin.
        store_uri: where MLflow keeps the study.

    Raises:
        UserError: Ray does not connect, or other nodes cannot reach the store.
    """
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")  # under `ray job submit`, whose folder is the project's
    try:
        within(CONNECTED_WITHIN_S, lambda: _init(address, modules))  # Ray itself would try for minutes
    except TimeoutError:
        raise UserError(
            f"ray_address={address}: no node of a Ray cluster on this machine answers within {CONNECTED_WITHIN_S:g} s; "
            "run the study on the cluster's head node, check with `ray status` that it is up, and set "
            "RAY_AUTH_MODE=token if it requires a token"
        ) from None
    except Exception as error:
        raise UserError(
            f"ray_address={address}: Ray does not connect ({shorten(' '.join(str(error).split()), 300)}); start the "
            "cluster with `ray start --head`, and run the study on one of its nodes, with the Ray and the Python there"
        ) from error
    workers.quieten()
    check_store(store_uri, nodes())
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(8, cores()))  # all first trials start at once


def _init(address: str, modules: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory(prefix="empty-") as empty:
        ray.init(
            address=address,
            runtime_env={
                "py_modules": [str(path) for path in (*PACKAGES, *modules)],
                "env_vars": environment.of_workers(),
                # Without one, workers look first for the driver's folders, where an old checkout may lie on their node.
                "working_dir": empty,
            },
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


def check_store(store_uri: str, n_nodes: int) -> None:
    """Check that other machines can reach the store of a study that runs on several nodes.

    Raises:
        UserError: it is a place on this machine.
    """
    if n_nodes > 1 and urlsplit(store_uri).scheme in LOCAL_STORES:
        raise UserError(
            f"MLFLOW_TRACKING_URI={redacted(store_uri)}: a study on {n_nodes} nodes needs a tracking server, not a "
            "file on one of them; start one that asks for a password, as docs/scale-out.md shows, and set "
            "MLFLOW_TRACKING_URI=http://<its host>:5000 with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )


def see_that_workers_can_import(module: str, number: int, address: str) -> None:
    """Check that ``number`` workers can import a module.

    Raises:
        UserError: a library is missing on a node.
    """
    task = ray.remote(num_cpus=1)(_import)
    try:
        ray.get([task.remote(module) for _ in range(number)])
    except ray.exceptions.RayError as error:
        why = shorten(str(error).strip().splitlines()[-1].strip(), 200)
        raise UserError(
            f"ray_address={address}: a worker cannot import the study's code ({why}); install the libraries of "
            "conda.yaml on each node, at the versions of this machine"
        ) from error


def _import(module: str) -> None:
    importlib.import_module(module)


def nodes() -> int:
    """How many nodes the cluster has now."""
    return sum(node["Alive"] for node in ray.nodes())


def cores() -> int:
    """How many CPU cores the cluster has now."""
    return int(ray.cluster_resources().get("CPU", 0))


def free_cores() -> int:
    """How many CPU cores are free.

    Nodes report theirs late: after another job has ended, its cores seem to be in use for a moment.
    """
    deadline = time.monotonic() + FREE_WITHIN_S
    while (free := int(ray.available_resources().get("CPU", 0))) < cores() and time.monotonic() < deadline:
        time.sleep(0.1)
    return free
