"""How often a clean table is said to have a leak, and how often a planted leak is found.

    python benchmarks/leaks.py [--tables 100] [--quick]

Clean tables are drawn anew: 100 to 6,000 rows, 4 to 150 columns of numbers, categories and dates, some missing; classes
(equal, rare, three) and numbers (with and without a long tail). Of what the columns know of the target, 30 to 90 %,
one has all or most of it, or a few, or all, or five that are nearly copies of each other, or two only together, or
there is nothing to know. In others of the same kinds a leak is planted.
The model that relies on the columns is extra-trees.
Its aim: a warning for at most one of 100 clean tables, and most of 50 planted leaks of each kind found.
"""

import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from reference import configured  # noqa: E402

from entrypoints.checks import leaks  # noqa: E402
from entrypoints.checks.importance import importance  # noqa: E402
from entrypoints.datasets.cleaning import clean  # noqa: E402
from entrypoints.datasets.prepared import prepared  # noqa: E402
from entrypoints.datasets.sources import Asked  # noqa: E402
from entrypoints.datasets.splits import make_split  # noqa: E402
from entrypoints.models import best_model, scores  # noqa: E402

FOLDS = 3
TARGET, LEAK = "target", "leak"
Array = NDArray[Any]
Random = np.random.Generator


def columns(random, rows, count):
    """Columns of several kinds that know nothing of each other."""
    found = {}
    for number in range(count):
        values = random.normal(size=rows)
        kind = random.choice(["normal", "long tail", "counts", "yes or no", "category", "date"], p=[0.4, *[0.12] * 5])
        if kind == "long tail":
            values = np.exp(values)
        elif kind == "counts":
            values = np.round(2 * values)
        elif kind == "yes or no":
            values = (values > 0).astype(float)
        elif kind == "date":
            values = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(400, size=rows), "D")
        elif kind == "category":
            values = pd.Series(random.integers(int(random.choice([3, 12, 60])), size=rows)).map("c{}".format)
        found[f"x{number}"] = values
    return pd.DataFrame(found)


def signal(random, frame):
    """What the columns know of the target; near copies may be added to the frame."""
    known = np.column_stack(
        [
            _standard(pd.factorize(frame[name])[0] if frame[name].dtype.kind == "O" else pd.to_numeric(frame[name]))
            for name in frame
        ]
    )
    shape = random.choice(["one", "one above all", "few", "all", "near copies", "two together", "nothing"])
    first = known[:, 0]
    if shape == "one":
        return first
    if shape == "one above all":
        return first + 0.3 * known[:, 1:].mean(axis=1) * np.sqrt(known.shape[1])
    if shape == "few":
        return known[:, :3] @ np.array([1, 0.7, 0.5])
    if shape == "all":
        return known.sum(axis=1)
    if shape == "near copies":
        for number in range(4):
            frame[f"near{number}"] = first + 0.3 * random.normal(size=len(first))
        return first
    return known[:, 0] * known[:, 1] if shape == "two together" else np.zeros(len(first))


def _standard(values):
    numbers = np.asarray(values, dtype=float)
    return (numbers - numbers.mean()) / (numbers.std() + 1e-9)


def drawn(random, known=(0.3, 0.9)):
    """A clean table, its target last, and its task; what is known of the target is a share within these."""
    rows = int(random.choice([100, 200, 500, 1500, 6000]))
    frame = columns(random, rows, int(random.choice([4, 10, 20, 40] if rows == 6000 else [4, 10, 20, 40, 150])))
    if frame["x0"].nunique() < 3:  # one that agrees with the target in 95 of 100 rows is what a noisy leak is
        frame["x0"] = random.normal(size=rows)
    share, told = random.uniform(*known), signal(random, frame)
    values = np.sqrt(share) * _standard(told) + np.sqrt(1 - share) * random.normal(size=rows)
    if random.random() < 0.3:
        frame = frame.mask(random.random(frame.shape) < 0.05)
    kind = random.choice(["numbers", "long tail", "two", "rare", "three"])
    if kind == "numbers":
        return frame.assign(**{TARGET: values}), "regression"
    if kind == "long tail":
        return frame.assign(**{TARGET: np.exp(values)}), "regression"
    cuts = {"two": [0.5], "rare": [1 - max(0.08, 12 / rows)], "three": [1 / 3, 2 / 3]}[str(kind)]
    classes = np.digitize(values, np.quantile(values, cuts))
    return frame.assign(**{TARGET: classes}), "classification"


def copy(random, y, task):
    """The target itself; of numbers in other units."""
    return y if task == "classification" else 2.5 * y + 7


def noisy(random, y, task):
    """In 5 % of the rows another class, or the number and 10 % of its deviation."""
    if task == "regression":
        return y + 0.1 * y.std() * random.normal(size=len(y))
    wrong = random.random(len(y)) < 0.05
    return np.where(wrong, (y + random.integers(1, max(2, y.max() + 1), size=len(y))) % (y.max() + 1), y)


def category(random, y, task):
    """One of several categories for each class, or for each of ten to twenty ranges of numbers; in no order."""
    count = int(random.choice([10, 20]))
    if task == "regression":
        places = np.digitize(y, np.quantile(y, np.linspace(0, 1, count + 1)[1:-1]))
    else:
        of_class = max(1, min(4, np.bincount(y).min() // 8))
        places = y * of_class + random.integers(of_class, size=len(y))
    return pd.Series(random.permutation(places.max() + 1)[places]).map("k{}".format)


def said(frame, task):
    """What is said of a table, and the CPU seconds that it took."""
    target = str(frame.columns[-1])
    frame.attrs |= {"name": "table", "target": target, "task": task}
    table = clean(frame, Asked("table", target), lambda line: None)
    split = make_split(table, folds=FOLDS, seed=0)
    trained = best_model.refit(configured("extra_trees", batch_size=None, n_jobs=1), prepared(table, split)).tested
    columns = importance(trained, table, 0)
    baseline = scores.find(None, table.task).baseline(table, split)
    began = time.process_time()
    sentence = leaks.sentence(trained, table, columns, baseline, 0)
    return sentence, time.process_time() - began


def clean_tables(tables, known):
    """Print how many clean tables are warned of."""
    warned, took = [], []
    for number in range(tables):
        frame, task = drawn(np.random.default_rng([0, number]), known)
        sentence, cpu_s = said(frame, task)
        took.append(cpu_s)
        if sentence:
            warned.append(f"  {frame.shape}, {task}: {sentence}")
    low, high = (f"{100 * share:.0f}" for share in known)
    print(f"clean, {low} to {high} % of the target known: {len(warned)} of {tables} warned of; "
          f"CPU s: median {np.median(took):.2f}, most {max(took):.2f}")  # fmt: skip
    print(*warned, sep="\n", end="\n" if warned else "")


def planted(kind, tables):
    """Print in how many tables a leak is found."""
    found = {}
    for number in range(tables):
        random = np.random.default_rng([0, 1, number])
        frame, task = drawn(random)
        y = frame[TARGET].to_numpy()
        frame.insert(int(random.integers(frame.shape[1])), LEAK, kind(random, y, task))
        sentence, _ = said(frame, task)
        rare = task == "classification" and np.bincount(y).min() < 0.2 * len(y)
        found.setdefault("a rare class" if rare else task, []).append(sentence.endswith(f"drop={LEAK}"))
    by = ", ".join(f"{task} {sum(own)} of {len(own)}" for task, own in sorted(found.items()))
    print(f"planted {kind.__name__}: {sum(map(sum, found.values()))} of {tables} found ({by})")


@click.command(help=__doc__)
@click.option("--tables", default=100, show_default=True, help="Clean tables; half as many of each planted kind.")
@click.option("--quick", is_flag=True)
def main(tables, quick):
    tables = 4 if quick else tables
    for share in ((0.3, 0.9), (0.9, 0.95), (0.95, 0.99)):
        clean_tables(tables, share)
    for kind in (copy, noisy, category):
        planted(kind, tables // 2)


if __name__ == "__main__":
    main()
