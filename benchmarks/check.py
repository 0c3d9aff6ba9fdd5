"""How often does `mlflow-sysmetrics check` cry wolf, and what does it find?

    python benchmarks/check.py [--runs runs.json] [--checks 2000] [--quick]

Runs three programs (scikit-learn, pandas, numpy; about a second each) sixty times in pairs at once, and keeps the costs
in a file, which a later call takes as it is. Checks of programs that do not differ are resampled from stretches of ten
pairs in their order, with a coin for who is the candidate; a change is put in by adding it to the candidate's. Run it
on a machine that is as busy as yours.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import click
import mlflow
import numpy as np

from mlflow_gate.check.contest import with_tolerances
from mlflow_gate.check.programs import Program, Programs
from mlflow_gate.check.verdict import CPU, LOOKS, MEMORY, PEAK_RSS, judge
from mlflow_sysmetrics.delivery import RunRef

PROGRAMS = {
    "scikit-learn": """
from sklearn.datasets import make_classification
from sklearn.linear_model import SGDClassifier
X, y = make_classification(4000, 20, random_state=0)
for seed in range(25):
    SGDClassifier(random_state=seed).fit(X, y)
""",
    "pandas": """
import numpy as np, pandas as pd
random = np.random.default_rng(0)
frame = pd.DataFrame({"key": random.integers(0, 500, 400_000), "value": random.random(400_000)})
for _ in range(25):
    frame.groupby("key").value.agg(["mean", "median"])
""",
    "numpy": """
import numpy as np
random = np.random.default_rng(0)
for _ in range(25):
    np.sort(random.random(600_000))
""",
}
COSTS = with_tolerances([CPU, PEAK_RSS, MEMORY], "")
PAIRS = LOOKS[-1]
CHANGES = (0.05, 0.1, 0.2)  # of CPU time


def collect(pairs):
    """The costs of each program, by pair, side and cost."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/runs.db"
        parent = RunRef(uri, "0", mlflow.MlflowClient(uri).create_run("0").info.run_id)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        for name, code in PROGRAMS.items():
            command = [sys.executable, "-c", code]
            sides = [Program(side, command, Path(folder), environment) for side in ("baseline", "candidate")]
            programs = Programs(sides, why_in_turn="")
            programs.run(parent, 0)
            found[name] = []
            for pair in range(1, pairs + 1):
                used = programs.run(parent, pair)
                found[name].append([[costs[cost.name] for cost in COSTS] for costs in used])
    return found


def resampled(pairs, random):
    """A check of a program with itself: the costs of both sides, by cost and pair."""
    begin = random.integers(0, len(pairs) - PAIRS + 1)
    stretch = np.array(pairs[begin : begin + PAIRS])
    coin = random.random(PAIRS) < 0.5
    stretch[coin] = stretch[coin][:, ::-1]
    return stretch[:, 0].T, stretch[:, 1].T


def decided(baseline, candidate):
    """What the check says at its end, and after how many pairs."""
    for pairs in LOOKS:
        judged = [judge(*values) for values in zip(COSTS, baseline[:, :pairs], candidate[:, :pairs], strict=True)]
        verdicts = {finding.verdict for finding in judged}
        if "worse" in verdicts or "cannot be judged" not in verdicts:
            break
    return judged, pairs


def cpu_verdicts(checks, by):
    """What is said of the CPU time of candidates that take more of it."""
    verdicts = []
    for baseline, candidate in checks:
        more = candidate * np.array([[1 + by], [1], [1]])
        verdicts.append(decided(baseline, more)[0][0].verdict)
    return np.array(verdicts)


@click.command(help=__doc__)
@click.option("--runs", "file", type=click.Path(path_type=Path), default=Path("runs.json"), show_default=True)
@click.option("--checks", "count", default=2000, show_default=True, help="Of each program.")
@click.option("--quick", is_flag=True, help="Ten pairs of runs, 20 checks, and no file.")
def main(file, count, quick):
    if quick:
        runs, count = collect(PAIRS), 20
    else:
        if not file.exists():
            file.write_text(json.dumps(collect(30)))
        runs = json.loads(file.read_text())
    random = np.random.default_rng(7)
    click.echo(f"{'program':14}{'noise':>7}{'pairs':>7}{'false alarms':>14}  found +5 %, +10 %, +20 % of CPU")
    for name, pairs in runs.items():
        checks = [resampled(pairs, random) for _ in range(count)]
        results = [decided(*check) for check in checks]
        alarms = np.mean([any(finding.verdict == "worse" for finding in judged) for judged, _ in results])
        noise = np.median([judged[0].noise for judged, _ in results])
        mean_pairs = np.mean([pairs for _, pairs in results])
        verdicts = [cpu_verdicts(checks[: count // 8 + 1], by) for by in CHANGES]
        found = ", ".join(f"{np.mean(each == 'worse'):.0%}" for each in verdicts)
        click.echo(f"{name:14}{noise:6.1f}%{mean_pairs:7.1f}{alarms:14.2%}  {found}")


if __name__ == "__main__":
    main()
