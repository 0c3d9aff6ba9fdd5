"""What limits on costs save, and what they lose, against the full study and against other rules.

    python benchmarks/early_stop.py red_wine [--seeds 1] [--file mnist.parquet] [--defaults]

For each seed it runs three studies of one scenario: `tune`, then `early_stop` with predictions off and on, limited to
a training time between those of its kinds of trial, so that about half of the grid is infeasible. It prints a table of
what each saved of the CPU and wall time, the regret of the chosen model, what the infeasible trials still cost, and how
many feasible ones were stopped; and the same of the controls, replayed from the full study's curves. With --defaults
the studies have the length and the limits that a user gets who says nothing, and predictions are on.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from statistics import fmean, median

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402

from entrypoints.limits.duration_forecast import kind  # noqa: E402
from entrypoints.limits.stop_or_skip import Stopping  # noqa: E402
from entrypoints.reporting.savings import rules  # noqa: E402
from entrypoints.reporting.savings.courses import read  # noqa: E402
from entrypoints.reporting.savings.replay import Course, Verdict  # noqa: E402
from entrypoints.reporting.studies import Study, study_of  # noqa: E402
from entrypoints.settings import DEFAULT_CRITERIA  # noqa: E402

EPOCHS = {"max_epochs": "5"}
SCENARIOS = {
    "red_wine": {"dataset": "red_wine", **EPOCHS},
    "diabetes": {"dataset": "diabetes", **EPOCHS},
    "mlp": {
        "dataset": "diabetes",
        "algorithm": "sklearn.neural_network.MLPClassifier",
        "space": json.dumps(
            {
                "batch_size": [16, 64],
                "hidden_layer_sizes": [[16], [128], [512, 512], [1024, 1024]],
                "learning_rate_init": [0.01, 0.001],
            }
        ),
        "folds": "3",
        "max_steps": "200",
    },
    "mnist": {
        "target": "class",
        "algorithm": "logistic",
        "space": "{batch_size: [64, 1024], learning_rate: [0.01, 0.001], alpha: 0.0001}",
        "folds": "3",
    },
    # Costs that differ by nothing but noise: no rule may stop anything.
    "equal": {"dataset": "red_wine", "space": "{batch_size: [16, 32, 64]}"},
}


@click.command(help=__doc__)
@click.argument("scenario", type=click.Choice(list(SCENARIOS)))
@click.option("--seeds", default=1, show_default=True, help="How many times, with different seeds.")
@click.option("--file", type=click.Path(exists=True, resolve_path=True), help="The table of the scenario mnist.")
@click.option("--limited", default="training_time_s", show_default=True, help="The metric that is limited.")
@click.option("--defaults", is_flag=True, help="The default length and limits, predictions on.")
def main(scenario: str, seeds: int, file: str | None, limited: str, defaults: bool) -> None:
    """Run the scenario and print its table."""
    params = dict(SCENARIOS[scenario]) | ({"dataset": file} if file else {})
    if defaults:
        params = {name: value for name, value in params.items() if name not in EPOCHS}
    with tempfile.TemporaryDirectory(prefix="early-stop-") as folder:
        store = Path(folder)
        mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
        rows: dict[str, list[Verdict]] = {}
        for seed in range(seeds):
            one_seed(params | {"seed": str(seed)}, store, "" if defaults else limited, rows)
    click.echo(f"\n{scenario}, {seeds} seeds: means over seeds; stops are sums; none left: no feasible trial was run")
    click.echo(
        f"{'rule':34} {'CPU saved':>9} {'wall':>6} {'inf. cost':>9} {'false':>5} {'border':>6} {'feasible':>8} "
        f"{'none left':>9} {'val regret':>10} {'test regret':>11}"
    )
    for rule, verdicts in rows.items():
        click.echo(
            f"{rule:34} {_mean(verdicts, 'saved_cpu'):9.1%} {_mean(verdicts, 'saved_wall'):6.1%} "
            f"{_mean(verdicts, 'infeasible_cost'):9.1%} {_sum(verdicts, 'false_stops'):5d} "
            f"{_sum(verdicts, 'borderline_stops'):6d} {_sum(verdicts, 'feasible'):8d} "
            f"{_none_left(verdicts):9.0%} {_mean(verdicts, 'val_regret'):10.5f} {_mean(verdicts, 'test_regret'):11.5f}"
        )


def one_seed(params: dict[str, str], store: Path, limited: str, rows: dict[str, list[Verdict]]) -> None:
    """Run the studies of one seed and add a verdict for each rule; by the default limits where no metric is named."""
    client = MlflowClient()
    full = rules.full_of(client, study("tune", params, store, client))
    assert full is not None
    text = f"{limited}<={_between(full.courses, limited):.4g}" if limited else DEFAULT_CRITERIA
    criteria = full.criteria(text)
    click.echo(f"seed {params['seed']}: {criteria}; {len(full.courses)} trials, search {full.search_s:.0f} s")

    def add(rule: str, verdict: Verdict) -> None:
        rows.setdefault(rule, []).append(verdict)

    for predict in ("off", "on") if limited else ("on",):
        run = study("early_stop", params | {"criteria": str(criteria), "predict": predict}, store, client)
        compared = rules.real(full, read(client, run.trials["run_id"]), criteria, run.run.data.metrics["search_time_s"])
        assert compared is not None
        add(f"early_stop predict={predict}, real", compared[1])
        replayed = rules.replayed(full, Stopping(criteria, predict == "on"))
        add(f"early_stop predict={predict}, replayed", replayed)
    for rule, verdict in rules.controls(full, criteria, 1 - replayed.saved_cpu).items():
        add(rule, verdict)


def study(entry: str, params: dict[str, str], store: Path, client: MlflowClient) -> Study:
    """Run one study to its end and read it; one with limits may end without a model that meets them."""
    line = [sys.executable, "-m", f"entrypoints.{entry}"]
    line += [part for name, value in params.items() for part in (f"--{name}", value)]
    env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=store, env=env, capture_output=True, text=True, check=False)
    if done.returncode and "no trial meets them" not in done.stderr:
        raise click.ClickException(f"{' '.join(line)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    (newest,) = client.search_runs(["0"], "tags.`sysmetrics.kind` = 'study'", max_results=1)
    return study_of(client, newest)


def _between(courses: Sequence[Course], metric: str) -> float:
    """A limit in the middle: between the kinds of trial that lie on either side of half of all trials.

    Within a kind trials differ by noise alone, and a limit there would part equal ones.
    """
    by_kind: dict[tuple[str, int], list[float]] = {}
    for course in courses:
        by_kind.setdefault(kind(course.configuration), []).append(course.figures[metric])
    costs = sorted((median(values), len(values)) for values in by_kind.values())
    below = list(accumulate(count for _, count in costs))
    place = min(range(len(costs) - 1), key=lambda each: abs(below[each] - len(courses) / 2))
    return math.sqrt(costs[place][0] * costs[place + 1][0])


def _mean(verdicts: Sequence[Verdict], name: str) -> float:
    """Of those that left a feasible trial: without one there is no regret to speak of."""
    values = [value for verdict in verdicts if math.isfinite(value := getattr(verdict, name))]
    return fmean(values) if values else math.nan


def _none_left(verdicts: Sequence[Verdict]) -> float:
    return fmean(math.isinf(verdict.val_regret) for verdict in verdicts)


def _sum(verdicts: Sequence[Verdict], name: str) -> int:
    return sum(getattr(verdict, name) for verdict in verdicts)


if __name__ == "__main__":
    main()
