"""What is a process's own: the memory to which a call raises it, and the time in which a thread had a CPU core."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases import cases

from entrypoints.compute import memory
from entrypoints.compute.contention import CoreWait, own_share

MB = 125_000  # numbers of 8 bytes
BUSY = "print('up', flush=True)\nwhile True: pass"
SCHEDSTAT = Path("/proc/thread-self/schedstat")


def test_peak_of_a_call_is_measured_however_short_it_is():
    """80 MB that are freed at once, and 20 MB that stay."""
    kept = []

    def call():
        np.ones(80 * MB)
        kept.append(np.ones(20 * MB))

    assert memory.raised(call) == pytest.approx((80, 20), abs=2)
    assert memory.raised(lambda: None) == pytest.approx((0, 0), abs=1)


def test_what_was_there_before_does_not_count():
    """Neither an earlier peak, nor what an earlier trial left in cycles, which makes no room for the call either."""
    np.ones(200 * MB)
    left = [np.ones(50 * MB)]
    left.append(left)
    del left

    def call():
        gc.collect()
        np.ones(20 * MB)

    assert memory.raised(call) == pytest.approx((20, 0), abs=2)


def test_wait_that_linux_does_not_tell_counts_as_none(monkeypatch):
    """As in some containers, and on other systems."""
    monkeypatch.setattr("entrypoints.compute.contention._SCHEDSTAT", "/nowhere")
    assert CoreWait()() == 0.0


@pytest.mark.skipif(not SCHEDSTAT.exists(), reason="this kernel does not tell")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_wait_grows_while_another_process_has_the_core():
    """Two busy processes on one core: this one waits for about half of the time, measured by its own CPU time."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    other = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        wait = CoreWait()

        def grew():
            waited_s = wait()
            began = time.perf_counter()
            used_s = time.thread_time()
            while time.thread_time() - used_s < 0.3:
                pass
            elapsed_s = time.perf_counter() - began
            return wait() - waited_s > 0.5 * (elapsed_s - 0.3) > 0

        assert any(grew() for _ in range(3))  # a machine that stands still is no process that has the core
    finally:
        other.kill()
        other.wait(10)
        os.sched_setaffinity(0, before)


@cases("elapsed_s, waited_s, share", [(2.0, 0.5, 0.75), (2.0, 3.0, 0.0), (2.0, -1.0, 1.0), (0.0, 0.0, 1.0)])
def test_own_share_is_what_was_not_waited(elapsed_s, waited_s, share):
    """Between 0 and 1, also where the wait seems longer than the time that it is part of, or a clock went back."""
    assert own_share(elapsed_s, waited_s) == share
