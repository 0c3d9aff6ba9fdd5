"""The local Ray: start it, and stop it for good."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._private import ray_constants, services
from ray._private.node import Node
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from entrypoints.compute import environment, preloaded
from entrypoints.compute.own_modules import PACKAGES
from mlflow_sysmetrics.recording import Host

MAX_LENGTH = 24  # of a folder for temporary files: what Ray adds makes the path of a socket, at most 103 on macOS

ALONE = {"env_vars": {preloaded.NAME: ""}}  # the environment of an actor that runs no trial: it imports nothing for one

_EXTRAS = (
    (Node, "start_monitor", None),
    (Node, "start_log_monitor", None),
    (services, "start_api_server", (None, None)),  # its address and its process
)

_files = contextlib.ExitStack()  # of the Ray that runs


def usable_cpus() -> int:
    """The CPU cores that this process may use: those it is bound to, within its container's quota."""
    return max(1, int(float(Host().usable_cores()))) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(cpus: int, imports: str = "") -> None:
    """Start Ray on this machine, with a process for each of ``cpus`` CPU cores that has imported a module.

    Only this process and those that it starts can use it: it listens on loopback, asks for a token that is in their
    environment alone, and keeps its files where nobody else can enter.
    """
    environment.set_defaults()
    ray_constants.ENABLE_RAY_CLUSTER = False  # what RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 sets at import
    os.environ["RAY_AUTH_TOKEN"] = _token()
    os.environ.pop("RAY_AUTH_MODE", None)  # unset means to a new Ray that it asks for the token
    _import_at_once(imports)
    with _process_group_of_its_own(), without_extras():
        ray.init(
            address="local",
            _temp_dir=_private_folder(),
            num_cpus=cpus,
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
    parent = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(parent) > MAX_LENGTH and Path("/tmp").is_dir():
        parent = "/tmp"
    folder = tempfile.TemporaryDirectory(prefix="ray-", dir=parent, ignore_cleanup_errors=True)
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


def _import_at_once(module: str) -> None:
    """Have the workers of each Ray that starts from now on import a module at once, if one is named."""
    path = os.pathsep.join(filter(None, [str(PACKAGES[0].parent), os.environ.get("PYTHONPATH")]))
    settings = {"PYTHONPATH": path, "RAY_preload_python_modules": preloaded.__name__, preloaded.NAME: module}
    os.environ.update(settings)


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


def beside_the_driver() -> NodeAffinitySchedulingStrategy:
    """Scheduling on the driver's node, so that an actor outlives the other nodes of a cluster."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
