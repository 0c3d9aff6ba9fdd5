"""Tables with a known origin, for `league.py`: bundled ones and made ones, each with what it is about.

Made tables have text, dates, gaps and a rare class. Their targets are drawn from a known signal, of which `truth` keeps
what the best possible model would predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets

DATA = Path(__file__).resolve().parents[1] / "entrypoints" / "data"
TARGET = "y"
RMSE, ERROR_RATE, LOG_LOSS = "rmse", "error rate", "log loss"


@dataclass(frozen=True)
class LeagueTable:
    """Rows with the target in the column `TARGET`, and the score that they are judged by.

    Attributes:
        truth: of made tables, what the best possible model predicts of each row: the mean of the target, or the
            probability of the class `positive`.
    """

    name: str
    rows: pd.DataFrame
    score: str
    dates: tuple[str, ...] = ()
    positive: str = ""
    truth: np.ndarray[Any, Any] | None = None


def breast_cancer():
    """569 rows, 30 numbers, two classes."""
    return _bundled("breast cancer", datasets.load_breast_cancer(as_frame=True), classes=True)


def digits():
    """1797 rows, 64 numbers, ten classes."""
    return _bundled("digits", datasets.load_digits(as_frame=True), classes=True)


def diabetes():
    """442 rows, 10 numbers, regression."""
    return _bundled("diabetes", datasets.load_diabetes(as_frame=True), classes=False)


def red_wine():
    """1599 rows, 11 numbers, regression. Half a mark is added, so that nobody takes six whole marks for classes."""
    rows = pd.read_csv(DATA / "red_wine.csv.gz")
    rows = rows.rename(columns={rows.columns[-1]: TARGET})
    return LeagueTable("red_wine", rows.assign(**{TARGET: rows[TARGET] + 0.5}), RMSE)


def pima():
    """768 rows, 8 numbers, two classes."""
    rows = pd.read_csv(DATA / "diabetes.csv.gz")
    return LeagueTable("pima", _named(rows.rename(columns={rows.columns[-1]: TARGET})), ERROR_RATE)


def leavers(rows=2500):
    """Text, a date and gaps; a class of about 5 %."""
    random = np.random.default_rng(1)
    table = _business(random, rows)
    signal = -6.0 + 0.08 * (table["age"] - 40).abs() + 1.6 * (table["channel"] == "phone")
    signal += 0.9 * np.log(table["spent"] / 100) * (table["channel"] != "web")
    signal += np.where(table["since"] > pd.Timestamp("2023-01-01"), 1.0, 0.0)
    of_leaving = 1 / (1 + np.exp(-signal.to_numpy(float)))
    leaves = np.where(random.random(rows) < of_leaving, "leaves", "stays")
    return LeagueTable("leavers", _with_gaps(random, table, leaves), LOG_LOSS, ("since",), "leaves", of_leaving)


def prices(rows=20_000):
    """Text of 150 cities, a date and gaps; regression with interactions."""
    random = np.random.default_rng(2)
    table = _business(random, rows)
    of_city = dict(zip(CITIES, random.normal(0, 20, len(CITIES)), strict=True))
    signal = 100 + 15 * np.sqrt(table["spent"] / 100) + table["city"].map(of_city)
    signal += 10 * np.sin(table["age"] / 10) * (table["channel"] == "web")
    signal += (table["since"] - pd.Timestamp("2020-01-01")).dt.days / 100
    truth = signal.to_numpy(float)
    return LeagueTable(
        "prices", _with_gaps(random, table, truth + random.normal(0, 15, rows)), RMSE, ("since",), truth=truth
    )


def visits(rows=6000):
    """Text, a date and gaps; two classes of about equal size."""
    random = np.random.default_rng(3)
    table = _business(random, rows)
    signal = 0.05 * (table["age"] - 45) * np.where(table["channel"] == "web", -1, 1)
    signal += 0.8 * (table["since"].dt.month.isin([6, 7, 8])) + 0.5 * np.log(table["spent"] / 120)
    of_coming = 1 / (1 + np.exp(-signal.to_numpy(float)))
    comes = np.where(random.random(rows) < of_coming, "yes", "no")
    return LeagueTable("visits", _with_gaps(random, table, comes), ERROR_RATE, ("since",), "yes", of_coming)


CITIES = [f"city {number}" for number in range(150)]
TABLES = (
    breast_cancer,
    digits,
    diabetes,
    red_wine,
    pima,
    leavers,
    visits,
    prices,
)


def quick():
    """A small one that has text, a date and gaps."""
    return visits(600)


def _bundled(name, loaded, *, classes):
    rows = loaded.frame.rename(columns={"target": TARGET})
    rows.columns = [str(column).replace(" ", "_") for column in rows]
    return LeagueTable(name, _named(rows) if classes else rows, ERROR_RATE if classes else RMSE)


def _named(rows):
    """With classes that nobody takes for numbers."""
    return rows.assign(**{TARGET: "class " + rows[TARGET].astype(str)})


def _business(random, rows):
    """What a shop knows of its customers; `noise` columns say nothing of any target."""
    return pd.DataFrame(
        {
            "age": random.integers(18, 90, rows).astype(float),
            "spent": random.gamma(2, 60, rows).round(2) + 1,
            "channel": random.choice(["web", "shop", "phone"], rows, p=[0.5, 0.35, 0.15]),
            "city": random.choice(CITIES, rows),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 1800, rows), "D"),
            "noise": random.normal(size=rows).round(3),
            "kind": random.choice(["a", "b", "c", "d"], rows),
        }
    )


def _with_gaps(random, table, target):
    """A twentieth of the ages, channels and noise is not known."""
    gaps = {name: table[name].where(random.random(len(table)) > 0.05) for name in ("age", "channel", "noise")}
    return table.assign(**gaps, **{TARGET: target})
