"""Ray's own Tune examples, as they are in its wheel, with our callback: each trial's run is whole and has its process.

They run unmodified, with the callback's name in RAY_TUNE_CALLBACKS, but with fewer samples than theirs.
"""

import runpy
import sys
from pathlib import Path

import pytest
from cases import cases, tables
from commands import runs_of_kind
from ray import tune
from ray.tune import examples

SAMPLES = 3  # that wait for the CPU core in turn: HyperBand and PBT pause them


@pytest.mark.slow
@cases("example, metric", tables(__file__, "cases.yaml")["examples"])
def test_example_of_ray_runs_unmodified(example, metric, local_ray, store_in_use, monkeypatch):
    """All trials are there, all ended, each with its metric, its process's series and a parent."""
    if example == "optuna_example":
        pytest.importorskip("optuna")
    script, few = Path(str(examples.__file__)).with_name(f"{example}.py"), tune.TuneConfig
    monkeypatch.setenv("RAY_TUNE_CALLBACKS", "mlflow_sysmetrics.ray_tune.SystemMetricsCallback")
    monkeypatch.setenv("HOME", str(Path.cwd()))  # where Tune keeps its files
    monkeypatch.setattr(sys, "argv", [str(script), "--smoke-test"])
    monkeypatch.setattr("ray.init", lambda **settings: None)  # it is up
    monkeypatch.setattr(tune, "TuneConfig", lambda **settings: few(**settings | {"num_samples": SAMPLES}))
    runpy.run_path(str(script), run_name="__main__")
    trials, (study,) = (runs_of_kind(store_in_use, kind) for kind in ("trial", "study"))
    assert len(trials) == SAMPLES
    assert {run.info.status for run in [*trials, study]} <= {"FINISHED", "KILLED"}
    for run in trials:
        assert {metric, "system/process_memory_mb"} <= run.data.metrics.keys()
        assert run.data.tags["mlflow.parentRunId"] == study.info.run_id
