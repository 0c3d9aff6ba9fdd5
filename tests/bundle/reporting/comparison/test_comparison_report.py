"""Reports over datasets by the command, on studies in a real store: what they leave, and what their pages say."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import in_use
from dataset_studies import Trial, write_study
from demsar import DEMSAR, TIES
from mlflow import MlflowClient
from reports import Reported, report_on

from entrypoints.reporting.savings.answers import SAID
from entrypoints.reporting.selection import by_ids
from entrypoints.reporting.training.curves import read
from entrypoints.reporting.training.drift import drift

DATASETS = ("red_wine", "diabetes", "/data/mine.csv", "wave_energy")
SIZES, RATES = (2, 8, 32, 128), (0.1, 0.01, 0.001, 0.0001)
STEPS = (100, 200, 300, 400, 500, 600)


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
def client(module_store: Path) -> Iterator[MlflowClient]:
    """Of a store of this module's own, which commands use."""
    with in_use(module_store) as client:
        yield client


@pytest.fixture(scope="module")
def studies(client: MlflowClient) -> list[str]:
    """One of each dataset, on one host."""
    random = np.random.default_rng(0)
    return [write_study(client, name, _trials(place, random)) for place, name in enumerate(DATASETS)]


def _trained(random: np.random.Generator, rise_mb: float) -> list[Trial]:
    """A grid of which there are curves: memory rises, a step gets a third shorter, the CPU is busy all the time."""
    trials: list[Trial] = []
    for chosen in [{"batch_size": size, "learning_rate": rate} for size in SIZES for rate in (*RATES, 0.03, 0.003)]:
        step_ms, memory_mb = (1 + chosen["batch_size"] / 100) * random.lognormal(0, 0.02), 200 + random.uniform()
        rise = np.linspace(0, 1, len(STEPS))
        curves = {
            "cpu_percent": 96 + 0.2 * random.normal(size=len(STEPS)),
            "memory_mb": memory_mb + rise_mb * rise,
            "step_time_ms": step_ms * (1.2 - 0.4 * rise),
        }
        figures = {"val_rmse": chosen["learning_rate"], "mean_step_time_ms": step_ms, "training_time_s": 0.6 * step_ms}
        figures |= {"elapsed_s": 6.1 * step_ms, "peak_memory_mb": memory_mb + rise_mb}
        points = {name: dict(zip(STEPS, values.tolist(), strict=True)) for name, values in curves.items()}
        trials.append((chosen, figures | points))
    return [trials[place] for place in random.permutation(len(trials))]


@pytest.fixture(scope="module")
def trained(client: MlflowClient) -> list[str]:
    """Of two datasets, with curves: of one on the host of the others, of one on another host."""
    random = np.random.default_rng(0)
    here = write_study(client, "here", _trained(random, 0.5))
    return [here, write_study(client, "elsewhere", _trained(random, 2.0), host="two")]


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


def _cost(reported: Reported, dataset: str, metric: str) -> pd.Series:
    """The row of one curve."""
    shapes = reported.tables["shapes"]
    (row,) = (shapes[(shapes["dataset"] == dataset) & (shapes["metric"] == metric)]).iloc
    return row


@pytest.fixture(scope="module")
def of_each(client: MlflowClient, studies: list[str], trained: list[str]) -> Reported:
    """A report over two datasets on one host, of which one has curves."""
    return report_on(client, [studies[0], trained[0]])


def test_each_dataset_has_the_shapes_of_its_costs(client: MlflowClient, trained: list[str], of_each: Reported) -> None:
    """Those of the study's own report, in units; that a study has no curves is said."""
    cpu, memory, step = (_cost(of_each, "here", name) for name in ("cpu_percent", "memory_mb", "step_time_ms"))
    (study,) = by_ids(client, trained[:1])
    own = drift(read(client, study), study.noises).set_index("metric")
    for row in (cpu, memory, step):
        assert row[["verdict", "trials"]].tolist() == own.loc[row["metric"], ["verdict", "trials"]].tolist()
        assert row["change"] == pytest.approx(own.loc[row["metric"], "change"], abs=1e-9)
    assert memory["change"] == pytest.approx(0.5)
    assert (
        "| dataset | `cpu_percent` | `memory_mb` | `step_time_ms` |\n|---|---|---|---|\n"
        f"| here | steady at {cpu['level']:.3g} % of a core | rises by 0.5 MB ({memory['change_percent']:.1f} %) | "
        f"falls by {-step['change']:.2g} ms ({-step['change_percent']:.0f} %) |\n"
    ) in of_each.page
    assert "- How costs change during training on red_wine: no trial that ran to its end has curves of" in of_each.page


def test_each_dataset_has_the_calibration_of_its_predictions(of_each: Reported) -> None:
    """Of trials whose times follow a law, and memory nothing, they are right; the page has the rows of the table."""
    table = of_each.tables["calibration"]
    assert set(table["dataset"]) == {"here"}
    assert set(table["verdict"]) == {"not found to be off"}
    said = table[table["metric"].isin(SAID)]
    assert said["metric"].tolist() == list(SAID)
    for _, row in said.iterrows():
        low, median, high = (f"{row[f'{name}_ratio']:.2f}" for name in ("low", "median", "high"))
        inside, below = (f"{row[f'{name}_percent']:.0f} %" for name in ("coverage", "below"))
        figures = f"{row['trials']} | {median} | {low} | {high} | {inside} | {below}"
        assert f"| here | `{row['metric']}` | {figures} | not found to be off |" in of_each.page
        assert row["median_ratio"] == pytest.approx(1, abs=0.05)
        assert row["trials"] > 8
    assert "- How right predictions of costs are on red_wine: no trial could be predicted" in of_each.page


def test_shapes_on_different_hosts_are_told_in_percent(client: MlflowClient, trained: list[str]) -> None:
    """Neither the page nor the tables hold a level or a change in units; ratios of predictions are of one host each."""
    reported = report_on(client, trained)
    lines = [
        line for line in reported.page.splitlines() if line.startswith(("| here | steady", "| elsewhere | steady"))
    ]
    changes = [
        [abs(_cost(reported, name, metric)["change_percent"]) for metric in ("memory_mb", "step_time_ms")]
        for name in ("here", "elsewhere")
    ]
    assert lines == [
        f"| here | steady | rises by {changes[0][0]:.1f} % | falls by {changes[0][1]:.0f} % |",
        f"| elsewhere | steady | rises by {changes[1][0]:.1f} % | falls by {changes[1][1]:.0f} % |",
    ]
    shapes, calibration = reported.tables["shapes"], reported.tables["calibration"]
    assert shapes[["level", "start", "end", "change", "low", "high"]].isna().all(axis=None)
    assert calibration["median_measured"].isna().all()
    assert set(calibration["dataset"]) == {"here", "elsewhere"}
