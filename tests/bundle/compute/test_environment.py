"""What a study sets in its environment, and what it leaves to the user."""

import os
import subprocess
import sys

import pytest
from commands import ROOT, clean_environment

from entrypoints.compute import environment

# A small array where a large one was freed, between others that are kept.
AFTER_A_LARGE_ARRAY = """
from entrypoints.compute import environment
environment.set_defaults()
import numpy as np
from entrypoints.compute import memory
np.ones(20 * 125_000)
freed, above = np.ones(20 * 125_000), np.ones(12_500)
del freed
held = []
print(max(memory.raised(lambda: held.append(np.ones(12_500))).peak_mb for _ in range(30)))
"""


def _printed(code, env):
    line = [sys.executable, "-c", code]
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


def test_defaults_leave_what_the_user_has_set():
    """Two threads for a model that uses them, for instance."""
    given = {"OMP_NUM_THREADS": "2", "HOME": "/home/me"}
    environment.set_defaults(given)
    assert (given["OMP_NUM_THREADS"], given["HOME"]) == ("2", "/home/me")
    assert (given["OPENBLAS_NUM_THREADS"], given["RAY_USAGE_STATS_ENABLED"]) == ("1", "0")


def test_processes_can_be_started_as_the_user_would():
    """With the threads that their environment says, and else as many as a library takes."""
    code = """
import os
from entrypoints.compute import environment
environment.set_defaults()
with environment.users_own():
    print(*environment.THREADS.keys() & os.environ.keys())
print(os.environ["MKL_NUM_THREADS"])
"""
    assert _printed(code, clean_environment(OMP_NUM_THREADS="2")) == "OMP_NUM_THREADS\n1\n"


def test_workers_get_threads_pages_and_folder_and_no_secret():
    """What a cluster's workers are sent is written into its job's description, which others can read."""
    sent = environment.of_workers({"OMP_NUM_THREADS": "2", "RAY_AUTH_TOKEN": "secret", "MLFLOW_TRACKING_PASSWORD": "p"})
    assert sent == {
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NUMPY_MADVISE_HUGEPAGE": "0",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="its high-water mark is the kernel's")
def test_small_allocation_is_counted_as_small_where_a_large_array_was():
    """0.1 MB, not a page of 2 MB that an earlier trial's array has asked the kernel for."""
    env = {name: value for name, value in os.environ.items() if name != "NUMPY_MADVISE_HUGEPAGE"}
    assert float(_printed(AFTER_A_LARGE_ARRAY, env)) == pytest.approx(0.1, abs=0.1)
