"""A trial whose process is killed, as the kernel does for memory, in a Ray that a study has started."""

import psutil
from commands import runs_of_kind
from tune_sweeps import tuner

from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.recording.tags import CAUSE_OF_DEATH

TRIALS = 10


def test_trial_that_is_killed_fails_and_nine_others_finish(local_ray, store_in_use, tmp_path):
    """By the kernel: Ray's own memory monitor, which would end the experiment, is off in its processes."""
    raylets = [each for each in psutil.Process().children(recursive=True) if each.name() == "raylet"]
    assert [each.environ()["RAY_memory_monitor_refresh_ms"] for each in raylets] == ["0"]
    cases = [{}] * (TRIALS - 1)
    cases.insert(3, {"killed": 3, "once": str(tmp_path / "once"), "step_s": 0.5})
    results = tuner([SystemMetricsCallback()], cases, tuning={"reuse_actors": True}).fit()
    assert (len(results), results.num_errors) == (TRIALS, 1)
    killed, *others = sorted(runs_of_kind(store_in_use, "trial"), key=lambda run: run.info.status)
    assert {run.info.status for run in others} == {"FINISHED"}
    assert killed.info.status == "FAILED"
    assert killed.data.tags[CAUSE_OF_DEATH].startswith("its process was gone")
