"""How long a thread waited for a CPU core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entrypoints.compute.contention import CoreWait, own_share

SCHEDSTAT = Path("/proc/thread-self/schedstat")


def test_wait_that_linux_does_not_tell_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in some containers, and on other systems."""
    monkeypatch.setattr("entrypoints.compute.contention._SCHEDSTAT", "/nowhere")
    assert CoreWait()() == 0.0


@pytest.mark.skipif(not SCHEDSTAT.exists(), reason="this kernel does not tell")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_wait_grows_while_another_process_has_the_core() -> None:
    """Two busy processes on one core: this one waits for about half of the time, measured by its own CPU time."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    other = subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        other.stdout.readline()
        wait = CoreWait()
        waited_s, began, used_s = wait(), time.perf_counter(), time.thread_time()
        while time.thread_time() - used_s < 0.3:
            pass
        elapsed_s = time.perf_counter() - began
        assert wait() - waited_s > 0.5 * (elapsed_s - 0.3) > 0
    finally:
        other.kill()
        other.wait(10)
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("elapsed_s", "waited_s", "share"),
    [
        pytest.param(2.0, 0.0, 1.0, id="never"),
        pytest.param(2.0, 0.5, 0.75, id="for-a-quarter"),
        pytest.param(2.0, 3.0, 0.0, id="for-longer-than-it-took"),
        pytest.param(2.0, -1.0, 1.0, id="a-clock-that-went-back"),
        pytest.param(0.0, 0.0, 1.0, id="no-time"),
    ],
)
def test_own_share_is_what_was_not_waited(elapsed_s: float, waited_s: float, share: float) -> None:
    """Between 0 and 1."""
    assert own_share(elapsed_s, waited_s) == share
