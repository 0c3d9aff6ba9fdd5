"""The rank tests and the t-test for folds: published examples, examples by hand, and equal configurations."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from demsar import DEMSAR, TIES
from numpy.typing import NDArray
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC

from entrypoints.reporting.statistics import (
    LEVEL,
    NotTestableError,
    bonferroni,
    by_chance,
    chosen,
    critical_difference,
    holm,
    iman_davenport,
    kendalls_w,
    median_interval,
    pairs,
    ranks,
    signed_rank_p,
    smallest_p,
)


def _table(*rows: tuple[float, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list("abcdefg")[: len(rows[0])])


def _folds(**scores: tuple[float, ...]) -> pd.DataFrame:
    """A table of folds as studies log it: each trial's score on each fold."""
    rows = [(trial, fold, value) for trial, values in scores.items() for fold, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["trial_id", "fold", "val_rmse"])


def test_ranks_give_the_published_example() -> None:
    """Demsar's mean ranks, chi-squared 9.28 (before the correction for ties) and critical difference 1.25."""
    found = ranks(DEMSAR, higher_is_better=True)
    assert found.mean_rank.round(3).to_dict() == {"C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143}
    assert found.friedman_chi2 * TIES == pytest.approx(9.28, abs=0.006)
    assert found.critical_difference == pytest.approx(1.25, abs=0.006)
    assert (found.blocks, found.left_out) == (14, 0)


def test_nemenyi_of_the_published_example_finds_no_pair() -> None:
    """Demsar finds no difference with Nemenyi's test at 5 %: the largest, 1.18, is below 1.25."""
    found = ranks(DEMSAR, higher_is_better=True)
    assert list(found.nemenyi.columns) == list(found.nemenyi.index) == list(found.mean_rank.index)
    q = (3.143 - 1.964) / math.sqrt(4 * 5 / (6 * 14)) * math.sqrt(2)
    assert found.nemenyi.loc["C4.5", "C4.5+m+cf"] == pytest.approx(stats.studentized_range.sf(q, 4, np.inf), abs=1e-3)
    assert found.nemenyi.to_numpy().min() > LEVEL


def test_iman_davenport_gives_the_published_example() -> None:
    """Demsar's F of 3.69 with 3 and 39 degrees of freedom, which is above the critical value of 2.85."""
    f, p = iman_davenport(9.28, 14, 4)
    assert f == pytest.approx(3.69, abs=0.006)
    assert p == pytest.approx(stats.f.sf(3.69, 3, 39), abs=1e-3)
    assert p < LEVEL


def test_iman_davenport_of_ranks_with_ties_is_their_analysis_of_variance() -> None:
    """Conover's way to compute it: the F of a two-way layout of the ranks, without an effect of the blocks."""
    within = DEMSAR.rank(axis=1, ascending=False)
    configurations = 14 * ((within.mean() - 2.5) ** 2).sum()
    residual = ((within - 2.5) ** 2).to_numpy().sum() - configurations
    assert ranks(DEMSAR, higher_is_better=True).iman_davenport_f == pytest.approx(
        (configurations / 3) / (residual / 39)
    )


def test_iman_davenport_of_blocks_that_all_agree_is_infinite() -> None:
    """Three configurations in the same order on four blocks: by chance one time in 6^3."""
    found = ranks(_table((1, 2, 3), (4, 5, 6), (1, 5, 9), (2, 3, 4)), higher_is_better=False)
    assert found.iman_davenport_f == math.inf
    assert found.iman_davenport_p == pytest.approx(1 / 216)


@pytest.mark.parametrize(
    ("scores", "p"),
    [
        pytest.param(_table((1, 2, 3), (4, 5, 6), (2, 1, 3)), 7 / 36, id="counted by hand"),
        pytest.param(_table(*[(1, 2, 3, 4)] * 3, (2, 1, 3, 4)), 13 / 24**3, id="neighbours swapped in one block"),
        pytest.param(_table(*[(1, 1, 1, 2)] * 3), 1 / 16, id="ties that all blocks have"),
        pytest.param(_table(*[(1, 2, 3)] * 4), smallest_p(4, 3), id="all alike"),
    ],
)
def test_permutation_gives_the_share_of_rankings_that_agree_as_much(scores: pd.DataFrame, p: float) -> None:
    """Within what this number of draws may differ from it; F alone would say 2e-5 of the second, where it is 9e-4."""
    error = math.sqrt(p * (1 - p) / 9999)
    assert by_chance(scores) == pytest.approx(p, abs=3.5 * error)


def test_smallest_p_is_that_of_agreement() -> None:
    """24^-2 for 3 blocks and 4 configurations; below the share of one draw there is nothing."""
    assert smallest_p(3, 4) == pytest.approx(1 / 576)
    assert smallest_p(50, 200) == 1e-4


def test_kendalls_w_is_the_share_of_the_largest_chi_squared() -> None:
    """1 where all blocks agree, 0 where their ranks cancel out."""
    alike, opposed = ranks(_table((1, 2, 3), (4, 5, 6)), True), ranks(_table((1, 2, 3), (3, 2, 1)), True)
    assert kendalls_w(alike.friedman_chi2, 2, 3) == pytest.approx(1)
    assert kendalls_w(opposed.friedman_chi2, 2, 3) == pytest.approx(0)


@pytest.mark.parametrize(
    ("configurations", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_critical_difference_uses_the_published_values(configurations: int, q: float) -> None:
    """Demsar's table 5a."""
    error = math.sqrt(configurations * (configurations + 1) / (6 * 20))
    assert critical_difference(20, configurations) == pytest.approx(q * error, abs=1.5e-3 * error)


@pytest.mark.parametrize(("higher_is_better", "best"), [(True, "c"), (False, "a")], ids=["accuracy", "rmse"])
def test_first_rank_is_the_best(higher_is_better: bool, best: str) -> None:
    """The highest accuracy, or the lowest error."""
    found = ranks(_table((1, 2, 3), (1, 3, 4), (2, 1, 5)), higher_is_better)
    assert found.mean_rank.index[0] == best
    assert found.mean_rank.iloc[0] < found.mean_rank.iloc[-1]


@pytest.mark.parametrize("missing", [np.nan, np.inf], ids=["NaN", "infinity"])
def test_what_lacks_a_score_is_left_out_and_counted(missing: float) -> None:
    """A configuration without a score in some block does not take part, nor does a block without any score."""
    whole = _table((1, 2, 3), (2, 1, 3), (1, 3, 2))
    lacking = whole.assign(d=[1.0, missing, 1.0])
    lacking.loc[3] = np.nan
    expected, found = ranks(whole, higher_is_better=False), ranks(lacking, higher_is_better=False)
    assert (found.left_out, found.blocks) == (1, 3)
    assert found.mean_rank.to_dict() == expected.mean_rank.to_dict()
    assert found.friedman_p == expected.friedman_p
    assert not found.nemenyi.isna().any(axis=None)
    whole_pairs, lacking_pairs = pairs(whole, False, 0.5), pairs(lacking, False, 0.5)
    pd.testing.assert_frame_equal(lacking_pairs, whole_pairs)


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        pytest.param(_table((1, 2), (2, 1)), "3 configurations or more", id="two configurations"),
        pytest.param(_table((1, 2, 3)), "2 datasets or more, and there is 1", id="one dataset"),
        pytest.param(_table((1, 1, 1), (2, 2, 2)), "nothing to rank", id="all ties"),
        pytest.param(_table((np.nan,) * 3, (np.nan,) * 3), "and there are 0", id="NaN everywhere"),
        pytest.param(_table((1, 2, np.nan), (1, np.nan, 3)), "3 configurations or more", id="NaN somewhere"),
        pytest.param(pd.DataFrame(), "and there are 0", id="nothing"),
    ],
)
def test_what_cannot_be_ranked_is_one_sentence(scores: pd.DataFrame, says: str) -> None:
    """It says what there is and what would do."""
    with pytest.raises(NotTestableError, match=says) as raised:
        ranks(scores, higher_is_better=True)
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        pytest.param(_table((1,), (2,)), "2 configurations or more", id="one configuration"),
        pytest.param(_table((1, 2)), "2 folds or more, and there is 1", id="one fold"),
        pytest.param(_table((np.nan,) * 3, (np.nan,) * 3), "there are 0", id="NaN everywhere"),
    ],
)
def test_what_cannot_be_paired_is_one_sentence(scores: pd.DataFrame, says: str) -> None:
    """It says what there is and what would do."""
    with pytest.raises(NotTestableError, match=says):
        pairs(scores, higher_is_better=True, test_share=1 / 9)


def test_pairs_give_the_published_example() -> None:
    """scikit-learn's "Statistical comparison of models using grid search": t 0.750, one-sided p-value 0.227."""
    X, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    scores = {
        kernel: cross_val_score(SVC(kernel=kernel, random_state=0), X, y, scoring="roc_auc", cv=folds)
        for kernel in ("rbf", "linear")
    }
    (row,) = pairs(pd.DataFrame(scores), higher_is_better=True, test_share=10 / 90).to_dict("records")
    assert (row["first"], row["second"]) == ("rbf", "linear")
    assert row["t"] == pytest.approx(0.750, abs=6e-4)
    assert row["p_value"] / 2 == pytest.approx(0.227, abs=6e-4)


def test_pairs_by_hand() -> None:
    """Differences 1, 2, 3 have mean 2 and variance 1; with 1/3 + 1/6 the error is the root of 1/2."""
    (row,) = pairs(_table((1, 2), (3, 5), (5, 8)), higher_is_better=False, test_share=1 / 6).to_dict("records")
    assert row["difference"] == pytest.approx(2)
    assert row["t"] == pytest.approx(2 / math.sqrt(0.5))
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(2 / math.sqrt(0.5), 2))
    assert row["high"] - 2 == pytest.approx(2 - row["low"])
    assert row["high"] == pytest.approx(2 + 4.303 * math.sqrt(0.5), abs=1e-3)


def test_pairs_hold_the_first_against_each_other_one() -> None:
    """A difference says by how much the first is better; p-values are adjusted by Holm's method over the pairs."""
    scores = _table((0.9, 0.7, 0.95), (0.8, 0.65, 0.8), (0.85, 0.7, 0.8), (0.9, 0.72, 0.92))
    higher, lower = (pairs(scores, higher_is_better, 1 / 9) for higher_is_better in (True, False))
    assert higher["first"].tolist() == ["a", "a"]
    assert higher["second"].tolist() == ["b", "c"]
    assert higher["difference"].tolist() == pytest.approx([0.17, -0.005])
    assert lower["difference"].tolist() == pytest.approx([-0.17, 0.005])
    assert higher["p_holm"].tolist() == pytest.approx([2 * higher["p_value"][0], higher["p_value"][1]])


@pytest.mark.parametrize(
    ("others", "p_value"),
    [pytest.param((0.1, 0.2, 0.3), 1.0, id="equal"), pytest.param((0.2, 0.3, 0.4), np.nan, id="always as much better")],
)
@pytest.mark.filterwarnings("error")
def test_difference_without_spread_is_never_significant(others: tuple[float, ...], p_value: float) -> None:
    """Its error cannot be known from the folds; equal ones are equal."""
    scores: pd.DataFrame = pd.DataFrame({"a": (0.1, 0.2, 0.3), "b": others})
    (row,) = pairs(scores, higher_is_better=True, test_share=1 / 9).to_dict("records")
    assert row["p_value"] == pytest.approx(p_value, nan_ok=True)
    assert row["p_holm"] == pytest.approx(p_value, nan_ok=True)


def test_chosen_are_the_best_of_every_second_fold() -> None:
    """On the first, third and fifth; the scores are of the others, in the order of the choice."""
    folds = _folds(
        good=(1, 9, 1, 8, 1, 7),
        lucky=(3, 0, 3, 0, 3, 0),
        better=(0, 5, 0, 6, 0, 4),
        diverged=(0, 0, math.nan, 0, 0, 0),
    )
    ids, scores = chosen(folds.sample(frac=1, random_state=0), "val_rmse", higher_is_better=False, most=2)
    assert ids == ["better", "good"]
    assert scores.to_dict("list") == {"better": [5, 6, 4], "good": [9, 8, 7]}
    assert scores.index.tolist() == [1, 3, 5]
    assert chosen(folds, "val_rmse", higher_is_better=True)[0] == ["lucky", "good", "better"]


@pytest.mark.parametrize(
    ("folds", "says"),
    [
        pytest.param(pd.DataFrame(columns=["trial_id", "fold"]), "no val_rmse for each fold", id="no folds"),
        pytest.param(_folds(a=(1,), b=(2,)), "4 folds or more.*there is 1", id="one fold"),
        pytest.param(_folds(a=(1, 2, 3), b=(2, 3, 4)), "4 folds or more.*there are 3", id="three folds"),
    ],
)
def test_choice_without_enough_folds_is_one_sentence(folds: pd.DataFrame, says: str) -> None:
    """It says what there is and what would do."""
    with pytest.raises(NotTestableError, match=says):
        chosen(folds, "val_rmse", higher_is_better=False)


def test_median_s_interval_and_test_need_six_values() -> None:
    """All of six values hold the median with 97 %; of fewer nothing is said, and values that are all 0 are no sign."""
    values = np.array([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    assert median_interval(values) == (1.0, 6.0)
    assert signed_rank_p(values) == pytest.approx(2 / 2**6)
    assert np.isnan([*median_interval(values[:5]), signed_rank_p(values[:5])]).all()
    assert signed_rank_p(np.zeros(6)) == 1.0


def test_adjusted_p_values_by_hand() -> None:
    """Holm multiplies the smallest by their number, the next by one less; Bonferroni all; NaN does not count."""
    p_values = [0.01, np.nan, 0.04, 0.03]
    assert holm(p_values).tolist() == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert bonferroni(p_values).tolist() == pytest.approx([0.03, np.nan, 0.12, 0.09], nan_ok=True)
    assert bonferroni([0.6, 0.7]).tolist() == [1, 1]
    assert np.isnan(holm([np.nan])).all()
    assert len(holm([])) == 0


SIMULATIONS = 100


def _equal_configurations(random: np.random.Generator, configurations: int) -> NDArray[np.float64]:
    """Scores on ten folds that have 1/10 of their variance in common, as folds with shared training rows have."""
    own, shared = random.normal(size=(10, configurations)), random.normal(size=configurations)
    return random.normal(size=(10, 1)) + math.sqrt(0.9) * own + math.sqrt(0.1) * shared


@pytest.mark.parametrize("configurations", [10, 30])
def test_equal_configurations_are_rarely_called_different(configurations: int) -> None:
    """From the choice to the verdict: 5 % of studies, and what this number of simulations may differ from it."""
    random, called = np.random.default_rng(0), 0
    fold, trial = np.indices((10, configurations)).reshape(2, -1)
    for _ in range(SIMULATIONS):
        scores = _equal_configurations(random, configurations)
        folds = pd.DataFrame({"fold": fold, "trial_id": trial, "val_rmse": scores.ravel()})
        _, others = chosen(folds, "val_rmse", higher_is_better=False)
        called += pairs(others, higher_is_better=False, test_share=1 / 9)["different"].any()
    assert 0 < called <= stats.binom.ppf(0.975, SIMULATIONS, LEVEL)


def test_rank_test_over_folds_is_left_out_for_a_reason() -> None:
    """It finds differences between equal configurations in far more than 5 % of studies."""
    random = np.random.default_rng(0)
    simulated = [_equal_configurations(random, 10) for _ in range(SIMULATIONS)]
    assert np.mean([stats.friedmanchisquare(*scores.T).pvalue < LEVEL for scores in simulated]) > 0.15
