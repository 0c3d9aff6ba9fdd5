"""The same training with stock Ray Tune and its stock MLflow callback, put together the obvious way.

    python benchmarks/against_stock.py [--configurations 2] [--cpus 0]

The opponent is what Ray's own MLflow example shows: a function trainable with Tune's defaults and
``MLflowLoggerCallback``, one trial per configuration and fold, scikit-learn's metrics, a report every 100 steps. It
trains a part of red_wine's grid; ours trains the whole of it. Both log into a new SQLite store, and each side's
wall time from first trial start to last trial end is divided by its number of (configuration, fold) pairs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from search_overhead import RESULT, data_for, settings_for, study_times  # noqa: E402

from entrypoints.compute import workers  # noqa: E402
from entrypoints.environment import RAY_SETTINGS  # noqa: E402


def stock_trial(config, data):
    """One fold of one configuration, written as in the tutorials."""
    config = config["case"]
    from ray import tune
    from sklearn.linear_model import SGDRegressor
    from sklearn.metrics import mean_squared_error
    from sklearn.preprocessing import StandardScaler

    from entrypoints.models.fold import batches

    fit, held_out = data.split.folds[config["fold"]]
    scaler, target = StandardScaler().fit(data.X[fit]), StandardScaler().fit(data.y[fit, None])
    X, y = scaler.transform(data.X), target.transform(data.y[:, None])[:, 0]
    model = SGDRegressor(learning_rate="constant", eta0=config["learning_rate"], alpha=config["alpha"])
    rows = batches(fit, config["batch_size"], (config["seed"], config["fold"]))
    losses, training_time_s = [], 0.0
    for step in range(1, config["max_steps"] + 1):
        batch = next(rows)
        started = time.perf_counter()
        model.partial_fit(X[batch], y[batch])
        training_time_s += time.perf_counter() - started
        losses.append(mean_squared_error(y[batch], model.predict(X[batch])))
        if step % config["report_every"] == 0:
            val_loss = mean_squared_error(y[held_out], model.predict(X[held_out]))
            tune.report(
                {
                    "train_loss": sum(losses) / len(losses),
                    "val_loss": val_loss,
                    "val_rmse": (val_loss**0.5) * target.scale_[0],
                    "step_time_ms": training_time_s / step * 1e3,
                    "training_time_s": training_time_s,
                }
            )
            losses.clear()


def run_stock(configurations, cpus):
    """Tune's defaults; only the data and the number of CPU cores are given."""
    for name in RAY_SETTINGS:
        if name.startswith(("TUNE_", "RAY_AIR", "RAY_CHDIR")):
            os.environ.pop(name, None)
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    settings = settings_for("red_wine", cpus)
    data, trials = data_for(settings)
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False)

    class Times(tune.Callback):
        """Notes the first start and the last end."""

        first: float | None = None
        last = 0.0

        def on_trial_start(self, iteration, trials, trial, **info):
            self.first = self.first or time.time()

        def on_trial_complete(self, iteration, trials, trial, **info):
            self.last = time.time()

    # Evenly over the grid, so that small and large batches and rates are in it.
    some = trials[:: max(1, len(trials) // configurations)][:configurations]
    rows = data.split.fit_rows
    cases = [
        trial.searched
        | {"seed": settings.seed, "report_every": trial.report_steps(rows)}
        | {"max_steps": trial.steps(rows), "fold": fold}
        for trial in some
        for fold in range(settings.folds)
    ]
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_parameters(stock_trial, data=data),
            param_space={"case": tune.grid_search(cases)},
            run_config=tune.RunConfig(
                storage_path=folder,
                callbacks=[
                    times,
                    MLflowLoggerCallback(tracking_uri=os.environ["MLFLOW_TRACKING_URI"], experiment_name="stock"),
                ],
            ),
        ).fit()
    assert not results.errors, results.errors[0]
    assert times.first is not None
    click.echo(RESULT + json.dumps({"seconds": times.last - times.first, "pairs": len(cases)}))


@click.command(help=__doc__)
@click.option("--configurations", default=2, show_default=True, help="how many of the grid the opponent trains")
@click.option("--cpus", default=0, show_default=True, help="0: all usable CPU cores")
@click.option("--child", is_flag=True, hidden=True)
def main(configurations, cpus, child):
    """Measure both sides and print the ratio."""
    cpus = cpus or workers.usable_cpus()
    if child:
        run_stock(configurations, cpus)
        return
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        command = [sys.executable, __file__, "--child", "--configurations", str(configurations), "--cpus", str(cpus)]
        done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith(RESULT))
    stock = json.loads(line.removeprefix(RESULT))
    stock_each = stock["seconds"] / stock["pairs"]
    click.echo(
        f"stock: {stock['pairs']} (configuration, fold) pairs in {stock['seconds']:.1f} s, {stock_each:.3f} s each"
    )
    settings = settings_for("red_wine", cpus)
    _, trials = data_for(settings)
    ours_s, pairs = study_times(settings, tracked=True)["search_s"], len(trials) * settings.folds
    click.echo(f"ours:  {pairs} (configuration, fold) pairs in {ours_s:.1f} s, {ours_s / pairs:.3f} s each")
    click.echo(f"stock / ours: {stock_each / (ours_s / pairs):.1f} x (target >= 30 x)")


if __name__ == "__main__":
    main()
