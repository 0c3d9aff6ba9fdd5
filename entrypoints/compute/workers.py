"""The local Ray: start it, stop it for good, and hold its workers until all are up."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private.node import Node
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from entrypoints import environment
from entrypoints.compute import preloaded
from entrypoints.own_modules import PACKAGES
from mlflow_sysmetrics.environment import with_environment

BARRIER_TIMEOUT_S = 60.0
BEGIN_TIMEOUT_S = 5.0  # by then Tune knows of each process that is up
MAX_PLACE_LENGTH = 24  # of a folder for temporary files: what Ray adds makes the path of a socket, at most 103 on macOS

ALONE = {"env_vars": {preloaded.NAME: ""}}  # the environment of an actor that runs no trial: it imports nothing for one

_EXTRAS = (
    (Node, "start_monitor", None),
    (Node, "start_log_monitor", None),
    (services, "start_api_server", (None, None)),  # its address and its process
)

logger = logging.getLogger(__name__)
_files = contextlib.ExitStack()  # of the Ray that runs


def usable_cpus() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(cpus: int, imports: str | None = None) -> None:
    """Start Ray on this machine with ``cpus`` CPU cores; 0 means all that are usable.

    It starts one process per core. Each imports a module of this project before it is used.

    Only this process and those that it starts can use it: it listens on loopback, asks for a token that is in their
    environment alone, and keeps its files where nobody else can enter.
    """
    environment.set_defaults()
    ray_constants.ENABLE_RAY_CLUSTER = False  # what RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 sets at import
    os.environ["RAY_AUTH_TOKEN"] = _token()
    os.environ.pop("RAY_AUTH_MODE", None)  # unset means to a new Ray that it asks for the token
    with _process_group_of_its_own(), _imported_at_once(imports), without_extras():
        ray.init(
            address="local",
            _temp_dir=_private_folder(),
            num_cpus=cpus or usable_cpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    quieten()


@functools.cache  # Ray reads it once
def _token() -> str:
    """This process's secret, which is never written to a file."""
    return secrets.token_hex(32)


def _private_folder() -> str:
    """Where Ray keeps its sockets, logs and spilled objects until it is stopped.

    Ray lets every user write into it, so it is in a folder that only this user can enter.
    """
    place = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(place) > MAX_PLACE_LENGTH and Path("/tmp").is_dir():
        place = "/tmp"
    folder = tempfile.TemporaryDirectory(prefix="ray-", dir=place, ignore_cleanup_errors=True)
    return str(Path(_files.enter_context(folder), "r"))


def quieten() -> None:
    """Tune prints a traceback per failed trial; the trial's run holds its error, and progress counts it."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def without_extras() -> Iterator[None]:
    """Have a Ray that starts inside this context leave out what serves clusters and spectators.

    These are three processes: the autoscaler, the reader of logs, and the dashboard's server, which listens, and for
    which Ray's start waits although the dashboard is off. If Ray changes their names, they only start again.
    """
    with contextlib.ExitStack() as afterwards:
        for owner, name, answer in _EXTRAS:
            if hasattr(owner, name):
                afterwards.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, lambda *_, answer=answer, **__: answer)
        yield


@contextlib.contextmanager
def _process_group_of_its_own() -> Iterator[None]:
    """Keep a signal that is sent to this process's group from Ray, which would end before the study could."""
    before = os.getpgrp() if hasattr(os, "getpgrp") else os.getpid()
    if before == os.getpid():  # the group's leader cannot leave it
        yield
        return
    os.setpgid(0, 0)
    try:
        yield
    finally:
        os.setpgid(0, before)


@contextlib.contextmanager
def _imported_at_once(module: str | None) -> Iterator[None]:
    """Have the workers of a Ray that starts inside this context import a module at once."""
    if module is None:
        yield
        return
    path = os.pathsep.join(filter(None, [str(PACKAGES[0].parent), os.environ.get("PYTHONPATH")]))
    settings = {"PYTHONPATH": path, "RAY_preload_python_modules": preloaded.__name__, preloaded.NAME: module}
    with with_environment(settings):
        yield


def let_tune_use_them() -> None:
    """Have Tune's trials run in the processes that started with this machine's Ray.

    Tune asks for processes with some of this process's environment variables, so Ray would start new ones. The
    processes that are already up have inherited all variables. If Ray changes, trials only start later.
    """
    from ray.tune.execution import class_cache

    for names in ("DEFAULT_ENV_VARS", "ENV_VARS_TO_PROPAGATE"):
        getattr(class_cache, names, set()).clear()


def stop() -> None:
    """End Ray and every process that it started; of a cluster, only what this process had there. Idempotent."""
    with contextlib.suppress(Exception):
        ray.shutdown()
    _files.close()


@ray.remote(num_cpus=0)
class Barrier:
    """Holds the first trial of each worker until all workers are up.

    Tune gives a finished trial's process to the next trial and drops the process that was starting for it. With
    trials shorter than a process's start, one process would end up with all the work.
    """

    def __init__(self, parties: int) -> None:
        self._parties = parties
        self._arrived = 0
        self._brought: list[Any] = []
        self._begun = 0
        self._all_here = asyncio.Event()
        self._all_brought = asyncio.Event()
        self._all_begun = asyncio.Event()

    async def wait(self) -> bool:
        """Arrive, and wait for the others; False for later arrivals, which pass at once."""
        if self._all_here.is_set():
            return False
        self._arrived += 1
        if self._arrived >= self._parties:
            self._all_here.set()
        await self._all_here.wait()
        return True

    async def bring(self, found: Any) -> None:
        """Store what one of the waiting processes has found, and wait for the others again."""
        self._brought.append(found)
        if len(self._brought) >= self._arrived:
            self._all_brought.set()
        await self._all_brought.wait()

    async def begin(self) -> None:
        """Note that Tune has started the trial of one of the waiting processes, and wait for the others again."""
        self._begun += 1
        if self._begun >= self._arrived:
            self._all_begun.set()
        await self._all_begun.wait()

    async def brought(self) -> list[Any]:
        """What was left."""
        return self._brought

    def open(self) -> None:
        """Let all pass, now and later."""
        self._all_here.set()
        self._all_brought.set()
        self._all_begun.set()


def beside_the_driver() -> NodeAffinitySchedulingStrategy:
    """Scheduling on the driver's node, so that an actor outlives the other nodes of a cluster."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def barrier(parties: int) -> ActorHandle:
    """A barrier for ``parties`` workers. Ray must be running."""
    return Barrier.options(scheduling_strategy=beside_the_driver(), runtime_env=ALONE).remote(parties)  # type: ignore[attr-defined]


def wait_for_all(barrier: ActorHandle | None) -> bool:
    """Wait at the barrier, but no longer than a minute after the first: a late worker costs time, not the study.

    False for a process that comes later, which does not wait.
    """
    return barrier is not None and bool(_at(barrier, barrier.wait.remote()))


def bring(barrier: ActorHandle, found: Any) -> None:
    """Store at the barrier what this process has found, and wait for the others in the same way."""
    _at(barrier, barrier.bring.remote(found))


def begin(barrier: ActorHandle) -> None:
    """Note at the barrier that Tune has started this process's trial, and wait for the others for a few seconds."""
    _at(barrier, barrier.begin.remote(), BEGIN_TIMEOUT_S)


def brought(barrier: ActorHandle) -> list[Any]:
    """What the first processes have stored at the barrier."""
    return _at(barrier, barrier.brought.remote()) or []


def _at(barrier: ActorHandle, answer: ray.ObjectRef, timeout_s: float | None = None) -> Any:
    try:
        return ray.get(answer, timeout=BARRIER_TIMEOUT_S if timeout_s is None else timeout_s)
    except ray.exceptions.RayError as error:
        logger.warning("The study starts without waiting for all of its processes: %s", error)
        barrier.open.remote()
        return None
