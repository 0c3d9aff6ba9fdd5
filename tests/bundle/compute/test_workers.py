"""The local Ray: who can use it, which processes it has, and its end."""

import os
import re
import sys
from pathlib import Path

import psutil
import pytest
import ray
from commands import Command, clean_environment, listening
from machines import DOCKER, Group, lay
from ray._private import services
from ray._private.node import Node

from entrypoints.compute import workers
from mlflow_sysmetrics.recording.host import Host

LONG_S = 300.0
# A Ray that looks for others on loopback, and tries once.
REACHES = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0" * 64,
}
STRANGER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("ran", ray.get(ray.remote(lambda: 1).remote()))
"""

pytestmark = pytest.mark.usefixtures("local_ray")


def _rays():
    """This process and those of its Ray, a worker among them."""
    ray.get(ray.remote(num_cpus=0)(lambda: None).remote(), timeout=LONG_S)
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def _sockets():
    """The files through which processes of this machine speak to Ray."""
    opened = [str(each.laddr) for process in _rays() for each in process.net_connections("unix")]
    found = [Path(name) for name in opened if name.endswith(("/plasma_store", "/raylet"))]
    assert found
    return found


def test_ray_listens_on_loopback_alone():
    """No other machine reaches any of its processes."""
    assert listening(_rays()) == {"127.0.0.1"}


def test_ray_starts_no_process_that_a_study_does_not_use():
    """Neither the autoscaler nor the reader of logs nor the dashboard; a Ray that the user starts has them again."""
    lines = [" ".join(process.cmdline()) for process in _rays()]
    assert [line for line in lines if "gcs_server" in line]
    assert [line for line in lines if re.search(r"(monitor|dashboard)\.py", line)] == []
    for of, name in ((Node, "start_monitor"), (Node, "start_log_monitor"), (services, "start_api_server")):
        assert getattr(of, name).__name__ == name


def test_ray_runs_nothing_for_a_stranger(tmp_path):
    """A process that was told the address, and has another token, as of another user of this machine."""
    address = ray.get_runtime_context().gcs_address
    line = [sys.executable, "-c", STRANGER, address]
    env = clean_environment(HOME=str(tmp_path), **REACHES)
    done = Command(line, cwd=tmp_path, output=tmp_path / "output", env=env).wait()
    assert "ran" not in done.stdout
    assert done.exit_code != 0
    assert "AuthenticationError" in done.stderr


def test_token_is_in_no_file_and_no_command_line():
    """Other users can read both, and not the environment of a process."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    assert len(token) == 64
    assert not [process for process in _rays() if token in " ".join(process.cmdline())]
    folder = _sockets()[0].parent.parent
    assert not [path for path in folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


def test_files_of_ray_are_where_nobody_else_can_enter():
    """Who could write there could put other sockets in the place of Ray's."""
    for socket in _sockets():
        assert any(folder.stat().st_mode & 0o077 == 0 for folder in socket.parents), socket


def test_cores_are_those_that_a_container_is_allowed(tmp_path, monkeypatch):
    """One and a half are enough for one trial at a time."""
    lay(tmp_path, DOCKER.files(Group(quota=(150000, 100000))))
    monkeypatch.setattr(workers, "Host", lambda: Host(str(tmp_path)))
    assert workers.usable_cpus() == 1


def test_stop_can_be_called_twice(tmp_path, monkeypatch):
    """Stopping is idempotent, leaves no file, and Ray can be started again, also where paths are too long for it."""
    socket = _sockets()[0]
    workers.stop()
    workers.stop()
    assert not ray.is_initialized()
    assert not socket.parent.exists()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    workers.start(1)
    assert ray.cluster_resources()["CPU"] == 1
