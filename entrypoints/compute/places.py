"""Where a study's trials run: a Ray of the study's own, or a cluster that is up. Decided here, once."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path

from entrypoints.compute import cluster, workers
from entrypoints.errors import UserError

LOCAL, AUTO = "local", "auto"


class Place(AbstractContextManager["Place"]):
    """Processes for trials, inside this context. Other jobs of a cluster go on after it.

    Attributes:
        is_here: whether trials run on this machine alone.
        max_concurrent: how many trials may run at once where there are more cores; 0: no limit.
    """

    is_here: bool
    max_concurrent = 0

    @abstractmethod
    def join(self, modules: Sequence[Path], store_uri: str) -> str | None:
        """Check that a study can run there, and describe the place; None where there is nothing to check.

        Args:
            modules: the user's files and folders that workers must be able to import.
            store_uri: where MLflow keeps the study.

        Raises:
            UserError: a study cannot run there.
        """

    @abstractmethod
    def cores(self) -> int:
        """Wait until trials can start, and return the number of CPU cores for them."""

    def __exit__(self, *error: object) -> None:
        """Stop what this study started there."""
        workers.stop()


class LocalRay(Place):
    """A Ray on this machine that only this study uses. It starts in the background.

    Args:
        cpus: the number of CPU cores; 0 or None: all usable ones.
        imports: the module that its processes import when they start.
    """

    is_here = True

    def __init__(self, cpus: int | None, imports: str) -> None:
        self._cpus, self._imports = cpus or workers.usable_cpus(), imports

    def __enter__(self) -> LocalRay:
        # This thread must outlive the study: the kernel ends Ray's processes with the thread that started them.
        self._thread = ThreadPoolExecutor(1, "ray-start")
        self._up = self._thread.submit(workers.start, self._cpus, self._imports)
        return self

    def __exit__(self, *error: object) -> None:
        wait([self._up])  # it can be stopped only once it has started
        super().__exit__(*error)
        self._thread.shutdown()

    def join(self, modules: Sequence[Path], store_uri: str) -> None:
        """No-op: there is nothing to check."""

    def cores(self) -> int:
        """The requested cores, once Ray is up."""
        self._up.result()
        workers.let_tune_use_them()
        return self._cpus


class Cluster(Place):
    """A Ray cluster that is up.

    Args:
        address: ``auto`` or host:port.
        cpus: the number of its CPU cores that run trials; 0 or None: all.
        imports: the module that workers must be able to import.
    """

    is_here = False

    def __init__(self, address: str, cpus: int | None, imports: str) -> None:
        self.address, self.max_concurrent, self._imports = address, cpus or 0, imports

    def join(self, modules: Sequence[Path], store_uri: str) -> str:
        """Connect to it."""
        cluster.connect(self.address, modules, store_uri)
        n_nodes, free = cluster.nodes(), cluster.free_cores()
        on = f"{n_nodes} node{'s' * (n_nodes != 1)}"
        waits = "" if free else "; trials begin when other jobs give cores back"
        return f"Cluster: {cluster.cores()} CPU cores on {on}, {free} of them free{waits}"

    def cores(self) -> int:
        """The free cores, or one if none is, since trials can wait, once a worker on each has imported the module."""
        wanted = self.max_concurrent or cluster.cores()
        if not wanted:
            raise UserError(
                "cpus=all: the cluster has no CPU cores yet; give the number that it will scale up to, such as cpus=8"
            )
        free = max(1, min(wanted, cluster.free_cores()))
        cluster.see_that_workers_can_import(self._imports, free, self.address)
        return free


def place(ray_address: str, cpus: int | None, imports: str) -> Place:
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
