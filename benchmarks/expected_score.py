"""Studies of tables that are drawn anew: how often an interval of the expected score holds the true one, and its width.

    python benchmarks/expected_score.py [--studies 100] [--seed 1] [--only TEXT] [--rules best] [--csv FILE]

Each study draws a table of one of the populations below, splits it as a study does, fits a grid of configurations to
the folds, chooses by the product's own rule, and refits. What is then said is compared with the score of the refit, or
the difference to that of the library's defaults, on 20,000 rows that are drawn anew for each study. Per population,
score and rule (best and cheapest):

- A: coverage of the interval of the test part alone (jackknife);
- C: of that of the expected score, and its width beside that of A;
- luck: how much better the chosen one's validation score is than the true one, in standard deviations over studies, as
  it is and as the left-out folds have it;
- D: coverage of the gain over the defaults, and the share of studies that claim a gain or a loss where there is none.

Two CPU seconds a study.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from entrypoints import environment  # noqa: E402

environment.set_defaults()  # libraries read it when they are imported

import click  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from made_up_frames import study  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import stats  # noqa: E402
from sklearn.model_selection import (  # noqa: E402
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    train_test_split,
)
from sklearn.neighbors import NearestNeighbors  # noqa: E402
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: E402

from entrypoints.models.jackknife import Estimate, blocks_of, jackknife  # noqa: E402
from entrypoints.reporting.questions import decision, effects  # noqa: E402
from entrypoints.reporting.questions.expected_score import left_out, together  # noqa: E402

Array = NDArray[Any]
Random = np.random.Generator
TRUE_ROWS = 20_000
COST = "training_time_s"


# --- scores: of outputs (rows, configurations), predictions or the probability of class 1 -----------------------------
def _rmse(y: Array, out: Array) -> Array:
    return np.sqrt(((out - y[:, None]) ** 2).mean(axis=0))


def _mae(y: Array, out: Array) -> Array:
    return np.abs(out - y[:, None]).mean(axis=0)


def _r2(y: Array, out: Array) -> Array:
    return 1 - ((out - y[:, None]) ** 2).mean(axis=0) / y.var()


def _accuracy(y: Array, out: Array) -> Array:
    return ((out > 0.5) == (y[:, None] == 1)).mean(axis=0)


def _log_loss(y: Array, out: Array) -> Array:
    of_true = np.where(y[:, None] == 1, out, 1 - out)
    return -np.log(np.clip(of_true, 1e-15, 1)).mean(axis=0)


def _roc_auc(y: Array, out: Array) -> Array:
    positive = int((y == 1).sum())
    sums = stats.rankdata(out, axis=0)[y == 1].sum(axis=0)
    return (sums - positive * (positive + 1) / 2) / (positive * (len(y) - positive))


def _average_precision(y: Array, out: Array) -> Array:
    hits = (y == 1)[np.argsort(-out, axis=0, kind="stable")]
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(y) + 1)[:, None]
    return (precision * hits).sum(axis=0) / hits.sum(axis=0)


def _f1(y: Array, out: Array) -> Array:
    said, true = out > 0.5, (y == 1)[:, None]
    both = said.sum(axis=0) + true.sum()
    return 2 * (said & true).sum(axis=0) / np.maximum(both, 1)


SCORES: dict[str, tuple[Callable[[Array, Array], Array], bool]] = {  # and whether a higher one is better
    "rmse": (_rmse, False),
    "mean_absolute_error": (_mae, False),
    "r2": (_r2, True),
    "accuracy": (_accuracy, True),
    "log_loss": (_log_loss, False),
    "roc_auc": (_roc_auc, True),
    "average_precision": (_average_precision, True),
    "f1": (_f1, True),
}


# --- grids: outputs on other rows of each configuration, the library's defaults last ---------------------------------
def ridge(X: Array, y: Array, others: Sequence[Array], seed: int) -> list[Array]:
    """Ridge regression on 20 random halves of the columns with 3 penalties; all columns and 1."""
    columns, halves = X.shape[1], np.random.default_rng(seed)
    mean, sd = X.mean(axis=0), X.std(axis=0)
    A, b = (X - mean) / sd, y - y.mean()
    choices = [np.sort(halves.choice(columns, columns // 2, replace=False)) for _ in range(20)]
    of_all = [(chosen, penalty) for chosen in choices for penalty in (0.1, 10.0, 100.0)] + [(np.arange(columns), 1.0)]
    weights = np.zeros((columns, len(of_all)))
    for place, (chosen, penalty) in enumerate(of_all):
        part = A[:, chosen]
        weights[chosen, place] = np.linalg.solve(part.T @ part + penalty * np.eye(len(chosen)), part.T @ b)
    return [(other - mean) / sd @ weights + y.mean() for other in others]


def neighbours(X: Array, y: Array, others: Sequence[Array], seed: int) -> list[Array]:
    """The mean of the k nearest rows: 15 numbers of them, in all columns and in the first half; 5 in all."""
    numbers = [1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 65]
    mean, sd = X.mean(axis=0), X.std(axis=0)

    def means(other: Array, columns: int) -> Array:
        near = NearestNeighbors(n_neighbors=max(numbers)).fit(((X - mean) / sd)[:, :columns])
        nearest = near.kneighbors(((other - mean) / sd)[:, :columns], return_distance=False)
        of_all: Array = np.cumsum(y[nearest], axis=1) / np.arange(1, max(numbers) + 1)
        return of_all

    places, columns = [number - 1 for number in numbers], X.shape[1]
    found = []
    for other in others:
        in_all, in_half = means(other, columns), means(other, columns // 2)
        found.append(np.hstack([in_all[:, places], in_half[:, places], in_all[:, [4]]]))
    return found


def naive_bayes(X: Array, y: Array, others: Sequence[Array], seed: int) -> list[Array]:
    """Gaussian naive Bayes on 40 random halves of the columns; all of them."""
    columns, halves = X.shape[1], np.random.default_rng(seed)
    masks = np.array([halves.permutation(columns) < columns // 2 for _ in range(40)] + [np.ones(columns, bool)])
    prior = np.log(y.mean() / (1 - y.mean()))
    parts = [(X[y == label].mean(axis=0), X[y == label].std(axis=0) + 1e-3) for label in (0, 1)]
    found = []
    for other in others:
        logs = [-np.log(sd) - ((other - mean) / sd) ** 2 / 2 for mean, sd in parts]
        raw = np.clip((logs[1] - logs[0]) @ masks.T + prior, -500, 500)
        found.append(1 / (1 + np.exp(-raw)))
    return found


def trees(X: Array, y: Array, others: Sequence[Array], seed: int) -> list[Array]:
    """36 single trees; the library's own, which grows to the end."""
    of_classes = set(np.unique(y)) == {0, 1}
    kind = DecisionTreeClassifier if of_classes else DecisionTreeRegressor
    options = [
        {"max_depth": depth, "min_samples_leaf": leaf, "max_features": share}
        for depth in (3, 5, 9)
        for leaf in (1, 4, 12, 30)
        for share in (0.4, 0.7, 1.0)
    ]
    models = [kind(random_state=seed, **option).fit(X, y) for option in [*options, {}]]
    if of_classes:
        return [np.column_stack([model.predict_proba(other)[:, 1] for model in models]) for other in others]
    return [np.column_stack([model.predict(other) for model in models]) for other in others]


# --- populations: X, y, and the group of each row or None -------------------------------------------------------------
Drawn = tuple[Array, Array, Array | None]


def _classes(raw: Array, random: Random) -> Array:
    return (random.random(len(raw)) < 1 / (1 + np.exp(-raw))).astype(int)


def _unequal_groups(rows: int, random: Random) -> Array:
    """Of 2 to 30 rows."""
    sizes = random.integers(2, 31, rows)
    return np.repeat(np.arange(rows), sizes)[:rows]


def sparse(rows: int, random: Random) -> Drawn:
    """30 columns, of which 4 tell something."""
    X = random.normal(size=(rows, 30))
    return X, X[:, :4] @ np.array([1.0, 0.7, 0.5, 0.3]) + 1.2 * random.normal(size=rows), None


def steps(rows: int, random: Random) -> Drawn:
    """A function with steps, and noise that is uniform and grows with a column."""
    X = random.random((rows, 8))
    level = 2.0 * (X[:, 0] > 0.6) + 1.5 * (X[:, 1] > 0.3) * (X[:, 2] < 0.5)
    return X, level + (0.5 + X[:, 3]) * random.uniform(-1.5, 1.5, rows), None


def counts(rows: int, random: Random) -> Drawn:
    """Counts, whose noise grows with their mean."""
    X = random.normal(size=(rows, 6))
    return X, random.poisson(np.exp(1.0 + 0.4 * X[:, 0] + 0.3 * np.abs(X[:, 1]))).astype(float), None


def households(rows: int, random: Random) -> Drawn:
    """Groups of unequal sizes that share a part of their columns and of their noise."""
    groups = _unequal_groups(rows, random)
    shared = random.normal(size=(groups.max() + 1, 21))[groups]
    X = 0.8 * random.normal(size=(rows, 20)) + 0.6 * shared[:, :20]
    return X, 0.3 * X[:, :10].sum(axis=1) + random.normal(size=rows) + 0.5 * shared[:, 20], groups


def ring(rows: int, random: Random) -> Drawn:
    """A class inside a ring, 4 columns, 2 of them noise."""
    X = random.normal(size=(rows, 4))
    return X, _classes(3.0 * (1.2 - np.hypot(X[:, 0], X[:, 1])), random), None


def answers(rows: int, random: Random) -> Drawn:
    """24 answers yes or no that tell equally little; 40 % of class 1."""
    X = (random.random((rows, 24)) < np.linspace(0.2, 0.8, 24)).astype(float)
    return X, _classes(0.45 * (X - np.linspace(0.2, 0.8, 24)).sum(axis=1) - 0.45, random), None


def wards(rows: int, random: Random) -> Drawn:
    """Groups of unequal sizes, whose share of class 1 differs."""
    groups = _unequal_groups(rows, random)
    shared = random.normal(size=(groups.max() + 1, 13))[groups]
    X = 0.8 * random.normal(size=(rows, 12)) + 0.6 * shared[:, :12]
    return X, _classes(0.5 * X[:, :6].sum(axis=1) + 0.7 * shared[:, 12] - 0.4, random), groups


def scarce(rows: int, random: Random) -> Drawn:
    """8 % of class 1."""
    X = random.normal(size=(rows, 16))
    return X, _classes(0.8 * X[:, :8].sum(axis=1) - 4.2, random), None


def corners(rows: int, random: Random) -> Drawn:
    """Two classes by an interaction of two columns of 6."""
    X = random.normal(size=(rows, 6))
    return X, _classes(2.5 * np.sign(X[:, 0] * X[:, 1]) + 0.5 * X[:, 2], random), None


@dataclass(frozen=True)
class Setup:
    """Studies of one kind."""

    draw: Callable[[int, Random], Drawn]
    grid: Callable[[Array, Array, Sequence[Array], int], list[Array]]
    rows: int
    scores: tuple[str, ...]
    folds: int = 10

    @property
    def name(self) -> str:
        """Such as ``sparse ridge 260``."""
        folds = "" if self.folds == 10 else f" {self.folds} folds"
        return f"{self.draw.__name__} {self.grid.__name__} {self.rows}{folds}"


SETUPS = (
    Setup(sparse, ridge, 260, ("rmse", "mean_absolute_error")),
    Setup(sparse, ridge, 1100, ("rmse", "r2"), folds=5),
    Setup(steps, trees, 550, ("rmse", "r2")),
    Setup(counts, neighbours, 800, ("rmse", "mean_absolute_error")),
    Setup(households, ridge, 700, ("rmse", "mean_absolute_error")),
    Setup(ring, neighbours, 420, ("accuracy", "log_loss", "roc_auc")),
    Setup(answers, naive_bayes, 380, ("accuracy", "log_loss", "roc_auc", "f1")),
    Setup(answers, naive_bayes, 1600, ("accuracy", "roc_auc"), folds=5),
    Setup(corners, trees, 650, ("accuracy", "roc_auc", "f1")),
    Setup(wards, naive_bayes, 900, ("accuracy", "log_loss", "roc_auc")),
    Setup(scarce, naive_bayes, 1200, ("average_precision", "roc_auc", "f1")),
    Setup(scarce, naive_bayes, 5000, ("average_precision", "f1"), folds=5),
)


def _split(y: Array, groups: Array | None, folds: int, seed: int) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """The rows of the training and the test part, and of the folds in numbers of the training part: as a study does."""
    rows, of_classes = np.arange(len(y)), set(np.unique(y)) == {0, 1}
    shuffled: dict[str, Any] = {"shuffle": True, "random_state": seed}
    if groups is not None:
        train, test = next(GroupShuffleSplit(1, test_size=0.3, random_state=seed).split(rows, groups=groups))
        splitter = (StratifiedGroupKFold if of_classes else GroupKFold)(folds, **shuffled)
        return train, test, list(splitter.split(train, y[train], groups[train]))
    train, test = train_test_split(rows, test_size=0.3, random_state=seed, stratify=y if of_classes else None)
    splitter = (StratifiedKFold if of_classes else KFold)(folds, **shuffled)
    return train, test, list(splitter.split(train, y[train]))


def _studied(setup: Setup, seed: int, rules: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What is said of one study, and what is true: a row per score and rule."""
    random = np.random.default_rng((seed, setup.rows))
    X, y, groups = setup.draw(setup.rows, random)
    X_true, y_true, _ = setup.draw(TRUE_ROWS, random)
    train, test, folds = _split(y, groups, setup.folds, seed)
    by_fold = []
    for fit, held_out in folds:
        (out,) = setup.grid(X[train[fit]], y[train[fit]], [X[train[held_out]]], 0)
        by_fold.append((y[train[held_out]], out))
    of_test, of_truth = setup.grid(X[train], y[train], [X[test], X_true], 0)
    blocks = blocks_of(np.arange(len(test)) if groups is None else groups[test])
    default = of_test.shape[1] - 1
    for name in setup.scores:
        score, higher_is_better = SCORES[name]
        sign = 1 if higher_is_better else -1
        fold_scores = np.array([score(*each) for each in by_fold])[:, :default]
        frame = study(
            [{"size": number % 6 + 1, "kind": number // 6} for number in range(default)],
            {COST: lambda row: float(row["size"])},
            lambda row, scores=fold_scores: scores[:, row["kind"] * 6 + row["size"] - 1],  # type: ignore[misc]
            metric=f"val_{name}",
            folds=setup.folds,
            noise=0.03,
            fold_sd=0.0,
            model_sd=0.0,
            seed=seed,
            of_study={"higher_is_better": higher_is_better},
        )
        noise = effects.noise(frame)
        for rule in rules:
            asked = replace(frame, studies=frame.studies.assign(choose=rule))
            chosen = decision.decide(asked, noise).chosen
            others = left_out(asked, noise)
            assert chosen is not None
            assert others is not None
            number = int(chosen["kind"] * 6 + chosen["size"] - 1)

            def on(rows: Array, of: int = number, score: Any = score) -> float:
                return float(score(y[test][rows], of_test[rows][:, [of]])[0])

            def gained(rows: Array, of: int = number, score: Any = score, sign: int = sign) -> float:
                mine, theirs = score(y[test][rows], of_test[rows][:, [of, default]])
                return float(sign * (mine - theirs))

            of_part = jackknife(on, blocks)
            share = len(train) / len(y)
            true, of_default = score(y_true, of_truth[:, [number, default]])
            row = {"setup": setup.name, "score": name, "rule": rule, "seed": seed, "true": true, "sign": sign}
            row |= {"val": fold_scores[:, number].mean(), "left_out": others.mean(), "sd": others.std(ddof=1)}
            row |= {"folds": setup.folds, "share": share, "test_error": of_part.error, "test_degrees": of_part.degrees}
            row |= _ends("A", of_part) | _ends("C", together(others, of_part, share))
            yield row | _ends("D", jackknife(gained, blocks)) | {"true_gain": sign * (true - of_default)}


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _holds(rows: pd.DataFrame, name: str, true: str = "true") -> pd.Series[float]:
    """In percent; NaN without an interval."""
    holds = rows[true].between(rows[f"{name}_low"] - 1e-12, rows[f"{name}_high"] + 1e-12)
    return 100 * holds.where(rows[f"{name}_low"].notna()).astype(float)


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each cell."""
    holds = {name: _holds(rows, name) for name in ("A", "C")} | {"D": _holds(rows, "D", "true_gain")}
    wrong = ((rows["D_low"] > 0) & (rows["true_gain"] <= 0)) | ((rows["D_high"] < 0) & (rows["true_gain"] >= 0))
    table = rows.assign(
        **holds,
        no_interval=100 * rows["C_low"].isna(),
        width_A=rows["A_high"] - rows["A_low"],
        width_C=rows["C_high"] - rows["C_low"],
        naive=rows["sign"] * (rows["val"] - rows["true"]),
        left=rows["sign"] * (rows["left_out"] - rows["true"]),
        claims=100 * ((rows["D_low"] > 0) | (rows["D_high"] < 0)),
        wrong=100 * wrong,
    )
    cells = table.groupby(["setup", "score", "rule"], sort=False)
    found = cells[["A", "C", "D", "claims", "wrong", "no_interval"]].mean()
    found.insert(2, "width", cells["width_C"].mean() / cells["width_A"].mean())
    found.insert(3, "luck", cells["naive"].mean() / cells["naive"].std())
    found.insert(4, "left_luck", cells["left"].mean() / cells["naive"].std())
    return found.round(2)


@click.command(help=__doc__)
@click.option("--studies", default=100, show_default=True, help="Of each population.")
@click.option("--seed", default=1, show_default=True, help="Other seeds draw other tables.")
@click.option("--only", default="", help="Populations whose name holds this text.")
@click.option("--rules", default="best,cheapest", show_default=True, help="How models are chosen.")
@click.option("--csv", default="", help="A file for one line a study, score and rule.")
def main(studies: int, seed: int, only: str, rules: str, csv: str) -> None:
    """Print the tables."""
    told: list[dict[str, Any]] = []
    for number in range(studies):
        for setup in SETUPS:
            if only in setup.name:
                told += _studied(setup, 100_000 * seed + number, rules.split(","))
        if csv:
            pd.DataFrame(told).to_csv(csv, index=False)
    say(pd.DataFrame(told))


def say(rows: pd.DataFrame) -> None:
    """Print the table of cells, and what they are on average."""
    cells = judged(rows)
    click.echo(cells.to_string())
    click.echo(f"\n{len(rows)} study-scores:\n{cells.groupby('rule').mean().round(2).to_string()}")


if __name__ == "__main__":
    main()
