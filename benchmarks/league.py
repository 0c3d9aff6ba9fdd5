"""Ours beside what else one would type, on tables that neither has seen: score on new rows, CPU, and served latency.

    python benchmarks/league.py [--quick] [--table prices] [--splits 3] [--environments FOLDER]

Opponents: a forest and HistGradientBoosting with their defaults in pipelines of scikit-learn, and FLAML with 60 s.
Ours: `tune` with nothing but the table and its target; with `time_limit_s=60`; and with `limits="served_p95_ms<=20"`.
Each gets the same training rows as a CSV file, and its logged model predicts the rest, none of which is a copy of a
training row: who memorises rows would win by those. Opponents run in environments of their own, which uv makes once.

Score: RMSE, error rate or log loss, less is better, mean over the splits. Behind: the difference to the best opponent,
in standard errors of that paired difference. CPU: of the command with all processes below it. p95: by
`mlflow-sysmetrics served` on the unseen rows; `~`: the machine was busy. Of made tables the last line is the score of
the signal that they were drawn from. A side that fails is named with its error.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import click  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from league_tables import ERROR_RATE, LOG_LOSS, RMSE, TABLES, TARGET, quick  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

from mlflow_sysmetrics import measure  # noqa: E402

SIDE = ROOT / "benchmarks" / "league_side.py"
OURS = ("ours", "ours in time", "ours limited")
OPPONENTS = {"forest": "scikit-learn", "boosting": "scikit-learn", "FLAML": "flaml"}  # and their environments
REQUIREMENTS = {
    "scikit-learn": ["scikit-learn>=1.7,<2", "pandas", "mlflow>=3.17,<4"],
    "flaml": ["flaml[automl]==2.8.0", "lightgbm", "scikit-learn>=1.7,<2", "pandas", "mlflow>=3.17,<4"],
}
HELD_OUT = 0.3
LIMIT_MS = 20
METRICS = {LOG_LOSS: "neg_log_loss"}  # others are what `tune` takes by itself
Losses = NDArray[np.float64]


@dataclass(frozen=True)
class Played:
    """What one side has done with one split. `losses`: a number for each unseen row, whose mean is the score."""

    losses: Losses
    cpu_s: float
    p95_ms: float
    is_busy: bool


@click.command(help=__doc__)
@click.option("--quick", "is_quick", is_flag=True, help="One small table, one split, and 5 s in place of 60.")
@click.option("--table", "names", multiple=True, type=click.Choice([made.__name__ for made in TABLES]))
@click.option("--splits", default=3, show_default=True, help="Of each table.")
@click.option("--seconds", default=60, show_default=True, help="FLAML's, and ours in time.")
@click.option(
    "--environments",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(tempfile.gettempdir()) / "league-environments",
    show_default=True,
    help="Where those of the opponents are, or are made.",
)
def main(is_quick, names, splits, seconds, environments):
    """Play all sides on all tables, and print one table."""
    made = [make for make in TABLES if not names or make.__name__ in names]
    if is_quick:
        made, splits, seconds = [quick], 1, 5
    pythons = {name: _environment(environments / name, needed) for name, needed in REQUIREMENTS.items()}
    click.echo(f"{'table':14} {'side':13} {'score':>9} {'behind':>7} {'CPU s':>7} {'p95 ms':>7}  <= {LIMIT_MS} ms")
    met = 0
    for make in made:
        met += _played(make(), splits, seconds, pythons)
    click.echo(f"ours: within one standard error of the best opponent, or better, on {met} of {len(made)} tables")


def _environment(folder, requirements):
    """The Python of an environment with these and the plugin, which is made where it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        click.echo(f"making {folder}", err=True)
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", str(python), "--editable", str(ROOT)]
        subprocess.run([*install, *requirements], check=True)
    return str(python)


def _played(table, splits, seconds, pythons):
    """Print the lines of one table; return whether ours by default is no worse than the best opponent."""
    sides = (*OPPONENTS, *OURS)
    played = {side: [] for side in sides}
    truth = []
    failed = {}
    for split in range(splits):
        train, test = split_up(table, split)
        for side in sides:
            if side in failed:
                continue
            with tempfile.TemporaryDirectory(prefix="league-") as folder:
                game = _Game(table, train, test, seconds, Path(folder))
                python = sys.executable if side in OURS else pythons[OPPONENTS[side]]
                try:
                    played[side].append(game.play(side, python))
                except SideError as error:
                    failed[side] = str(error)
            click.echo(f"{table.name}, split {split}: {side} is done", err=True)
        if table.truth is not None:
            truth.append(losses(table, test, _of_signal(table)[test]).mean())
    done = {side: own for side, own in played.items() if side not in failed}
    scores = {side: np.mean([each.losses.mean() for each in own]) for side, own in done.items()}
    best = min((side for side in done if side in OPPONENTS), key=scores.__getitem__)
    behind = {side: _behind(own, played[best]) for side, own in done.items()}
    for side in sides:
        if side in failed:
            click.echo(f"{table.name:14} {side:13} failed: {failed[side]}")
        else:
            _show(table.name, side, played[side], behind[side])
    if truth:
        click.echo(f"{table.name:14} {'the signal':13} {np.mean(truth):9.4g}")
    return behind.get("ours", np.inf) <= 1


def _behind(own, other):
    """How much worse one side is than another, in standard errors of their difference on the same rows."""
    differences = [one.losses - two.losses for one, two in zip(own, other, strict=True)]
    errors = [each.std(ddof=1) / np.sqrt(len(each)) for each in differences]
    mean = np.mean([each.mean() for each in differences])
    return mean / max(np.mean(errors), 1e-12)


def _show(name, side, played, behind):
    score, cpu_s, p95_ms = np.mean([[each.losses.mean(), each.cpu_s, each.p95_ms] for each in played], axis=0)
    met = "yes" if all(each.p95_ms <= LIMIT_MS for each in played) else "NO"
    busy = "~" if any(each.is_busy for each in played) else " "
    click.echo(f"{name:14} {side:13} {score:9.4g} {behind:7.1f} {cpu_s:7.0f} {p95_ms:7.1f}{busy} {met}")


def split_up(table, seed):
    """Rows to train on and rows to predict; copies of a row are on one side."""
    contents = pd.util.hash_pandas_object(table.rows, index=False).to_numpy()
    different, first = np.unique(contents, return_index=True)
    classes = None if table.score == RMSE else table.rows[TARGET].to_numpy()[first]
    _, held_out = train_test_split(different, test_size=HELD_OUT, random_state=seed, stratify=classes)
    is_test = np.isin(contents, held_out)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _of_signal(table):
    """What the best possible model predicts, as a model of this score does."""
    if table.score != ERROR_RATE:
        return table.truth
    (other,) = set(table.rows[TARGET]) - {table.positive}
    return np.where(table.truth > 0.5, table.positive, other)


def losses(table, test, predicted):
    """A number for each row, whose mean is the score; of RMSE by its first derivative."""
    y, predicted = table.rows[TARGET].to_numpy()[test], np.asarray(predicted)
    if table.score == ERROR_RATE:
        return (predicted.astype(str) != y.astype(str)).astype(float)
    if table.score == LOG_LOSS:
        of_own = np.where(y == table.positive, predicted, 1 - predicted)
        return -np.log(np.clip(of_own, 1e-6, 1))
    squared = (predicted - y) ** 2
    rmse = np.sqrt(squared.mean())
    return squared / (2 * rmse) + rmse / 2


class SideError(Exception):
    """A side has no model, or one that does not predict."""


class _Game:
    """One side on one split of a table, in a folder with a store of its own."""

    def __init__(self, table, train, test, seconds, folder):
        self.table, self.test, self.seconds, self.folder = table, test, seconds, folder
        self.store = f"sqlite:///{folder / 'mlflow.db'}"
        self.env = os.environ | {"MLFLOW_TRACKING_URI": self.store, "PYTHONPATH": str(ROOT)}
        for name, rows in (("train", train), ("test", test)):
            table.rows.iloc[rows].to_csv(folder / f"{name}.csv", index=False)

    def play(self, side, python):
        """Train, predict, and serve."""
        with measure() as measured:
            model = self._ours(side, python) if side in OURS else self._opponent(side, python)
        self._run([python, str(SIDE), "predict", self._job(kind="ours" if side in OURS else side, model=model)])
        predicted = json.loads((self.folder / "predicted.json").read_text())
        p95_ms, is_busy = self._served(model, python)
        return Played(losses(self.table, self.test, predicted), measured.summary["cpu_seconds"], p95_ms, is_busy)

    def _ours(self, side, python):
        """The address of the model of a study."""
        line = [python, "-m", "entrypoints.tune", "--dataset", str(self.folder / "train.csv"), "--target", TARGET]
        if self.table.score in METRICS:
            line += ["--metric", METRICS[self.table.score]]
        options = {OURS[1]: ["--time_limit_s", str(self.seconds)], OURS[2]: ["--limits", f"served_p95_ms<={LIMIT_MS}"]}
        line += options.get(side, [])
        self._run(line)
        (study,) = MlflowClient(self.store).search_runs(["0"], "tags.`sysmetrics.kind` = 'study'")
        return f"models:/{study.outputs.model_outputs[0].model_id}"

    def _opponent(self, side, python):
        return self._run([python, str(SIDE), "train", side, self._job()]).strip().splitlines()[-1]

    def _served(self, model, python):
        """The 95th percentile of answers, infinite where too few came to tell, and whether the machine was busy."""
        command = str(Path(python).parent / "mlflow-sysmetrics")
        said = self._run([command, "served", model, "--data", str(self.folder / "test.csv")])
        found = re.search(r"served_p95_ms +([\d.]+)", said)
        return float(found[1]) if found else float("inf"), "The machine was busy" in said

    def _job(self, **about):
        """What `league_side.py` has to know, as a file."""
        features = self.table.rows.drop(columns=[TARGET, *self.table.dates])
        job = {
            "train": str(self.folder / "train.csv"),
            "test": str(self.folder / "test.csv"),
            "predicted": str(self.folder / "predicted.json"),
            "store": self.store,
            "target": TARGET,
            "score": self.table.score,
            "positive": self.table.positive,
            "dates": list(self.table.dates),
            "texts": [name for name in features if not pd.api.types.is_numeric_dtype(features[name])],
            "seconds": self.seconds,
        }
        file = self.folder / "job.json"
        file.write_text(json.dumps(job | about))
        return str(file)

    def _run(self, line):
        """What a command prints. SideError: with the last line of its errors."""
        done = subprocess.run(line, cwd=self.folder, env=self.env, capture_output=True, text=True)
        if done.returncode:
            raise SideError((done.stderr or done.stdout).strip().splitlines()[-1])
        return done.stdout


if __name__ == "__main__":
    main()
