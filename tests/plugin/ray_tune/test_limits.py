"""Limits of the callback on what each trial's process uses, for any trainable."""

import re

import pytest
from cases import cases
from commands import runs_of_kind
from ray import tune
from tune_sweeps import trainables, tuner

from mlflow_sysmetrics.common.time_limits import NEXT_RESULT_S
from mlflow_sysmetrics.limits import Limits
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.recording.tags import RETRIED_AFTER, STOP_REASON, STOPPED_BY

LIMIT = "memory_growth_mb<=250"
LONG_STEP_S = 120.0
REASON = re.compile(r"memory_growth_mb (\d+(?:\.\d+)?) > 250 \(after (\d+\.\d) s\)")


@cases("kind", ["function", pytest.param("class", marks=pytest.mark.slow)])
def test_trial_that_breaks_a_limit_is_killed_beside_others_that_meet_it(kind, local_ray, store_in_use, monkeypatch):
    """At its next result, or where none comes by the end of its process: it does not begin again. The reason is there.

    At a result, a class may take its time to save its last checkpoint. Its script knows nothing of limits.
    """
    cases = [{"steps": 2}] * 10
    cases.insert(1, {"mb": 400, "steps": 600, "step_s": 0.2, "save_s": NEXT_RESULT_S + 2})
    cases.insert(3, {"mb": 400, "steps": 1, "step_s": LONG_STEP_S})
    callbacks = [SystemMetricsCallback(limits=LIMIT)]
    if kind == "class":
        callbacks = []
        monkeypatch.setenv("RAY_TUNE_CALLBACKS", "mlflow_sysmetrics.ray_tune.SystemMetricsCallback")
        monkeypatch.setenv("MLFLOW_SYSMETRICS_LIMITS", LIMIT)
    results = tuner(
        callbacks,
        cases,
        trainable=trainables()[kind],
        tuning={"reuse_actors": True},
        failure_config=tune.FailureConfig(max_failures=1),
    ).fit()
    assert [result.config["case"] for result in results if result.error] == [cases[3]]
    trials = runs_of_kind(store_in_use, "trial")
    assert len(trials) == len(cases)
    killed = [run for run in trials if run.info.status != "FINISHED"]
    assert [run.data.params.get("case/mb") for run in killed] == ["400", "400"]
    for run in killed:
        assert (run.info.status, run.data.tags[STOPPED_BY]) == ("KILLED", "limits")
        growth_mb, after_s = map(float, REASON.fullmatch(run.data.tags[STOP_REASON]).groups())
        assert growth_mb > 250
        assert after_s < run.data.metrics["elapsed_s"] < LONG_STEP_S
        assert RETRIED_AFTER not in run.data.tags


@cases("limits", ["peak_memry_mb<=5", "loss<=1", "elapsed_s<=2x median"])
def test_limit_that_is_none_of_a_process_is_refused_at_construction(limits, monkeypatch):
    """Here that of the environment."""
    monkeypatch.setenv("MLFLOW_SYSMETRICS_LIMITS", limits)
    with pytest.raises(ValueError, match=r"^limits="):
        SystemMetricsCallback()


@cases("given, in_environment", {"empty": (None, ""), "blank": (None, " \n"), "argument first": ("", LIMIT)})
def test_blank_text_is_no_limit(given, in_environment, monkeypatch):
    """A shell sets the variable so where `"$LIMITS"` is unset."""
    monkeypatch.setenv("MLFLOW_SYSMETRICS_LIMITS", in_environment)
    assert SystemMetricsCallback(limits=given).limits == Limits(())
