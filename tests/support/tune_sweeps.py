"""Small Tune sweeps for any MLflow callback, each with a store of its own, and what they left in it."""

import os
import shutil
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import mlflow
from commands import in_use
from mlflow import MlflowClient
from mlflow.entities import ViewType
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

CALM = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # else the stock callback holds the sweep for minutes before it ends it
}


class Place:
    """A folder with an empty store, in which the process works and which MLflow uses."""

    def __init__(self, folder, store="store.db"):
        self.folder = folder
        self.uri = f"sqlite:///{folder / store}"  # not where MLflow would look for one by itself
        self.client = MlflowClient(self.uri)

    def runs(self):
        """All runs of all experiments."""
        experiments = self.client.search_experiments(ViewType.ALL)
        return self.client.search_runs([each.experiment_id for each in experiments])

    def trials(self):
        """The runs of trials: the stock callback and ours tag them in different ways."""
        ours = ("trial_name", "sysmetrics.trial_id")
        return [run for run in self.runs() if any(tag in run.data.tags for tag in ours)]

    def trial_statuses(self):
        """Of the trials' runs, sorted."""
        return sorted(run.info.status for run in self.trials())

    def history(self, run, metric):
        """A metric's steps and values."""
        return sorted((each.step, each.value) for each in self.client.get_metric_history(run.info.run_id, metric))


@contextmanager
def place(empty_store, folder):
    """Work in a new folder with a copy of an empty store; the environment and MLflow's address are set back at last."""
    folder.mkdir()
    for name in ("store.db", "mlflow.db"):  # the second is where MLflow's address leads that was lost
        shutil.copy(empty_store, folder / name)
    with environment(**CALM), in_use(folder):
        here = Place(folder)
        mlflow.set_tracking_uri(here.uri)
        yield here


def environment(**more):
    """With these variables, and without those of MLflow that were there before."""
    kept = {name: value for name, value in os.environ.items() if name in CALM or not name.startswith("MLFLOW_")}
    return mock.patch.dict(os.environ, kept | more, clear=True)


def trainables():
    """A class and a function that report a falling `loss` as often as their case says, and fail where that says so.

    They report `more`, too: the same in each result, or what it has for the number of one. Where a case names a file,
    `once`, they fail only until it is there. Made in a function, so that workers need not import this module.
    """
    held = []

    def result(case, number):
        if number == 1:
            held[:] = [b"x" * case.get("mb", 0) * 1_000_000]
        time.sleep(case.get("step_s", 0.05))
        if "begun" in case:
            Path(case["begun"]).touch()
        if number in (case.get("fails"), case.get("killed")) and not Path(case.get("once", "")).is_file():
            end(case)
        loss = case.get("losses", {}).get(number, case.get("loss", 1.0) / number)
        more = case.get("more", {})
        return {"loss": loss, **more.get(number, more)}

    def end(case):
        if "once" in case:
            Path(case["once"]).touch()
        if "killed" in case:
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(600):  # until the other trial has begun, if it is to wait for that
            if Path(case.get("after", "/")).exists():
                break
            time.sleep(0.1)
        raise RuntimeError("broken")

    class Steps(tune.Trainable):
        def setup(self, config):
            self.case = config["case"]
            if self.case.get("fails") == "setup":
                raise ValueError("cannot be set up")

        def step(self):
            number = self.training_iteration + 1
            return result(self.case, number) | {"done": number >= self.case.get("steps", 3)}

        def reset_config(self, new_config):
            self.setup(new_config)
            return True

        def save_checkpoint(self, checkpoint_dir):
            time.sleep(self.case.get("save_s", 0))
            return {"number": self.training_iteration}

        def load_checkpoint(self, checkpoint): ...

    def steps(config):
        for number in range(1, config["case"].get("steps", 3) + 1):
            tune.report(result(config["case"], number))

    return {"class": Steps, "function": steps}


class AtResult(tune.Callback):
    """Does something once, at a trial's result with this number; a file remembers that it has been done."""

    def __init__(self, iteration, act, done):
        self.iteration, self.act, self.done = iteration, act, done

    def __getstate__(self):
        return self.__dict__ | {"act": None}  # Tune keeps a copy of callbacks for a restore

    def on_trial_result(self, iteration, trials, trial, result, **info):
        if result["training_iteration"] >= self.iteration and not self.done.exists():
            self.done.touch()
            self.act()


def tuner(callbacks, cases, *, trainable=None, space=None, tuning=None, cpus=1.0, **running):
    """A sweep in the present folder with a trial on this many CPU cores for each case."""
    running |= {"name": "sweep", "storage_path": str(Path.cwd() / "tune"), "callbacks": callbacks, "verbose": 0}
    return tune.Tuner(
        tune.with_resources(trainable or trainables()["class"], {"cpu": cpus}),
        param_space={"case": tune.grid_search(cases)} | (space or {}),
        tune_config=tune.TuneConfig(**(tuning or {})),
        run_config=tune.RunConfig(**running),
    )


def fit(tuner):
    """Run a sweep; the name of the exception that ended it, or None."""
    try:
        tuner.fit()
    except Exception as error:
        while error.__cause__ is not None:
            error = error.__cause__
        return type(error).__name__
    return None


def perturbing():
    """A scheduler that sets the parameter ``rate`` of the worse trial to 7, after two results."""
    return PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        quantile_fraction=0.5,
        hyperparam_mutations={"rate": [1, 2, 4]},
        custom_explore_fn=lambda config: config | {"rate": 7},
        synch=True,
    )
