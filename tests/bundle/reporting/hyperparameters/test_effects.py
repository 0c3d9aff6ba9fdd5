"""The effects of hyperparameters on metrics, by hand and with scipy, and what little a study may hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_studies import made_study, memory_and_time
from scipy import stats

from entrypoints.limits.noise import Noise
from entrypoints.limits.order_effect import Order
from entrypoints.reporting.hyperparameters.effects import effects, metrics
from entrypoints.reporting.hyperparameters.interactions import interactions
from entrypoints.reporting.hyperparameters.metric_ranks import matched_p, smallest_p

pytestmark = pytest.mark.filterwarnings("error")


def _row(table: pd.DataFrame, metric: str, hyperparameter: str) -> dict[str, Any]:
    (row,) = table[(table["metric"] == metric) & (table["hyperparameter"] == hyperparameter)].to_dict("records")
    return row


def test_share_of_variance_by_hand() -> None:
    """Ranks 1 2 | 3 4: 4 of 5 squares lie between, 1/2 is left per degree of freedom; so (4 - 1/2) / (5 + 1/2)."""
    table = effects(made_study(["size"], size=[1, 1, 2, 2], memory_mb=[1.0, 2.0, 5.0, 90.0]))
    row = _row(table, "memory_mb", "size")
    assert row["share_of_variance"] == pytest.approx(3.5 / 5.5)
    assert row["p_value"] == pytest.approx(stats.chi2.sf(2.4, 1))  # H = 12 / (4 * 5) * (3^2 + 7^2) / 2 - 3 * 5
    assert row["spearman"] == pytest.approx(2 / np.sqrt(5))
    assert (row["trials"], row["left_out"], row["levels"]) == (4, 0, 2)


def test_ends_are_the_lowest_and_the_highest_median_of_levels_with_three_trials() -> None:
    """One trial that was left at 4 does not count, however high, and 5, where none was left, is named, too."""
    size = [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5]
    memory = [50.0, 60.0, 99.0, 1.0, 2.0, 3.0, 20.0, 30.0, 40.0, 1000.0, 1000.0]
    study = made_study(["size"], size=size, memory_mb=memory, diverged=[False] * 10 + [True])
    row = _row(effects(study), "memory_mb", "size")
    assert (row["lowest"], row["lowest_at"], row["highest"], row["highest_at"]) == (2.0, "2", 60.0, "1")
    assert (row["first"], row["first_at"], row["second"], row["second_at"]) == (60.0, "1", 2.0, "2")
    assert row["few_trials_at"] == "4 (1), 5 (0)"
    assert row["change_in"] == "times less"
    assert np.isnan(row["change_low"])  # three trials a level show no interval


def test_ties_are_corrected_for() -> None:
    """The p-value is scipy's, which is; equal values share a rank."""
    values = [1.0, 1.0, 2.0, 2.0, 2.0, 3.0]
    row = _row(effects(made_study(["size"], size=[1, 1, 1, 2, 2, 2], memory_mb=values)), "memory_mb", "size")
    assert row["p_value"] == pytest.approx(stats.kruskal(values[:3], values[3:]).pvalue)
    assert row["spearman"] == pytest.approx(stats.spearmanr([1, 1, 1, 2, 2, 2], values).statistic)


def test_effects_tell_what_matters() -> None:
    """A number and a word; what has no effect has a share near 0 and no significance after adjustment."""
    table = effects(memory_and_time())
    assert table[["metric", "hyperparameter"]].to_numpy().tolist()[:2] == [
        ["memory_mb", "size"],
        ["memory_mb", "solver"],
    ]
    memory = _row(table, "memory_mb", "size")
    assert memory["share_of_variance"] > 0.8
    assert memory["spearman"] > 0.9
    assert memory["p_holm"] < 0.01 < 0.1 < _row(table, "memory_mb", "solver")["p_holm"]
    assert (memory["lowest_at"], memory["highest_at"]) == ("8", "512")
    assert np.isnan(_row(table, "memory_mb", "solver")["spearman"])
    assert _row(table, "loss", "size")["share_of_variance"] < 0.2
    assert (table["share_of_variance"] >= 0).all()


def test_effect_that_others_hide_is_found() -> None:
    """A size that costs ten times as much hides what a tol saves; at equal sizes it is always there."""
    size, tol, seed = (axis.ravel() for axis in np.meshgrid([1, 10, 100, 1000], [0.0, 0.1, 0.2], range(3)))
    seconds = size * (1 - tol) * np.random.default_rng(0).lognormal(0, 0.02, len(size))
    study = made_study(["size", "tol", "seed"], size=size, tol=tol, seed=seed, seconds_s=seconds)
    row = _row(effects(study), "seconds_s", "tol")
    groups = [seconds[tol == level] for level in np.unique(tol)]
    assert stats.kruskal(*groups).pvalue > 0.3
    assert row["p_value"] == pytest.approx(2 * stats.friedmanchisquare(*groups).pvalue)
    assert row["smallest_p"] == pytest.approx(2 * smallest_p([12] * 3))


def test_matched_trials_of_few_blocks_show_little() -> None:
    """Two blocks that agree have the p-value of one of 3! orders; those without a level do not count."""
    values, codes = np.array([1.0, 2.0, 3.0, 10.0, 20.0, 30.0, 7.0]), np.array([0, 1, 2, 0, 1, 2, 0])
    assert matched_p(values, codes, np.array([0, 0, 0, 1, 1, 1, 2])) == pytest.approx((1 / 6, 1 / 6))
    assert np.isnan(matched_p(values, codes, np.arange(7))).all()
    ties = matched_p(np.ones(7), codes, np.array([0, 0, 0, 1, 1, 1, 2]))
    assert ties == pytest.approx((1.0, 1 / 6))


def test_p_values_are_adjusted_over_the_table() -> None:
    """Holm's: the smallest is multiplied by the number of rows."""
    table = effects(memory_and_time())
    smallest = table.loc[table["p_value"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(smallest["p_value"] * len(table), 1))


def test_trials_without_the_figure_are_left_out_and_counted() -> None:
    """Those that diverged, were stopped, or lack the figure or the hyperparameter."""
    study = made_study(
        ["size", "depth"],
        size=[1, 1, 1, 2, 2, 2, 2, 2],
        depth=[1, 2, 1, 2, 1, 2, np.nan, 1],
        status=["FINISHED"] * 7 + ["KILLED"],
        diverged=[True] + [False] * 7,
        memory_mb=[99.0, 1.0, 2.0, 3.0, 4.0, np.nan, 5.0, 99.0],
    )
    by_size, by_depth = (_row(effects(study), "memory_mb", name) for name in ("size", "depth"))
    assert (by_size["trials"], by_size["left_out"]) == (5, 3)
    assert (by_depth["trials"], by_depth["left_out"], by_depth["levels"]) == (4, 4, 2)


def test_many_values_are_cut_into_quartiles() -> None:
    """Of nine values or more; eight are eight levels. The rank correlation is with the values themselves."""
    rates = 10.0 ** -np.arange(8)
    few = _row(effects(made_study(["rate"], rate=np.tile(rates, 3), loss=np.arange(24.0))), "loss", "rate")
    assert (few["levels"], few["lowest_at"]) == (8, "1")
    many = _row(effects(made_study(["rate"], rate=np.arange(1.0, 21), loss=np.arange(20.0))), "loss", "rate")
    assert (many["levels"], many["lowest_at"], many["highest_at"]) == (4, "1 to 5", "16 to 20")
    assert many["spearman"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("levels", "values"),
    [
        pytest.param(["adam"] * 4, [1.0, 2.0, 3.0, 4.0], id="one level"),
        pytest.param(["a", "b", "c", "d"], [1.0, 2.0, 3.0, 4.0], id="as many levels as trials"),
        pytest.param(["a", "b"], [1.0, 2.0], id="two trials"),
        pytest.param([1.0, 1.0, np.nan, np.nan], [5.0, 5.0, 1.0, 2.0], id="constant where the hyperparameter is known"),
        pytest.param([np.nan] * 3, [1.0, 2.0, 3.0], id="no level"),
    ],
)
def test_what_cannot_be_told_is_nan(levels: list[Any], values: list[float]) -> None:
    """There is a row all the same, with the counts."""
    study = made_study(["solver"], solver=levels, loss=values)
    row = _row(effects(study), "loss", "solver")
    assert np.isnan([row["share_of_variance"], row["spearman"], row["p_value"], row["p_holm"]]).all()
    assert row["trials"] + row["left_out"] == len(values)
    assert interactions(study).empty


def test_metrics_that_are_constant_have_no_row() -> None:
    """Nor have those that no complete trial has."""
    study = made_study(["size"], size=[1, 2, 1, 2], loss=[1.0, 2.0, 3.0, 4.0], folds=10.0, score=np.nan, inf=np.inf)
    assert metrics(study) == ["loss"]
    assert set(effects(study)["metric"]) == {"loss"}


def test_what_follows_another_cost_has_no_row() -> None:
    """Each test weakens the others; in another script these names mean the same."""
    values = [1.0, 2.0, 3.0, 4.0]
    parts = {"user_cpu_seconds": values, "system_cpu_seconds": values, "peak_rss_mb": values}
    assert metrics(made_study(["size"], size=[1, 2, 1, 2], cpu_seconds=values, **parts)) == ["cpu_seconds"]


@pytest.mark.parametrize("ranked_by", ["val_rmse", None])
def test_last_interval_of_a_trial_is_not_a_figure_of_it(ranked_by: str | None) -> None:
    """Of the bundle's trials; in another script a metric of that name may be anything."""
    times = {name: [1.0, 2.0, 3.0, 4.0] for name in ("val_rmse", "training_time_s", "mean_step_time_ms", "memory_mb")}
    study = made_study(["size"], ranked_by, size=[1, 2, 1, 2], **times)
    assert ("memory_mb" in metrics(study)) is (ranked_by is None)


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_study_without_complete_trials_has_empty_tables(status: str) -> None:
    """There is nothing to say."""
    study = made_study(["size", "solver"], size=[1, 2], solver=["a", "b"], loss=[1.0, 2.0], status=status)
    assert effects(study).empty
    assert interactions(study).empty


@pytest.mark.parametrize("drift", [0.0, 0.6], ids=["steady machine", "machine that slows down"])
def test_effect_is_as_clear_on_a_machine_that_slows_down(drift: float) -> None:
    """A fifth more time, in trials whose time rises by 60 % over their order, which is known and taken out."""
    random = np.random.default_rng(1)
    level = np.repeat([0, 1], 30)
    place = random.permutation(60) + 1
    seconds = 1 + 0.2 * level + drift * place / 60 + random.normal(scale=0.03, size=60)
    order = Order("seconds", 0.95, 0.0, 0.0, drift, drift, told=bool(drift))
    study = replace(made_study(["level"], level=level, seconds=seconds, place=place), order={"seconds": order})
    row, unknown, untold = (
        _row(effects(each), "seconds", "level")
        for each in (study, replace(study, trials=study.trials.assign(place=None)), replace(study, order={}))
    )
    assert row["told"]
    assert not untold["place_taken_out"]
    assert untold["share_of_variance"] == unknown["share_of_variance"]
    assert row["place_taken_out"] == bool(drift)
    assert row["share_of_variance"] > 0.7
    assert row["change_high"] - row["change_low"] < 10  # % more
    assert np.isnan(unknown["place_share"])
    assert (unknown["share_of_variance"] < 0.5) == bool(drift)


def test_place_by_chance_in_line_with_a_hyperparameter_takes_nothing_from_its_effect() -> None:
    """Large batches ran late here: what is theirs is not charged to the order."""
    random, level = np.random.default_rng(0), np.repeat([0, 1], 20)
    seconds = 1 + level + random.normal(scale=0.05, size=40)
    place = np.argsort(np.argsort(level + random.normal(scale=0.5, size=40)))
    order = Order("seconds", 0.9, 0.0, 0.0, 0.5, 0.5, told=True)
    study = replace(made_study(["level"], level=level, seconds=seconds, place=place), order={"seconds": order})
    row = _row(effects(study), "seconds", "level")
    assert row["share_of_variance"] > 0.7
    assert row["place_share"] < 0.05


@pytest.mark.parametrize("noise", [0.01, 0.2], ids=["equal where they can be compared", "too few to tell"])
def test_level_at_which_only_cheap_trials_are_left_is_not_called_cheap(noise: float) -> None:
    """A rate at which all but the smallest of three batches diverge: at equal batches it takes as long as the other."""
    random = np.random.default_rng(6)
    rate, size, seed = (axis.ravel() for axis in np.meshgrid([0.01, 0.1], [2, 3, 4], range(20)))
    diverged = (rate == 0.1) & (size > 2)
    seconds = size * np.exp(random.normal(scale=noise, size=len(size)))
    study = made_study(["rate", "size", "seed"], rate=rate, size=size, seed=seed, seconds=seconds, diverged=diverged)
    row = _row(effects(study), "seconds", "rate")
    assert row["p_holm"] < 0.001
    assert not row["told"]
    assert row["matched"] == 20
    assert row["change_low"] < 0


@pytest.mark.parametrize(
    ("metric", "share", "noise", "told"),
    [
        pytest.param("memory_mb", 0.2, 0.1, True, id="A/B: 20 %"),
        pytest.param("memory_mb", -0.2, 0.1, True, id="A/B: 20 % less"),
        pytest.param("memory_mb", 0.2, 0.3, False, id="within noise"),
        pytest.param("memory_mb", 0.04, 0.001, False, id="4 % of a cost"),
        pytest.param("score", 0.04, 0.001, True, id="4 % of the score"),
        pytest.param("score", 0.04, 0.1, False, id="the score, within noise"),
        pytest.param("memory_mb", 0.0, 0.0, False, id="A/A"),
    ],
)
def test_effect_is_told_where_it_is_more_than_noise(metric: str, share: float, noise: float, told: bool) -> None:
    """Twelve trials a level, which differ by a thousandth of it at random."""
    random, level = np.random.default_rng(0), np.repeat([0, 1], 12)
    values = 100 * (1 + share * level + random.normal(scale=0.001, size=24))
    unit = "share" if metric == "memory_mb" else "score"
    known = Noise(metric, noise if unit == "share" else 100 * noise, unit, None, 9, "kinds")
    study = replace(made_study(["level"], level=level, **{metric: values}), score="score", noises={metric: known})
    if metric != "score":
        study = replace(study, trials=study.trials.assign(score=1.0))
    row = _row(effects(study), metric, "level")
    assert row["told"] is told
    assert row["difference"] == pytest.approx(abs(share) / (1 + share / 2), abs=0.002)


def test_five_megabytes_are_found_where_a_model_is_small() -> None:
    """A/B: of 176 MB they are under 5 %, and not told; of what the trial added they are."""
    random, buffer_mb = np.random.default_rng(0), np.repeat([0, 5], 12)
    growth = 1 + buffer_mb + random.normal(scale=0.1, size=24)
    table = effects(
        made_study(["buffer_mb"], buffer_mb=buffer_mb, memory_growth_mb=growth, peak_memory_mb=175 + growth)
    )
    assert table.set_index("metric")["told"].to_dict() == {"memory_growth_mb": True, "peak_memory_mb": False}


def test_a_few_pages_of_memory_are_no_finding() -> None:
    """0.02 of 0.06 MB, as small models have it, are a third: of a time that is told, and not of memory."""
    random, level = np.random.default_rng(0), np.repeat([0, 1], 12)
    values = 0.05 + 0.02 * level + random.normal(scale=0.001, size=24)
    table = effects(made_study(["level"], level=level, model_memory_mb=values, training_time_s=values))
    assert table.set_index("metric")["told"].to_dict() == {"model_memory_mb": False, "training_time_s": True}


def test_findings_in_studies_without_a_difference_are_rare() -> None:
    """A/A: 24 trials, three hyperparameters, ten figures; 2 % of studies tell an effect or interaction: of 6 none."""
    random = np.random.default_rng(0)
    first, second, third = (axis.ravel() for axis in np.meshgrid(range(4), range(3), range(2)))
    for _ in range(6):
        figures = {f"figure{each}_mb": 100 + random.normal(scale=20, size=24) for each in range(10)}
        study = made_study(["first", "second", "third"], first=first, second=second, third=third, **figures)
        assert not effects(study)["told"].any()
        assert interactions(study).empty
