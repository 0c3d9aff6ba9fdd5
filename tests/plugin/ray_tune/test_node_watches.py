"""The processes of one machine that are watched by keys. Real processes, no Ray."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from commands import wait_until

from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.ray_tune.node_watches import NOTHING, NodeWatches
from mlflow_sysmetrics.tags import CAUSE_OF_DEATH, KILLED_FOR_MEMORY


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    """A program that runs, and waits."""
    source = "print(flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_watches_keep_processes_apart(program: subprocess.Popen[str]) -> None:
    """By their keys; who is not there, or not watched, costs no exception."""
    watches = NodeWatches(("process",), 0.02)
    tags = watches.start("a", program.pid)
    assert tags.pop("sysmetrics.memory_definition") in ("rss-shr", "uss")
    assert watches.start("gone", 2**22 + 1) == tags == Host().tags()
    watches.drain()
    windows, figures, death = watches.stop("a")
    assert windows[-1].mean["process_memory_mb"] > 0
    assert figures["peak_memory_mb"] > 0
    assert death == {}
    assert watches.stop("a") == watches.stop("gone") == NOTHING
    assert watches.drain() == {}


def test_time_of_a_process_that_is_gone_ends_with_it(program: subprocess.Popen[str]) -> None:
    """And not when Tune has noticed, or has ended the experiment."""
    watches, began = NodeWatches(("process",), 0.02), time.monotonic()
    watches.start("a", program.pid)
    wait_until(lambda: watches.drain(), 10.0, "a reading")
    program.kill()
    program.wait()
    lasted = time.monotonic() - began
    wait_until(lambda: time.monotonic() - began > lasted + 0.5, 10.0, "half a second")
    assert watches.stop("a").figures["elapsed_s"] < lasted + 0.2


def test_process_that_was_killed_has_a_cause_of_death(program: subprocess.Popen[str]) -> None:
    """Its peak is known, and that the kernel had no part in it, where that can be read."""
    watches = NodeWatches(("process",), 0.02)
    watches.start("a", program.pid)
    program.kill()
    program.wait()
    death = watches.stop("a").death
    assert death[CAUSE_OF_DEATH].startswith("its process was gone")
    assert "peak" in death[CAUSE_OF_DEATH]
    assert death.get(KILLED_FOR_MEMORY, "false") == "false"
