"""A trial that takes too much memory, in a Ray that a study has started."""

import os
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
from memory_group import memory_group
from ray import tune
from tune_sweeps import tuner

from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.tags import KILLED_FOR_MEMORY

TRIALS = 10


def test_trial_that_is_killed_for_memory_fails_and_nine_others_finish(local_ray, store_in_use):
    """By the kernel: Ray's own memory monitor, which would end the experiment, is off in its processes."""

    def take_memory(config):
        # Without a group that limits it, it ends as the kernel would end it.
        if config["case"]["group"]:
            group = Path(config["case"]["group"])
            kept = []
            if not group.name:
                os.kill(os.getpid(), signal.SIGKILL)
            (group / "cgroup.procs").write_text(str(os.getpid()))
            time.sleep(2)  # for a reading in this group
            while True:
                kept.append(b"x" * 1_000_000)
        tune.report({"loss": 1.0})

    raylets = [each for each in psutil.Process().children(recursive=True) if each.name() == "raylet"]
    assert [each.environ()["RAY_memory_monitor_refresh_ms"] for each in raylets] == ["0"]
    with ExitStack() as stack:
        group = Path()
        with suppress(OSError):  # no group can be made here
            group = stack.enter_context(memory_group())
        cases = [{"group": None, "number": number} for number in range(TRIALS - 1)]
        cases.insert(3, {"group": str(group)})
        more = {"tuning": {"reuse_actors": True}}
        results = tuner([SystemMetricsCallback()], cases, trainable=take_memory, **more).fit()
    assert (len(results), results.num_errors) == (TRIALS, 1)
    trials = store_in_use.search_runs(["0"], "tags.`sysmetrics.kind` = 'trial'")
    assert sorted(run.info.status for run in trials) == ["FAILED"] + ["FINISHED"] * (TRIALS - 1)
    (killed,) = (run for run in trials if run.info.status == "FAILED")
    if group.name:
        assert killed.data.tags[KILLED_FOR_MEMORY] == "true"
