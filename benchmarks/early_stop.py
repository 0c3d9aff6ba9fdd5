"""What limits on costs save, and what they lose, against the full study and against other rules.

    python benchmarks/early_stop.py red_wine [--seeds 1] [--file mnist.parquet]

For each seed it runs three studies of one scenario: `tune`, then `early_stop` with predictions off and on, limited to
a training time between those of its kinds of trial, so that about half of the grid is infeasible. It prints a table of
what each saved of the CPU and wall time, the regret of the chosen model, what the infeasible trials still cost, and how
many feasible ones were stopped; and the same of the controls, replayed from the full study's curves.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from statistics import fmean, median

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Run  # noqa: E402

from entrypoints import costs, replay  # noqa: E402
from entrypoints.budget import key, spent, total  # noqa: E402
from entrypoints.configuration import Configuration  # noqa: E402
from entrypoints.courses import read  # noqa: E402
from entrypoints.forecast import Kind, kind  # noqa: E402
from entrypoints.replay import Course, Verdict  # noqa: E402
from entrypoints.stopping import Stopping  # noqa: E402
from mlflow_sysmetrics.criteria import Criteria, Figures  # noqa: E402

EPOCHS = {"max_epochs": "5", "max_steps": "0"}
SCENARIOS = {
    "red_wine": {"dataset": "red_wine", **EPOCHS},
    "diabetes": {"dataset": "diabetes", **EPOCHS},
    "mlp": {
        "dataset": "diabetes",
        "algorithm": "sklearn.neural_network.MLPClassifier",
        "grid": json.dumps(
            {"hidden_layer_sizes": [[16], [128], [512, 512], [1024, 1024]], "learning_rate_init": [0.01, 0.001]}
        ),
        "batch_sizes": "16,64",
        "folds": "3",
        "max_steps": "200",
    },
    "mnist": {
        "target": "class",
        "algorithm": "logistic",
        "batch_sizes": "64,1024",
        "learning_rates": "0.01,0.001",
        "alphas": "0.0001",
        "folds": "3",
    },
    # Costs that differ by nothing but noise: no rule may stop anything.
    "equal": {"dataset": "red_wine", "batch_sizes": "16,32,64"},
}
CONTROL_SEEDS = 200


@click.command(help=__doc__)
@click.argument("scenario", type=click.Choice(list(SCENARIOS)))
@click.option("--seeds", default=1, show_default=True, help="How many times, with different seeds.")
@click.option("--file", type=click.Path(exists=True, resolve_path=True), help="The table of the scenario mnist.")
@click.option("--limited", default="training_time_s", show_default=True, help="The metric that is limited.")
def main(scenario: str, seeds: int, file: str | None, limited: str) -> None:
    """Run the scenario and print its table."""
    params = dict(SCENARIOS[scenario]) | ({"dataset": file} if file else {})
    with tempfile.TemporaryDirectory(prefix="early-stop-") as folder:
        store = Path(folder)
        mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
        rows: dict[str, list[Verdict]] = {}
        for seed in range(seeds):
            one_seed(params | {"seed": str(seed)}, store, limited, rows)
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
    """Run the three studies of one seed and add a verdict for each rule."""
    client = MlflowClient()
    full = study("tune", params, store, client)
    courses = read(client, full)
    regression = "val_rmse" in courses[0].figures
    task, score = ("regression", "rmse") if regression else ("classification", "accuracy")
    text = f"{limited}<={_between(courses, limited):.4g}"
    criteria = Criteria.parse(text, costs.metrics(task))
    figures = full.data.metrics
    click.echo(
        f"seed {params['seed']}: {text}; {len(courses)} trials, search {figures['search_time_s']:.0f} s, "
        f"forecast off by {figures['forecast_error_percent']:+.0f} %"
    )

    def add(rule: str, stops: Sequence[int | None], **measured: float) -> Verdict:
        verdict = replay.verdict(courses, stops, criteria, score, higher_is_better=not regression)
        rows.setdefault(rule, []).append(replace(verdict, **measured))
        return rows[rule][-1]

    for predict in ("off", "on"):
        run = study("early_stop", params | {"criteria": text, "predict": predict}, store, client)
        own = {key(course.configuration.searched): course for course in read(client, run)}
        mine = [own[key(course.configuration.searched)] for course in courses]
        infeasible = [place for place, course in enumerate(courses) if criteria.violations(course.figures)]
        add(
            f"early_stop predict={predict}, real",
            [course.stopped_at for course in mine],
            saved_cpu=1 - _cpu_s(mine) / _cpu_s(courses),
            saved_wall=1 - run.data.metrics["search_time_s"] / figures["search_time_s"],
            infeasible_cost=_cpu_s([mine[place] for place in infeasible])
            / _cpu_s([courses[place] for place in infeasible]),
        )
        stopping = Stopping(criteria, predict == "on")
        stops = replay.by_criteria(courses, stopping, _rows(client, full), _observed(courses))
        replayed = add(f"early_stop predict={predict}, replayed", stops)
    add("first report only", replay.by_first_report(courses))
    add("median rule", replay.by_median(courses))
    add("ASHA", replay.by_asha(courses, min(min(course.reports) for course in courses)))
    for seed in range(CONTROL_SEEDS):
        add("random, equal cost", replay.at_random(courses, 1 - replayed.saved_cpu, seed))


def study(entry: str, params: dict[str, str], store: Path, client: MlflowClient) -> Run:
    """Run one study to its end and return its run; one with limits may end without a model that meets them."""
    line = [sys.executable, "-m", f"entrypoints.{entry}"]
    line += [part for name, value in params.items() for part in (f"--{name}", value)]
    env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=store, env=env, capture_output=True, text=True, check=False)
    if done.returncode and "no trial meets them" not in done.stderr:
        raise click.ClickException(f"{' '.join(line)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return client.search_runs(["0"], "tags.`sysmetrics.kind` = 'study'", max_results=1)[0]


def _between(courses: Sequence[Course], metric: str) -> float:
    """A limit in the middle: between the kinds of trial that lie on either side of half of all trials.

    Within a kind trials differ by noise alone, and a limit there would part equal ones.
    """
    by_kind: dict[Kind, list[float]] = {}
    for course in courses:
        by_kind.setdefault(kind(course.configuration), []).append(course.figures[metric])
    costs = sorted((median(values), len(values)) for values in by_kind.values())
    below = list(accumulate(count for _, count in costs))
    place = min(range(len(costs) - 1), key=lambda each: abs(below[each] - len(courses) / 2))
    return math.sqrt(costs[place][0] * costs[place + 1][0])


def _cpu_s(courses: Sequence[Course]) -> float:
    return total(spent(course.figures) for course in courses).cpu_s


def _observed(courses: Sequence[Course]) -> list[tuple[Configuration, Figures]]:
    """What a forecast would have seen: one trial of each kind."""
    first = {kind(course.configuration): course for course in reversed(courses)}
    times = ("mean_step_time_ms", "training_time_s", "elapsed_s")
    return [(each.configuration, {name: each.figures[name] for name in times}) for each in first.values()]


def _rows(client: MlflowClient, full: Run) -> int:
    """The training rows of a fold."""
    prepare = client.get_run(full.data.tags["sysmetrics.prepare_run_id"])
    rows = int(prepare.data.metrics["train_rows"])
    return rows - rows // int(prepare.data.params["folds"])


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
