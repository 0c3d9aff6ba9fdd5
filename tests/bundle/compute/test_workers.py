"""The local Ray, and the barrier at which the first trials wait for each other."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from commands import clean_environment, listening
from ray._private import services
from ray._private.node import Node
from ray.actor import ActorHandle

from entrypoints.compute import workers

SHORT_S = 2.0
LONG_S = 30.0
# A Ray that looks for others on loopback, and tries once.
REACHES = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_NUM_REDIS_GET_RETRIES": "1"}
STRANGER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("ran", ray.get(ray.remote(lambda: 1).remote()))
"""

pytestmark = pytest.mark.usefixtures("local_ray")


def _rays() -> list[psutil.Process]:
    """This process and those of its Ray, a worker among them."""
    ray.get(workers.barrier(1).wait.remote(), timeout=LONG_S)
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def _sockets() -> list[Path]:
    """The files through which processes of this machine speak to Ray."""
    opened = [each.laddr for process in _rays() for each in process.net_connections("unix")]
    found = [Path(name) for name in opened if str(name).endswith(("/plasma_store", "/raylet"))]
    assert found
    return found


def test_ray_listens_on_loopback_alone() -> None:
    """No other machine reaches any of its processes."""
    assert listening(_rays()) == {"127.0.0.1"}


def test_ray_starts_no_process_that_a_study_does_not_use() -> None:
    """Neither the autoscaler nor the reader of logs nor the dashboard; a Ray that the user starts has them again."""
    lines = [" ".join(process.cmdline()) for process in _rays()]
    assert [line for line in lines if "gcs_server" in line]
    assert [line for line in lines if re.search(r"(monitor|dashboard)\.py", line)] == []
    functions = (Node.start_monitor, Node.start_log_monitor, services.start_api_server)
    assert [function.__name__ for function in functions] == ["start_monitor", "start_log_monitor", "start_api_server"]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="no-token"),
        pytest.param({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, id="another-token"),
    ],
)
def test_ray_runs_nothing_for_a_stranger(tmp_path: Path, given: dict[str, str]) -> None:
    """A process that was told the address, and not the token, as of another user of this machine."""
    address = ray.get_runtime_context().gcs_address
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, address],
        cwd=tmp_path,
        env=clean_environment(HOME=str(tmp_path), **REACHES, **given),
        capture_output=True,
        text=True,
        timeout=2 * LONG_S,
    )
    assert "ran" not in done.stdout
    assert done.returncode != 0
    assert "AuthenticationError" in done.stderr


def test_token_is_in_no_file_and_no_command_line() -> None:
    """Other users can read both, and not the environment of a process."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    assert len(token) == 64
    assert not [process for process in _rays() if token in " ".join(process.cmdline())]
    folder = _sockets()[0].parent.parent
    assert not [path for path in folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


def test_files_of_ray_are_where_nobody_else_can_enter() -> None:
    """Who could write there could put other sockets in the place of Ray's."""
    for socket in _sockets():
        assert any(folder.stat().st_mode & 0o077 == 0 for folder in socket.parents), socket


def _waiting(barrier: ActorHandle, parties: int) -> list[Any]:
    return [barrier.wait.remote() for _ in range(parties)]


def test_barrier_holds_all_until_the_last_has_arrived() -> None:
    """Two of three wait; when the third arrives all three pass."""
    barrier = workers.barrier(3)
    waiting = _waiting(barrier, 2)
    assert ray.wait(waiting, num_returns=1, timeout=SHORT_S)[0] == []
    waiting += _waiting(barrier, 1)
    assert len(ray.wait(waiting, num_returns=3, timeout=LONG_S)[0]) == 3


def test_barrier_lets_late_arrivals_pass() -> None:
    """A process that replaces another one arrives after all and is not held."""
    barrier = workers.barrier(1)
    ray.get(_waiting(barrier, 1), timeout=LONG_S)
    ray.get(_waiting(barrier, 2), timeout=LONG_S)


def test_wait_for_all_returns_when_all_have_arrived() -> None:
    """The trial's side of the barrier: it comes back, here as the last of two."""
    barrier = workers.barrier(2)
    other = _waiting(barrier, 1)
    workers.wait_for_all(barrier)
    ray.get(other, timeout=LONG_S)


def test_first_processes_leave_what_they_found_and_wait_again() -> None:
    """Each of them until the last has left it; a process that takes another's place is told to find nothing."""
    barrier = workers.barrier(2)
    assert ray.get(_waiting(barrier, 2), timeout=LONG_S) == [True, True]
    assert not workers.wait_for_all(barrier)
    first = barrier.bring.remote("a")
    assert ray.wait([first], timeout=SHORT_S)[0] == []
    workers.bring(barrier, "b")
    ray.get(first, timeout=LONG_S)
    assert workers.brought(barrier) == ["a", "b"]


def test_first_trials_wait_until_all_have_begun() -> None:
    """So that Tune knows of every process before the first trial, perhaps one that is skipped, has ended."""
    barrier = workers.barrier(2)
    ray.get(_waiting(barrier, 2), timeout=LONG_S)
    first = barrier.begin.remote()
    assert ray.wait([first], timeout=SHORT_S)[0] == []
    workers.begin(barrier)
    ray.get(first, timeout=LONG_S)


def test_first_trial_begins_without_one_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its process has died meanwhile: the others go on after some seconds, with a warning."""
    barrier = workers.barrier(2)
    ray.get(_waiting(barrier, 2), timeout=LONG_S)
    monkeypatch.setattr(workers, "BEGIN_TIMEOUT_S", 0.2)
    with caplog.at_level(logging.WARNING, workers.logger.name):
        workers.begin(barrier)
    assert "without waiting" in caplog.text


def test_wait_for_all_goes_on_without_those_who_do_not_come(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After the time limit the trial starts all the same, with a warning: a late worker is not an error."""
    monkeypatch.setattr(workers, "BARRIER_TIMEOUT_S", 0.2)
    with caplog.at_level(logging.WARNING, workers.logger.name):
        workers.wait_for_all(workers.barrier(2))
    assert "without waiting" in caplog.text


def test_wait_for_all_lets_the_others_go_when_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy cluster processes come late, one after the other; only the first of them waits to the end."""
    barrier = workers.barrier(3)
    other = _waiting(barrier, 1)
    monkeypatch.setattr(workers, "BARRIER_TIMEOUT_S", 0.2)
    workers.wait_for_all(barrier)
    ray.get(other, timeout=LONG_S)


def test_wait_for_all_survives_the_barriers_death(caplog: pytest.LogCaptureFixture) -> None:
    """Also a barrier that is gone does not fail the trial that wants to wait there."""
    barrier = workers.barrier(2)
    ray.kill(barrier)
    with caplog.at_level(logging.WARNING, workers.logger.name):
        workers.wait_for_all(barrier)
    assert "without waiting" in caplog.text


def test_wait_for_all_needs_no_barrier() -> None:
    """A trial that runs alone, as in a test, has none."""
    workers.wait_for_all(None)


def test_stop_can_be_called_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping is idempotent, leaves no file, and Ray can be started again, also where paths are too long for it."""
    socket = _sockets()[0]
    workers.stop()
    workers.stop()
    assert not ray.is_initialized()
    assert not socket.parent.exists()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    workers.start(1)
    assert ray.cluster_resources()["CPU"] == 1
