"""A trainable finds the MLflow run of its trial: in functions and classes, in kept processes, and after a restore."""

import os
import time
from types import SimpleNamespace

import pytest
from cases import cases
from ray import tune

from mlflow_sysmetrics.ray_tune import SystemMetricsCallback, inside, trial_run


def _trainable(kind, failed):
    """One that logs in its run; a function fails after that the first time. Workers do not find this module."""

    def log(config, number):
        import mlflow

        from mlflow_sysmetrics.ray_tune import trial_run, trial_run_id

        with trial_run() as run:
            mlflow.log_text(config["name"], f"{config['name']}_{number}.txt")
        assert mlflow.active_run() is None
        assert "MLFLOW_RUN_ID" not in os.environ  # else a run that it begins by itself would be the driver's
        return trial_run_id() if run.info.run_id == trial_run_id() else "another"

    def train(config):
        for number in (1, 2):
            tune.report({"run": log(config, number)})
            if config["name"] == "b" and not failed.exists():
                failed.touch()
                raise RuntimeError("lost")

    class Train(tune.Trainable):
        def setup(self, config):
            from mlflow_sysmetrics.ray_tune import trial_run_id

            self.config = config
            os.environ["MLFLOW_RUN_ID"] = config["driver"]  # as of a driver under `mlflow run`, which it inherits
            with pytest.raises(RuntimeError, match=r"not in setup\(\)"):  # in reset_config, that of the trial before
                trial_run_id()

        def reset_config(self, new_config):
            self.setup(new_config)
            return True

        def step(self):
            number = self.training_iteration + 1
            return {"run": log(self.config, number), "done": number == 2}

    return train if kind == "function" else Train


@cases("kind", ["class", pytest.param("function", marks=pytest.mark.slow)])
def test_trainable_logs_in_the_run_of_its_trial(kind, client, local_ray, tmp_path, monkeypatch):
    """Two trials share a process; a function fails in the second, which goes on in its run after a restore.

    The callback ends the runs, in a store that is not the one that the processes use, below the run of the driver.
    """
    driver = client.create_run("1").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", driver)
    for resume in (False, "AUTO+ERRORED") if kind == "function" else (False,):
        results = tune.run(
            tune.with_resources(_trainable(kind, tmp_path / "failed"), {"cpu": 1}),
            config={"name": tune.grid_search(["a", "b"]), "driver": driver},
            name="sweep",
            storage_path=str(tmp_path),
            callbacks=[SystemMetricsCallback(client.tracking_uri, parent_run_id=driver)],
            reuse_actors=True,
            resume=resume,
            raise_on_failed_trial=False,
            verbose=0,
        )
    trials = client.search_runs(["1"], "tags.`sysmetrics.kind` = 'trial'")
    assert {run.info.run_name: run.info.status for run in trials} == {"name=a": "FINISHED", "name=b": "FINISHED"}
    for run in trials:
        name = run.data.params["name"]
        files = [each.path for each in client.list_artifacts(run.info.run_id)]
        assert sorted(files) == [f"{name}_1.txt", f"{name}_2.txt"]
        assert run.data.tags["mlflow.parentRunId"] == driver
    assert {result.last_result["run"] for result in results.trials} == {run.info.run_id for run in trials}


@cases("run_id", {"not created": None, "created": "f" * 32})
def test_trial_does_not_wait_for_a_store_that_is_away(run_id, monkeypatch):
    """For longer than a minute, here a second: not for the minutes of MLflow's own repetitions."""
    monkeypatch.setattr(inside, "COMMAND_ANSWER_S", 1.0)
    monkeypatch.setattr(inside, "trial_here", SimpleNamespace(trial_id="t"))
    where = {"uri": "http://127.0.0.1:9", "experiment_id": "0", "key": "k", "run_id": run_id, "trial_id": "t"}
    monkeypatch.setattr(inside, "location_here", where)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="the run of trial t in 1 s"), trial_run():
        pass
    assert time.monotonic() - began < 20
