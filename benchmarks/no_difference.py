"""A/A: studies of trials that cannot differ, and what is found in them all the same.

    python benchmarks/no_difference.py [--studies 20]

Each study tries 24 configurations of an estimator whose three hyperparameters do nothing: it works as long for each of
them, learns nothing, and errs at random. So every effect, trend, cheaper neighbour of the best, difference,
effect of the order and end of a range that the study or its report tells is false, and its Pareto front should be one
model. What is told is counted in the texts that a user reads. All studies run in one process and one Ray, so that
twenty take minutes.

Use a machine that does nothing else: where its load changes, costs do change over the order, and that is told.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from entrypoints import environment  # noqa: E402

environment.set_defaults()  # libraries read it when they are imported

import click  # noqa: E402
import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402

from entrypoints.options import study_options  # noqa: E402
from entrypoints.reporting.one_study.answers import description  # noqa: E402
from entrypoints.reporting.one_study.questions import findings  # noqa: E402
from entrypoints.reporting.selection import by_ids  # noqa: E402
from entrypoints.runs import recorded_run  # noqa: E402
from entrypoints.search.plan import planned  # noqa: E402
from entrypoints.search.study import run_study  # noqa: E402
from entrypoints.settings import StudySettings  # noqa: E402

MODULE, ALGORITHM = "no_difference_model", "no_difference_model.Nothing"
ESTIMATOR = '''
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class Nothing(RegressorMixin, BaseEstimator):
    """Works, and learns nothing: it predicts the mean with an error that is its own."""

    def __init__(self, first=0, second=0, third="a"):
        self.first, self.second, self.third = first, second, third

    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        if not hasattr(self, "coef_"):
            self.coef_ = np.random.default_rng().normal(scale=0.05, size=X.shape[1])
            self.work_ = np.ones((60, 60))
        for _ in range(10):
            self.work_ @ self.work_
        return self

    def predict(self, X):
        return X @ self.coef_
'''
STUDY = {
    "algorithm": ALGORITHM,
    "space": json.dumps({"batch_size": 16, "first": [1, 2, 3, 4], "second": [1, 2, 3], "third": ["a", "b"]}),
    "folds": "4",
    "max_steps": "320",
    "report_every": "40",
}
KINDS = ("effects", "interactions", "trends", "neighbours", "differences", "order", "ends of a range")
TOLD = (
    " rises by ",
    " falls by ",
    "jumps to",
    "As good within",
    "choose the cheapest",
    "order of the trials",
    "that was tried",
)


@dataclass(frozen=True)
class Said:
    """What a study's description and its report's say, the models on each front, the trials, the seconds it took."""

    study: str
    report: str
    fronts: list[int]
    trials: float
    seconds: float


@click.command(help=__doc__)
@click.option("--studies", default=20, show_default=True, help="How many.")
def main(studies: int) -> None:
    """Run the studies and print the table."""
    found, fronts = Counter[str](), Counter[int]()
    with tempfile.TemporaryDirectory(prefix="no-difference-") as folder:
        for seed, said in enumerate(_studies(Path(folder), studies)):
            if not seed:
                click.echo(f"\n{'study':>5} {'trials':>6}  {'  '.join(KINDS)}  models on each front  seconds")
            told = count(said.study, said.report)
            found.update(told)
            fronts.update(said.fronts)
            counts = "  ".join(f"{told[kind]:{len(kind)}d}" for kind in KINDS)
            sizes = " ".join(map(str, said.fronts))
            for line in (said.study + said.report).splitlines() if told.total() else []:
                if any(words in line for words in TOLD):
                    click.echo(f"      {line}", err=True)
            click.echo(f"{seed:5d} {said.trials:6.0f}  {counts}  {sizes:>20}  {said.seconds:7.0f}", err=True)
    click.echo(f"\n{found.total()} findings in {studies} studies in which nothing differs: {dict(found) or 'none'}")
    click.echo(f"{fronts.total()} fronts, by their number of models: {dict(sorted(fronts.items()))}")


def _studies(folder: Path, number: int) -> Iterator[Said]:
    """Run this number of studies, each with a report, in a store of their own."""
    (folder / f"{MODULE}.py").write_text(ESTIMATOR)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id=MlflowClient().create_experiment("A/A", (folder / "artifacts").as_uri()))
    plans = [planned(_settings(seed), folder=folder) for seed in range(number)]
    with plans[0].place as place:
        for plan in plans:
            began = time.monotonic()
            with recorded_run("study", "A/A", {}) as run:
                run_study(run, replace(plan, place=place))
            studies = by_ids(run.client, [run.run_id])
            found = findings(run.client, studies)
            report = description(run.experiment_id, run.run_id, studies, found)
            data = run.client.get_run(run.run_id).data
            fronts = list(Counter(row["cost"] for row in found.rows("pareto")).values())
            note, trials = data.tags["mlflow.note.content"], data.metrics["trials"]
            yield Said(note, report, fronts, trials, time.monotonic() - began)


def _settings(seed: int) -> StudySettings:
    """Those of a command with these options."""

    @click.command()
    @study_options
    def command(**values: object) -> None: ...

    given = [part for name, value in {**STUDY, "seed": str(seed)}.items() for part in (f"--{name}", value)]
    return StudySettings(**command.make_context("command", given).params)


def count(study: str, report: str) -> Counter[str]:
    """What a study's description and its report's say, counted by kind."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in report.splitlines() if line[:1] == "|"]
    while_training = report.partition("**During training**")[2].partition("\n")[0]
    told = Counter[str]()
    in_table = [row for row in rows if len(row) == 6 and row[0] != "metric" and "---" not in row[0]]
    hyperparameters = report.partition("**Hyperparameters**")[2].partition("\n")[0]
    told["effects"] = max(len(in_table), hyperparameters.count(" -> "))
    told["interactions"] = report.count(", where each alone makes ")
    told["trends"] = sum(while_training.count(words) for words in (" rises by ", " falls by ", " at batch size "))
    told["trends"] += report.count("jumps to another level")
    told["neighbours"] = report.count("As good within noise") + report.count("The next better one, ")
    told["neighbours"] += study.count("choose the cheapest of them, such as")
    told["differences"] = sum(int(each) for each in re.findall(r"differs from \*\*(\d+)\*\*", report))
    order = study.partition("Over the order of the trials")[2].partition(": compare")[0]
    told["order"] = order.count(" rises by ") + order.count(" falls by ")  # the report repeats it
    told["ends of a range"] = len(re.findall(r"is the (?:smallest|largest) that was tried", study))
    return told


if __name__ == "__main__":
    main()
