"""Ray's own `MLflowLoggerCallback`: what it does where something goes wrong, and what the same training takes with it.

    python benchmarks/stock.py [--quick]

Small sweeps, each with a new store: a line says what Ray's callback has left of it. What ours leaves in these cases is
tested (`tests/plugin/ray_tune`). Then the training of red_wine as Ray's MLflow example shows it: a function with Tune's
defaults, a trial for each configuration and fold, scikit-learn's metrics, a report every 100 steps. It trains two
configurations of the grid, ours the whole grid: seconds from the first start to the last end, for each configuration
and fold. Six minutes; `--quick`: one case, one configuration, and a part of the grid.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import mlflow
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "support")]

from faults import FaultProxy  # noqa: E402
from servers import tracking_server  # noqa: E402
from tune_sweeps import AtResult, Place, fit, perturbing, place, trainables, tuner  # noqa: E402

from entrypoints.compute.environment import RAY_SETTINGS  # noqa: E402
from entrypoints.compute.workers import usable_cpus  # noqa: E402

LONG = {"steps": 10_000, "step_s": 0.1}


def stock(here):
    from ray.tune.logger.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(here.uri, experiment_name="x")


def interrupt():
    """What Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def ctrl_c(here):
    """Two long trials, and Ctrl-C after two results."""
    fit(tuner([stock(here), AtResult(2, interrupt, here.folder / "interrupted")], [LONG, LONG]))
    return {"runs": here.trial_statuses()}


def failing_setup(here):
    """One of three trials cannot be set up."""
    error = fit(tuner([stock(here)], [{"fails": "setup"}, {}, {}]))
    return {"the sweep ends by": error, "runs": here.trial_statuses()}


def server_away(here):
    """The tracking server is away for 3 s, from the third of eight results on."""
    with tracking_server(here.folder) as port, FaultProxy(port) as proxy:

        def go_away():
            proxy.fault = "refuse"
            timer.start()

        timer = threading.Timer(3.0, setattr, (proxy, "fault", None))
        mlflow.set_tracking_uri(proxy.uri)
        away = AtResult(3, go_away, here.folder / "away")
        error = fit(tuner([away, stock(proxy)], [{"steps": 8}] * 2))
        timer.join()
    mlflow.set_tracking_uri(here.uri)
    server = Place(here.folder, "mlflow.db")
    losses = [len(server.history(run, "loss")) for run in server.trials()]
    return {"the sweep ends by": error, "runs": server.trial_statuses(), "results": losses}


def refused_name(here):
    """A metric has a name that MLflow refuses."""
    error = fit(tuner([stock(here)], [{"more": {"error %": 1.0}}, {}]))
    return {"the sweep ends by": error, "runs": here.trial_statuses()}


def parent_run(here):
    """A run is active around two trials."""
    with mlflow.start_run(experiment_id=here.client.create_experiment("x")):
        fit(tuner([stock(here)], [{}, {}]))
    return {"parents": [run.data.tags.get("mlflow.parentRunId") for run in here.trials()]}


def metrics(here):
    """A trial reports `loss`, with NaN and infinity in it, and nothing else."""
    fit(tuner([stock(here)], [{"losses": {2: float("nan"), 3: float("inf")}}]))
    (run,) = here.trials()
    return {"metrics": len(run.data.metrics), "losses": [value for _, value in here.history(run, "loss")]}


def restored(here):
    """A sweep of two trials is interrupted, and goes on by `Tuner.restore`."""
    from ray import tune

    checkpoints = tune.CheckpointConfig(checkpoint_frequency=1)
    stop = AtResult(3, interrupt, here.folder / "interrupted")
    fit(tuner([stock(here), stop], [{"steps": 6, "step_s": 0.3}] * 2, checkpoint_config=checkpoints))
    fit(tune.Tuner.restore(str(here.folder / "tune" / "sweep"), trainables()["class"], resume_unfinished=True))
    return {"runs": here.trial_statuses()}


def perturbed(here):
    """Population based training changes a parameter of a trial."""
    from ray import tune

    tuning = {"scheduler": perturbing(), "metric": "loss", "mode": "min"}
    checkpoints = tune.CheckpointConfig(checkpoint_frequency=2)
    cases = [{"steps": 5, "loss": 1.0}, {"steps": 5, "loss": 9.0}]
    sweep = tuner([stock(here)], cases, space={"rate": 1}, tuning=tuning, checkpoint_config=checkpoints)
    return {"the sweep ends by": fit(sweep), "runs": here.trial_statuses()}


CASES = (
    ctrl_c,
    failing_setup,
    server_away,
    refused_name,
    parent_run,
    metrics,
    restored,
    perturbed,
)


def stock_trial(config, data):
    """One fold of one configuration, written as in the tutorials."""
    config = config["case"]
    from ray import tune
    from sklearn.linear_model import SGDRegressor
    from sklearn.metrics import mean_squared_error
    from sklearn.preprocessing import StandardScaler

    from entrypoints.models.fold import batches

    fit_rows, held_out = data.split.folds[config["fold"]]
    scaler, target = StandardScaler().fit(data.X[fit_rows]), StandardScaler().fit(data.y[fit_rows, None])
    X, y = scaler.transform(data.X), target.transform(data.y[:, None])[:, 0]
    model = SGDRegressor(learning_rate="constant", eta0=config["learning_rate"], alpha=config["alpha"])
    rows = batches(fit_rows, config["batch_size"], (config["seed"], config["fold"]))
    losses = []
    for step in range(1, config["max_steps"] + 1):
        batch = next(rows)
        model.partial_fit(X[batch], y[batch])
        losses.append(mean_squared_error(y[batch], model.predict(X[batch])))
        if step % config["report_every"] == 0:
            val_loss = mean_squared_error(y[held_out], model.predict(X[held_out]))
            tune.report({"train_loss": sum(losses) / len(losses), "val_loss": val_loss})
            losses.clear()


def train_with_stock(configurations):
    """Print how long it takes; only the data and the number of CPU cores are given."""
    from search_overhead import RESULT, data_for, settings_for

    for name in RAY_SETTINGS:
        if name.startswith(("TUNE_", "RAY_AIR", "RAY_CHDIR")):
            os.environ.pop(name, None)
    import ray
    from ray import tune
    from ray.tune.logger.mlflow import MLflowLoggerCallback

    settings = settings_for("red_wine", usable_cpus())
    data, trials = data_for(settings)
    ray.init(num_cpus=settings.cpus, include_dashboard=False, log_to_driver=False)
    # Evenly over the grid, so that small and large batches and rates are in it.
    some = trials[:: len(trials) // configurations][:configurations]
    rows = data.split.fit_rows
    cases = []
    for trial in some:
        about = {"seed": settings.seed, "report_every": trial.report_steps(rows), "max_steps": trial.steps(rows)}
        cases += [{**trial.searched, **about, "fold": fold} for fold in range(settings.folds)]
    callback = MLflowLoggerCallback(os.environ["MLFLOW_TRACKING_URI"], experiment_name="stock")
    with tempfile.TemporaryDirectory() as folder:
        trainable = tune.with_parameters(stock_trial, data=data)
        run_config = tune.RunConfig(storage_path=folder, callbacks=[callback])
        began = time.time()
        tune.Tuner(trainable, param_space={"case": tune.grid_search(cases)}, run_config=run_config).fit()
    click.echo(RESULT + json.dumps([time.time() - began, len(cases)]))


def compare_times(configurations, batch_sizes):
    """Print both times for a configuration and fold, and their ratio."""
    from search_overhead import RESULT, data_for, settings_for, study_times  # it sets what Ray reads

    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        command = [sys.executable, __file__, "--train", str(configurations)]
        done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith(RESULT))
    stock_s, stock_pairs = json.loads(line.removeprefix(RESULT))
    settings = settings_for("red_wine", usable_cpus(), batch_sizes)
    pairs = len(data_for(settings)[1]) * settings.folds
    ours_s = study_times(settings)["search_s"]
    each, ours_each = stock_s / stock_pairs, ours_s / pairs
    click.echo(f"a configuration and fold: {each:.3f} s, ours {ours_each:.3f} s: {each / ours_each:.0f} times as long")


def print_what_is_left(cases):
    """A line for each case."""
    import ray

    logging.disable(logging.CRITICAL)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.db"
        MlflowClient(f"sqlite:///{empty}").search_experiments()
        for case in cases:
            with place(empty, Path(folder) / case.__name__) as here:
                click.echo(f"{case.__doc__} {json.dumps(case(here))}")
    ray.shutdown()


@click.command(help=__doc__)
@click.option("--quick", is_flag=True)
@click.option("--train", default=0, hidden=True)
def main(quick, train):
    """Print a line for each case, and the ratio."""
    if train:
        train_with_stock(train)
    elif quick:
        print_what_is_left(CASES[:1])
        compare_times(1, [256])
    else:
        print_what_is_left(CASES)
        compare_times(2, [])


if __name__ == "__main__":
    main()
