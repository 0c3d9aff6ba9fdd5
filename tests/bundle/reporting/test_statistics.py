"""The tests behind reports: published examples, examples by hand, and statsmodels' own formulas."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from made_up_frames import study
from scipy import stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from entrypoints.reporting.statistics import ORDER, LinearModel, by_chance, holm, over_folds, terms_of

LEVELS = {"batch_size": [8, 32, 128, 512], "learning_rate": [0.1, 0.01, 0.001], "algorithm": ["logistic", "svm"]}
COSTS = {"training_time_s": lambda row: 0.05 + 8 / row["batch_size"]}


def _table(*rows: tuple[float, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def test_linear_model_is_that_of_a_formula() -> None:
    """Type II tests, and the intervals of contrasts, of four levels with allowance for six pairs."""
    frame = study(LEVELS, COSTS, noise=0.1, repeats=3)
    trials = frame.ended
    times = trials["training_time_s"].to_numpy()
    model = LinearModel.of(trials, times, frame.hyperparameters, in_logarithms=True)
    assert model.interactions == []
    formula = smf.ols(
        "np.log(training_time_s) ~ C(batch_size) + C(learning_rate) + C(algorithm) + number + I(number**2)",
        trials.astype({"number": float}),
    ).fit()
    expected = anova_lm(formula, typ=2)["PR(>F)"]
    for name in LEVELS:
        assert model.p_value(name) == pytest.approx(expected[f"C({name})"], rel=1e-6)
    assert model.p_value(ORDER) == pytest.approx(formula.f_test("number = 0, I(number ** 2) = 0").pvalue, rel=1e-6)
    assert model.degrees == formula.df_resid
    assert model.noise == pytest.approx(math.sqrt(formula.mse_resid))
    for name, level, pairs in (("algorithm", "svm", 1), ("batch_size", 512, 6)):
        contrast = f"C({name})[T.{level}]"
        ends = np.exp([formula.params[contrast], *formula.conf_int(0.05 / pairs).loc[contrast]])
        assert model.change(name, 0, len(LEVELS[name]) - 1) == pytest.approx(tuple(ends))


def test_hyperparameter_of_many_values_bends() -> None:
    """As many as trials have halves, or thirteen."""
    few, many = (
        terms_of(study([{"alpha": 1.5**number} for number in range(count)] * 2, {}).ended, ["alpha"])["alpha"]
        for count in (12, 13)
    )
    assert (few.is_categorical, many.is_categorical) == (True, False)
    assert (len(few.levels), many.levels) == (12, [1.0, 1.5**12])


def test_t_test_over_folds_by_hand() -> None:
    """Differences 1, 2, 3 have mean 2 and variance 1; with 1/3 + 1/2 the error is the root of 5/6."""
    mean, low, high, p = over_folds(np.array([1.0, 2.0, 3.0]))
    assert (mean, low) == (2, pytest.approx(4 - high))
    assert p == pytest.approx(2 * stats.t.sf(2 / math.sqrt(5 / 6), 2))
    assert high - mean == pytest.approx(4.303 * math.sqrt(5 / 6), abs=1e-3)


def test_differences_without_spread_have_no_p_value() -> None:
    """Their error is not known."""
    mean, *unknown = over_folds(np.full(10, 0.1))
    assert mean == pytest.approx(0.1)
    assert np.isnan(unknown).all()


@pytest.mark.parametrize(
    ("scores", "p"),
    [
        pytest.param(_table((1, 2, 3), (4, 5, 6), (2, 1, 3)), 7 / 36, id="counted by hand"),
        pytest.param(_table(*[(1, 2, 3, 4)] * 3, (2, 1, 3, 4)), 13 / 24**3, id="neighbours swapped in one block"),
        pytest.param(_table(*[(1, 1, 1, 2)] * 3), 1 / 16, id="ties that all blocks have"),
    ],
)
def test_permutation_gives_the_share_of_rankings_that_agree_as_much(scores: pd.DataFrame, p: float) -> None:
    """Within what this number of draws may differ from it; F alone would say 2e-5 of the second, where it is 9e-4."""
    error = math.sqrt(p * (1 - p) / 9999)
    assert by_chance(scores) == pytest.approx(p, abs=3.5 * error)


def test_holm_is_that_of_statsmodels_and_leaves_out_what_is_unknown() -> None:
    """Whatever the order; a p-value that is not known keeps none and weakens no other."""
    p = np.random.default_rng(0).uniform(0, 0.2, 20)
    expected = multipletests(p, method="holm")[1]
    adjusted = holm([*p[:7], math.nan, *p[7:], math.nan])
    assert np.isnan(adjusted[[7, -1]]).all()
    assert adjusted[~np.isnan(adjusted)] == pytest.approx(expected)
    assert holm([]).tolist() == []
