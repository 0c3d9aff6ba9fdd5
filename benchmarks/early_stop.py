"""What limits on costs save, and what they lose, against the full study.

    python benchmarks/early_stop.py red_wine [--seeds 1] [--defaults] [--quick]

For each seed it runs two studies of one scenario: `tune`, then the same limited to a training time between those of its
batch sizes, so that about half of the grid is infeasible. It prints what that saved of the CPU and wall time, how many
trials that meet the limits it stopped, and the regret of the chosen model. With --defaults the studies have the length
and the limits of a user who says nothing.
"""

import math
import os
import subprocess
import sys
import tempfile
from itertools import accumulate
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mlflow  # noqa: E402
import pandas as pd  # noqa: E402
from mlflow import MlflowClient  # noqa: E402

from entrypoints.reporting.questions import limits_saved  # noqa: E402
from entrypoints.trials.frame import frame_of  # noqa: E402
from entrypoints.trials.reading import rows_of  # noqa: E402

SCENARIOS = {
    "red_wine": {"dataset": "red_wine", "length": "5 epochs"},
    "diabetes": {"dataset": "diabetes", "length": "5 epochs"},
    # Costs that differ by nothing but noise: no rule may stop anything.
    "equal": {"dataset": "red_wine", "space": "{batch_size: [16, 32, 64]}"},
}
QUICK = {"space": "{batch_size: [8, 512], alpha: 0.001}", "folds": "3"}


@click.command(help=__doc__)
@click.argument("scenario", type=click.Choice(list(SCENARIOS)))
@click.option("--seeds", default=1, show_default=True, help="How many times, with different seeds.")
@click.option("--limited", default="training_time_s", show_default=True, help="The metric that is limited.")
@click.option("--defaults", is_flag=True, help="The default length and limits.")
@click.option("--quick", is_flag=True, help="A small grid of three folds.")
def main(scenario, seeds, limited, defaults, quick):
    """Run the scenario and print its table."""
    params = SCENARIOS[scenario] | (QUICK if quick else {})
    if defaults:
        params.pop("length", None)
    with tempfile.TemporaryDirectory(prefix="early-stop-") as folder:
        store = Path(folder)
        mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
        rows = [one_seed(params, str(seed), store, "" if defaults else limited) for seed in range(seeds)]
    table = pd.DataFrame(rows)
    click.echo(f"\n{scenario}, {seeds} seeds")
    click.echo(table.to_string(index=False, float_format="{:.4g}".format))
    of_all = table.agg({name: "sum" if name in ("feasible", "stopped") else "mean" for name in table.columns[1:]})
    click.echo(f"\nmeans; of feasible and stopped sums\n{of_all.to_string(float_format='{:.4g}'.format)}")


def one_seed(params, seed, store, limited):
    """Run the studies of one seed: what the limits saved and lost."""
    client = MlflowClient()
    full = study(params | {"seed": seed}, store, client)
    limits = f"{limited}<={_between(frame_of([rows_of(client, full)]), limited):.4g}" if limited else "auto"
    run = study(params | {"seed": seed, "limits": limits}, store, client)
    frame = frame_of([rows_of(client, full), rows_of(client, run)])
    saved = limits_saved.saving(frame)
    lost = limits_saved.answer(frame).table.iloc[0]
    click.echo(f"seed {seed}: {saved.trials} trials; {limits_saved.answer(frame).sentences[0]}")
    return {
        "seed": seed,
        "CPU saved %": saved.figures["saved_cpu_percent"],
        "wall saved %": saved.figures["saved_wall_percent"],
        "feasible": int(lost["feasible"]),
        "stopped": int(lost["feasible_stopped"]),
        "val regret": float(lost["val_lost"]),
        "test regret": float(lost["test_lost"]),
    }


def study(params, store, client):
    """Run one study to its end; one with limits may end without a model that meets them."""
    line = [sys.executable, "-m", "entrypoints.tune"]
    line += [part for name, value in params.items() for part in (f"--{name}", value)]
    env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=store, env=env, capture_output=True, text=True)
    if done.returncode and "no trial that ran to its end meets" not in done.stderr:
        raise click.ClickException(f"{' '.join(line)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    (newest,) = client.search_runs(["0"], "tags.`sysmetrics.kind` = 'study'", max_results=1)
    return newest


def _between(frame, metric):
    """A limit in the middle: between the batch sizes that lie on either side of half of all trials.

    Within one trials differ by noise alone, and a limit there would part equal ones.
    """
    trials = frame.complete
    names = [name for name in ("algorithm", "batch_size", "hidden_layer_sizes") if name in frame.hyperparameters]
    costs = sorted((own[metric].median(), len(own)) for _, own in trials.groupby(names))
    below = list(accumulate(count for _, count in costs))
    i = min(range(len(costs) - 1), key=lambda each: abs(below[each] - len(trials) / 2))
    return math.sqrt(costs[i][0] * costs[i + 1][0])


if __name__ == "__main__":
    main()
