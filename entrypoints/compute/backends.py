"""Where a study's trials run: a Ray of the study's own, or a cluster that is up. Decided here, once."""

from __future__ import annotations

import importlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from urllib.parse import urlsplit

import ray

from entrypoints.compute import environment, workers
from entrypoints.compute.own_modules import PACKAGES
from entrypoints.errors import UserError
from entrypoints.text import shorten
from mlflow_sysmetrics.common.redact import redacted
from mlflow_sysmetrics.common.threads import within

LOCAL, AUTO = "local", "auto"
CONNECTED_WITHIN_S = 12.0  # it takes a third of a second
FREE_WITHIN_S = 1.0
LOCAL_STORES = ("", "file", "sqlite")  # kinds of addresses that mean a place on this machine


class LocalRay:
    """A Ray on this machine that only this study uses, inside this context. It starts in the background.

    Args:
        cpus: the number of CPU cores; 0 or None: all usable ones.
        imports: the module that its processes import when they start.
    """

    is_here = True
    max_concurrent = 0  # no limit but its cores

    def __init__(self, cpus: int | None, imports: str) -> None:
        self._cpus, self._imports = cpus or workers.usable_cpus(), imports

    def __enter__(self) -> LocalRay:
        # This thread must outlive the study: the kernel ends Ray's processes with the thread that started them.
        self._thread = ThreadPoolExecutor(1, "ray-start")
        self._up = self._thread.submit(workers.start, self._cpus, self._imports)
        return self

    def __exit__(self, *error: object) -> None:
        wait([self._up])  # it can be stopped only once it has started
        workers.stop()
        self._thread.shutdown()

    def join(self, modules: Sequence[Path], store_uri: str) -> str | None:
        """None: there is nothing to check."""
        return None

    def cores(self) -> int:
        """The requested cores, once Ray is up."""
        self._up.result()
        workers.let_tune_use_them()
        return self._cpus


class Cluster:
    """A Ray cluster that is up. Its other jobs go on after this context.

    Args:
        address: ``auto`` or host:port.
        cpus: the number of its CPU cores that run trials; 0 or None: all.
        imports: the module that workers must be able to import.
    """

    is_here = False

    def __init__(self, address: str, cpus: int | None, imports: str) -> None:
        self.address, self.max_concurrent, self._imports = address, cpus or 0, imports

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        workers.stop()

    def join(self, modules: Sequence[Path], store_uri: str) -> str | None:
        """Connect to it, check that a study can run there, and describe it.

        Args:
            modules: the user's files and folders that workers must be able to import.
            store_uri: where MLflow keeps the study.

        Raises:
            UserError: a study cannot run there.
        """
        os.environ.setdefault(
            "RAY_OVERRIDE_JOB_RUNTIME_ENV", "1"
        )  # under `ray job submit`, whose folder is the project's
        try:
            within(CONNECTED_WITHIN_S, lambda: self._init(modules))  # Ray itself would try for minutes
        except TimeoutError:
            raise UserError(
                f"ray_address={self.address}: no node of a Ray cluster on this machine answers within "
                f"{CONNECTED_WITHIN_S:g} s; run the study on the cluster's head node, check with `ray status` that it "
                "is up, and set RAY_AUTH_MODE=token if it requires a token"
            ) from None
        except Exception as error:
            raise UserError(
                f"ray_address={self.address}: Ray does not connect ({shorten(' '.join(str(error).split()), 300)}); "
                "start the cluster with `ray start --head`, and run the study on one of its nodes, with the Ray and "
                "the Python there"
            ) from error
        workers.quieten()
        n_nodes, free = sum(node["Alive"] for node in ray.nodes()), _free_cores()
        check_store(store_uri, n_nodes)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(8, _all_cores()))  # all first trials start at once
        on = f"{n_nodes} node{'s' * (n_nodes != 1)}"
        waits = "" if free else "; trials begin when other jobs give cores back"
        return f"Cluster: {_all_cores()} CPU cores on {on}, {free} of them free{waits}"

    def _init(self, modules: Sequence[Path]) -> None:
        with tempfile.TemporaryDirectory(prefix="empty-") as empty:
            ray.init(
                address=self.address,
                runtime_env={
                    "py_modules": [str(path) for path in (*PACKAGES, *modules)],
                    "env_vars": environment.of_workers(),
                    # Without one, workers look first for the driver's folders, where an old checkout may lie.
                    "working_dir": empty,
                },
                log_to_driver=False,
                logging_level=logging.ERROR,
            )

    def cores(self) -> int:
        """The free cores, or one if none is, since trials can wait, once a worker on each has imported the module."""
        wanted = self.max_concurrent or _all_cores()
        if not wanted:
            raise UserError(
                "cpus=all: the cluster has no CPU cores yet; give the number that it will scale up to, such as cpus=8"
            )
        free = max(1, min(wanted, _free_cores()))
        self._see_that_workers_can_import(free)
        return free

    def _see_that_workers_can_import(self, number: int) -> None:
        task, module = ray.remote(num_cpus=1)(_import), self._imports
        try:
            ray.get([task.remote(module) for _ in range(number)])
        except ray.exceptions.RayError as error:
            why = shorten(str(error).strip().splitlines()[-1].strip(), 200)
            raise UserError(
                f"ray_address={self.address}: a worker cannot import the study's code ({why}); install the libraries "
                "of conda.yaml on each node, at the versions of this machine"
            ) from error


Backend = LocalRay | Cluster  # where trials run: on this machine alone, or not


def _import(module: str) -> None:
    importlib.import_module(module)


def _all_cores() -> int:
    """How many CPU cores the cluster has now."""
    return int(ray.cluster_resources().get("CPU", 0))


def _free_cores() -> int:
    """How many CPU cores are free.

    Nodes report theirs late: after another job has ended, its cores seem to be in use for a moment.
    """
    deadline = time.monotonic() + FREE_WITHIN_S
    while (free := int(ray.available_resources().get("CPU", 0))) < _all_cores() and time.monotonic() < deadline:
        time.sleep(0.1)
    return free


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


def backend(ray_address: str, cpus: int | None, imports: str) -> Backend:
    """The cluster at the given address, or else at RAY_ADDRESS; a Ray on this machine if both are local.

    Raises:
        UserError: a study cannot use this address.
    """
    name, address = "ray_address", ray_address
    if address == LOCAL:
        name, address = "RAY_ADDRESS", os.environ.get("RAY_ADDRESS", "").strip() or LOCAL
    if address == LOCAL:
        return LocalRay(cpus, imports)
    if address.startswith("ray://"):
        raise UserError(
            f"{name}={address}: a study runs on a node of its cluster, not through Ray's client; run it on the "
            f"cluster's head node with ray_address={AUTO}, or there with `ray job submit`"
        )
    if address != AUTO and not re.fullmatch(r"[^/\s]+:\d{1,5}", address):
        raise UserError(
            f"{name}={address}: {LOCAL}, {AUTO} (the cluster of this machine) or host:port is allowed; give the "
            "address that `ray start --head` has printed, such as 10.0.0.1:6379"
        )
    return Cluster(address, cpus, imports)
