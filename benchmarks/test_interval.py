"""How often the interval of the test part holds the true score, in studies drawn from populations that are known.

    python benchmarks/test_interval.py [--quick]

Of each population 700 studies (--quick: 40) of 300 rows: a tree's depth is chosen by five folds of the training part,
the tree is refitted there, and scored on the test part, 30 % of the rows, with the interval that a study logs as
`test_<score>_low` and `_high`. The true score is that of the same tree on 20,000 other rows. Of 700 studies, an
interval that holds it in 95 % of all is seen to do so in 93.4 to 96.6 %.

Then ten tables (--quick: two) of 1,000 rows and 250 copies of some. Plan, split and refit are those of a study, and the
folds choose among six extra-trees; the true score is that of the model to log, on 20,000 new rows. Copies stay
together by default; beside it stands what `duplicates=keep` has.
"""

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from entrypoints.models.best_model import raw_rows_model, refit  # noqa: E402
from entrypoints.models.cross_validation import training_of  # noqa: E402
from entrypoints.options.settings import StudySettings, tune_options  # noqa: E402
from entrypoints.statistics import blocks_of, jackknife  # noqa: E402
from entrypoints.study.plan import planned  # noqa: E402

ROWS, TRUE_ROWS, TEST = 300, 20_000, 0.3
DEPTHS = {"max_depth": [1, 3, 6]}
COPIED_ROWS, COPIES, CANDIDATES = 1000, 250, 6
Array = NDArray[np.float64]


def numbers(random, X, groups):
    """A target with noise of which some rows have much more."""
    noise = random.standard_t(5, len(X)) * (0.3 + 0.3 * (X[:, 3] > 0))
    return np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + noise


def classes(random, X, groups):
    """Two classes, of which the second has a third of the rows."""
    chance = 1 / (1 + np.exp(1.2 - 2 * X[:, 0] - X[:, 1] * X[:, 2]))
    return np.asarray(random.random(len(X)) < chance, dtype=np.float64)


def of_groups(random, X, groups):
    """The same numbers, where rows of one group are high or low together."""
    return numbers(random, X, groups) + random.normal(0, 0.7, int(groups.max()) + 1)[groups.astype(int)]


POPULATIONS = {
    "regression, rmse": (numbers, DecisionTreeRegressor, root_mean_squared_error, 1),
    "classes, accuracy": (classes, DecisionTreeClassifier, accuracy_score, 1),
    "groups of 5 rows, rmse": (of_groups, DecisionTreeRegressor, root_mean_squared_error, 5),
}


def held(seed, target, tree, score, size):
    """Whether the interval of one study holds the true score."""
    random = np.random.default_rng(seed)
    X, groups = random.normal(size=(ROWS + TRUE_ROWS, 5)), np.arange(ROWS + TRUE_ROWS) // size
    y = target(random, X, groups)
    ((train, test),) = GroupShuffleSplit(1, test_size=TEST, random_state=seed).split(X[:ROWS], groups=groups[:ROWS])
    search = GridSearchCV(tree(random_state=0), DEPTHS, cv=GroupKFold(5))
    predicted = search.fit(X[train], y[train], groups=groups[train]).predict(X)
    found = jackknife(lambda kept: score(y[test[kept]], predicted[test[kept]]), blocks_of(groups[test]))
    return bool(found.low <= score(y[ROWS:], predicted[ROWS:]) <= found.high)


def rows_of(seed, count):
    """Rows of numbers and a category."""
    random = np.random.default_rng(seed)
    rows = pd.DataFrame(random.normal(size=(count, 5)).round(3), columns=list("abcde"))
    rows["region"] = random.choice(["north", "south", "east"], count)
    mean = np.sin(2 * rows["a"]) + rows["b"] * (rows["region"] == "south") + 0.3 * rows["c"]
    return rows.assign(y=(mean + random.normal(0, 1, count)).round(3))


def settings(*arguments):
    """The settings of a command with these arguments."""

    @click.command()
    @tune_options
    def command(**options): ...

    options = command.make_context("command", list(arguments)).params
    del options["resume"]
    return StudySettings(**options)


def validated(configuration, data):
    """The score of a configuration over the folds."""
    training = training_of(configuration, data)
    while not training.ended:
        training.advance()
        training.report()
    return fmean(training.fold_scores.values())


def held_with_copies(seed, duplicates):
    """Low, high and true score of one study of a table with copies."""
    rows = rows_of(seed, COPIED_ROWS)
    rows = pd.concat([rows, rows.sample(COPIES, random_state=seed)]).sample(frac=1, random_state=seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder, "copies.csv")
        rows.to_csv(path, index=False)
        asked = ["--dataset", path, "--target", "y", "--algorithm", "extra_trees", "--search", "grid"]
        study = planned(settings(*map(str, asked), "--duplicates", duplicates), folder=Path(folder))
        best = min(study.configurations[:CANDIDATES], key=lambda each: validated(each, study.data))
        model = refit(best, study.data)
    new = rows_of(seed + 1000, TRUE_ROWS)
    true = root_mean_squared_error(new["y"], raw_rows_model(model, study.table).predict(new))
    return model.figures["test_rmse_low"], model.figures["test_rmse_high"], true


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="40 studies of each population, to see that it runs.")
def main(quick):
    """Print the share of intervals that hold the true score."""
    studies = 40 if quick else 700
    for name, population in POPULATIONS.items():
        began = time.monotonic()
        share = np.mean([held(seed, *population) for seed in range(studies)])
        click.echo(f"{name:24} {100 * share:5.1f} % of {studies} studies ({time.monotonic() - began:.0f} s)")
    tables = 2 if quick else 10
    for duplicates in ("auto", "keep"):
        found = np.array([held_with_copies(seed, duplicates) for seed in range(tables)])
        low, high, true = found.T
        holds = int(((low <= true) & (true <= high)).sum())
        means = ", ".join(f"{each:.3f}" for each in found.mean(axis=0))
        click.echo(
            f"copies, duplicates={duplicates}: {holds} of {tables} tables; on average low, high and true: {means}"
        )


if __name__ == "__main__":
    main()
