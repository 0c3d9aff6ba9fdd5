"""What Tune does with a trial whose process has died, and with one that has raised."""

import os
import signal
from pathlib import Path

import pytest
from ray import tune
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from tune_sweeps import tuner

from entrypoints.compute.recovery import MAX_DEATHS, RecoveringTrial, RecoveringTrials


def _failing():
    """A trial that notes each attempt in a file and then fails, or does not. Workers need no module for its class."""

    class Failing(tune.Trainable):
        def setup(self, config):
            self.attempts = Path(config["folder"], config["case"])
            with self.attempts.open("a") as attempts:
                attempts.write(".")
            if config["case"] == "raises at once":
                raise ValueError("in its setup")

        def step(self):
            case = self.config["case"]
            if case == "raises":
                raise ValueError("it always does")
            if case == "dies" or (case == "dies once" and self.attempts.stat().st_size == 1):
                os.kill(os.getpid(), signal.SIGKILL)
            return {"done": True}

    return Failing


def test_trial_fails_for_good_unless_its_process_has_died(monkeypatch):
    """One whose trial raised while it was set up has not."""
    monkeypatch.setattr(Trial, "handle_error", lambda self, exc: None)
    raised = RayActorError()
    raised._actor_init_failed = True
    for error, failures_left in ((RayActorError(), 2), (raised, 0), (ValueError(), 0)):
        trial = RecoveringTrial.__new__(RecoveringTrial)
        trial.max_failures = MAX_DEATHS
        trial.handle_error(error)
        assert trial.max_failures == failures_left


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_trials_that_died_begin_again_and_those_that_raised_do_not(tmp_path, monkeypatch):
    """One death is survived, the third is the last, and an error is final."""
    monkeypatch.chdir(tmp_path)
    kinds = ["raises at once", "raises", "dies once", "dies"]
    results = tuner(
        [],
        kinds,
        trainable=_failing(),
        space={"folder": str(tmp_path)},
        tuning={"search_alg": RecoveringTrials(), "reuse_actors": False},
        failure_config=tune.FailureConfig(max_failures=MAX_DEATHS),
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
    ).fit()
    assert [len(Path(kind).read_text()) for kind in kinds] == [1, 1, 2, 3]
    assert [result.config["case"] for result in results if result.error is None] == ["dies once"]
