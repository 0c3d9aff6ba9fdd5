"""Reports over datasets by the command, on studies in a real store: what they leave, and what their pages say."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import copy_store, in_use
from dataset_studies import Trial, write_study
from demsar import DEMSAR, TIES
from mlflow import MlflowClient
from reports import Reported, report_on

DATASETS = ("red_wine", "diabetes", "/data/mine.csv", "wave_energy")
SIZES, RATES = (2, 8, 32, 128), (0.1, 0.01, 0.001, 0.0001)


def _test_of(reported: Reported, metric: str, hyperparameter: str) -> pd.Series:
    """The row of one test."""
    tests = reported.tables["tests"]
    (row,) = (tests[(tests["metric"] == metric) & (tests["hyperparameter"] == hyperparameter)]).iloc
    return row


def _trials(place: int, random: np.random.Generator) -> list[Trial]:
    """A grid in which the batch size makes the time, by other amounts on each dataset, and the rate the score."""
    score, sign = ("val_accuracy", -1.0) if place % 2 else ("val_rmse", 1.0)
    return [
        (
            {"batch_size": size, "learning_rate": rate, "alpha": alpha},
            {
                score: sign * (rate + 0.0001 * random.uniform()),
                "training_time_s": (place + 1) / size + 0.001 * random.uniform(),
                "peak_memory_mb": 200 + size / 100,
            },
        )
        for size, rate, alpha in itertools.product(SIZES, RATES, (0.1, 1.0))
    ]


@pytest.fixture(scope="module")
def client(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """Of a store of this module's own, which commands use."""
    with in_use(copy_store(new_store, tmp_path_factory.mktemp("store"))) as client:
        yield client


@pytest.fixture(scope="module")
def studies(client: MlflowClient) -> list[str]:
    """One of each dataset, on one host."""
    random = np.random.default_rng(0)
    return [write_study(client, name, _trials(place, random)) for place, name in enumerate(DATASETS)]


def test_published_example_comes_out_of_the_page(client: MlflowClient) -> None:
    """Demsar's 14 datasets and 4 algorithms: his ranks, chi-squared and critical difference; no pair differs."""
    studies = [
        write_study(
            client, f"dataset {row}", [({"algorithm": name}, {"val_accuracy": auc}) for name, auc in of.items()]
        )
        for row, of in DEMSAR.iterrows()
    ]
    reported = report_on(client, studies)
    row = _test_of(reported, "val_accuracy", "algorithm")
    assert row["friedman_chi2"] * TIES == pytest.approx(9.28, abs=0.006)
    assert row["critical_difference"] == pytest.approx(1.25, abs=0.006)
    assert row["kendalls_w"] == pytest.approx(row["friedman_chi2"] / (14 * 3))
    assert (row["datasets"], row["levels"], row["pairs_apart"]) == (14, 4, 0)
    first, second = reported.page.splitlines()[:2]
    assert first == "## Over 14 datasets, `algorithm` changes `val_accuracy`"
    assert "best at `algorithm` C4.5+m+cf (mean rank 1.96), worst at C4.5 (mean rank 3.14)" in second
    assert "0 of 6 pairs of levels are more than Nemenyi's 1.25 ranks apart" in second


def test_sentences_are_those_of_the_logged_tables(client: MlflowClient, studies: list[str]) -> None:
    """Worked out again from the medians: ranks, the range of a cost in its unit, the family; links and figures."""
    reported = report_on(client, studies)
    levels, tests = reported.tables["levels"], reported.tables["tests"]
    assert set(zip(tests["metric"], tests["hyperparameter"], strict=True)) == set(
        itertools.product(("score", "training_time_s", "peak_memory_mb"), ("batch_size", "learning_rate"))
    ) - {("peak_memory_mb", "learning_rate")}  # which is the same for all rates
    assert tests["p_bonferroni"].tolist() == pytest.approx((len(tests) * tests["p_value"]).clip(upper=1).tolist())
    own = levels[(levels["metric"] == "training_time_s") & (levels["hyperparameter"] == "batch_size")]
    values = own.pivot(index="dataset", columns="level", values="median")
    assert set(values.index) == {"red_wine", "diabetes", "mine.csv", "wave_energy"}
    ranks, more = values.rank(axis=1).mean(), values["2"] - values["128"]
    row = _test_of(reported, "training_time_s", "batch_size")
    assert (row["best_at"], row["worst_at"], row["best_rank"]) == (ranks.idxmin(), ranks.idxmax(), ranks.min())
    percent = (100 * more / values.median(axis=1)).median()
    says = f"`training_time_s` is {more.min():.3g} to {more.max():.3g} s ({percent:.0f} % in the median dataset) higher"
    assert f"{says} at `batch_size` 2 (mean rank 4.00) than at 128 (mean rank 1.00)" in reported.page
    assert "`score` is best at `learning_rate` 0.0001 (mean rank 1.00)" in reported.page.splitlines()[1]
    missed = "`peak_memory_mb` (significant, but small)"
    assert re.search(rf"^Tested and not found: .*{re.escape(missed)}.*\.$", reported.page, re.MULTILINE)
    assert "`alpha`: a rank test needs 3 levels that all studies tried, and there are 2." in reported.page
    told = {f"ranks_{row.metric}_by_{row.hyperparameter}" for row in tests[tests["told"]].itertuples()}
    assert reported.figures == told | set(re.findall(r"path=figures%2F(\w+)\.png", reported.page))
    assert all(f"/runs/{study}/overview" in reported.page for study in studies)
    assert reported.page.splitlines()[0].removeprefix("## ").replace("`", "") in reported.echoed


def test_costs_of_different_hosts_are_never_put_side_by_side(client: MlflowClient, studies: list[str]) -> None:
    """Ranks and shares within a dataset are what is left, and the page says why."""
    elsewhere = write_study(client, DATASETS[2], _trials(2, np.random.default_rng(1)), host="two")
    reported = report_on(client, [*studies[:2], elsewhere, studies[3]])
    assert "The hosts differ (cpu_model): costs are compared by ranks within each dataset" in reported.page
    row = _test_of(reported, "training_time_s", "batch_size")
    assert row["told"]
    assert pd.isna([row["low"], row["high"]]).all()
    says = f"`training_time_s` is {row['low_percent']:.0f} to {row['high_percent']:.0f} % ("
    assert says in reported.page
    assert "steps" not in reported.tables
    assert not re.search(r"`training_time_s` is [^;]* s \(", reported.page)


def test_few_datasets_are_said_to_show_nothing(client: MlflowClient, studies: list[str]) -> None:
    """What two could show at best, what a test of the family needs, and how many datasets would do."""
    reported = report_on(client, studies[:2])
    assert not reported.tables["tests"]["told"].any()
    assert reported.page.splitlines()[:2] == [
        "## 2 datasets are too few to tell what changes score or costs",
        "With 2 datasets nothing could be significant: even if all ranked the 4 levels of `batch_size` alike, p would "
        "be 0.0417, and one of 5 tests needs 0.01; 3 datasets could show it.",
    ]
