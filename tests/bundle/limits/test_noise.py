"""How much figures differ between trials that cannot differ: by hand, and simulated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from reference import MLP_REGRESSOR, configured
from scipy import stats

from entrypoints.limits.costs import USUAL_NOISE
from entrypoints.limits.noise import (
    REPEATABILITY,
    Noise,
    cheapest_by_chance,
    group,
    margins,
    noise,
    noise_at_limits,
    of_costs,
    of_score,
    worth_telling,
)
from mlflow_sysmetrics.limits import Values

STEP = "mean_step_time_ms"


def _pairs(values: dict[str, list[float]]) -> list[tuple[str, Values]]:
    return [(kind, {STEP: math.exp(value)}) for kind, each in values.items() for value in each]


@pytest.mark.parametrize(
    ("logarithms", "share"),
    [
        pytest.param({"a": [0.0, 0.2]}, math.sqrt(0.02), id="two of a kind"),
        pytest.param({"a": [0.0, 0.2], "b": [5.0, 5.2]}, math.sqrt(0.02), id="kinds do not differ by noise"),
        pytest.param({"a": [0.0, 0.2], "b": [5.0, 5.0, 5.0]}, math.sqrt(0.02 / 3), id="pooled by degrees of freedom"),
        pytest.param({"a": [0.0, 0.2], "b": [9.0], "c": [-9.0]}, math.sqrt(0.02), id="single ones say nothing"),
    ],
)
def test_noise_is_the_spread_within_kinds(logarithms: dict[str, list[float]], share: float) -> None:
    """As a share of the figure, from hand-worked sums of squares."""
    assert noise(_pairs(logarithms), STEP, least=1) == pytest.approx(share)


@pytest.mark.parametrize(
    ("least", "known"), [pytest.param(3, True, id="enough"), pytest.param(4, False, id="one too few")]
)
def test_noise_needs_its_degrees_of_freedom(least: int, known: bool) -> None:
    """Each kind gives one less than it has trials; those without the figure, or with 0, are none."""
    pairs: list[tuple[str, Values]] = _pairs({"a": [0.0, 0.1], "b": [0.0, 0.1, 0.2]})
    pairs += [("a", {}), ("a", {STEP: 0.0}), ("c", {STEP: 1.0})]
    assert (noise(pairs, STEP, least) is not None) is known


@pytest.mark.parametrize(
    ("logarithms", "share"),
    [
        pytest.param({"a": [0.0, 1.0], "b": [5.0, 5.2]}, math.sqrt(0.02), id="of the larger figures"),
        pytest.param({"a": [0.0, 0.2], "b": [5.0, 6.0], "c": [9.0]}, math.sqrt(0.5), id="single ones are no group"),
        pytest.param({"a": [0.0, 1.0], "b": [5.0, 5.2], "c": [9.0, 9.4]}, math.sqrt(0.05), id="half of them"),
        pytest.param({"a": [0.0, 0.2, 0.1]}, 0.1, id="one group"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_noise_at_limits_is_that_of_larger_figures(logarithms: dict[str, list[float]], share: float | None) -> None:
    """Small ones differ by a larger share of themselves, and are far from what a limit allows."""
    found = noise_at_limits(_pairs(logarithms), STEP, least=1)
    assert found == (share if share is None else pytest.approx(share))


def test_noise_at_limits_is_that_of_all_while_the_larger_figures_are_few() -> None:
    """Better than none."""
    pairs = _pairs({"a": [0.0, 1.0, 0.5], "b": [5.0, 5.2]})
    assert noise_at_limits(pairs, STEP, least=2) == noise(pairs, STEP, least=2)


def test_noise_of_nothing_is_unknown() -> None:
    """Even where no degree of freedom is asked for."""
    assert noise([], STEP, least=0) is None


@pytest.mark.parametrize(
    ("algorithm", "one", "other", "same"),
    [
        pytest.param("linear", {"learning_rate": 0.1}, {"learning_rate": 0.2, "alpha": 2.0}, True, id="rate"),
        pytest.param("linear", {"batch_size": 2}, {"batch_size": 4}, False, id="batch size"),
        pytest.param("linear", {}, {"tol": 0.0, "alpha": 2.0}, True, id="a tol that is off"),
        pytest.param("linear", {"tol": 0.1}, {"tol": 0.2}, False, id="tol"),
        pytest.param("linear", {"tol": 0.1}, {"tol": 0.1, "steps": 50.0}, False, id="a tol that ended the training"),
        pytest.param(MLP_REGRESSOR, {"alpha": 0.1}, {"alpha": 0.2}, False, id="own algorithm"),
        pytest.param(MLP_REGRESSOR, {"alpha": 0.1}, {"alpha": 0.1}, True, id="own algorithm, repeated"),
    ],
)  # fmt: skip
def test_group_holds_trials_whose_cost_cannot_differ(algorithm: str, one: Any, other: Any, same: bool) -> None:
    """Of the built-in algorithms those that differ by rate and penalty; of others only the same configuration."""
    found = []
    for changes in (one, other):
        steps = changes.get("steps", 60.0)
        configuration = configured(algorithm, **{name: each for name, each in changes.items() if name != "steps"})
        found.append(group(configuration, {"steps": steps}))
    assert (found[0] == found[1]) is same


@pytest.mark.parametrize(
    ("algorithm", "rates", "source", "degrees"),
    [
        pytest.param("linear", [0.1, 0.2, 0.3], "kinds", 2, id="kinds"),
        pytest.param(MLP_REGRESSOR, [0.1, 0.1, 0.1], "repeats", 2, id="repeats"),
        pytest.param(MLP_REGRESSOR, [0.1, 0.2, 0.3], "unknown", 0, id="own algorithm"),
        pytest.param("linear", [0.1, 0.2], "unknown", 1, id="two trials"),
    ],
)
def test_noise_of_a_cost_says_where_it_is_from(algorithm: str, rates: list[float], source: str, degrees: int) -> None:
    """Two single trials differ by 2.77 times as much in 5 % of cases; what is not known has no number."""
    trials = [(configured(algorithm, alpha=rate), {STEP: 1 + 0.01 * place}) for place, rate in enumerate(rates)]
    (found,) = of_costs(trials, [STEP])
    share = math.sqrt(np.var(np.log([1.0, 1.01, 1.02]), ddof=1))
    assert (found.source, found.degrees_of_freedom, found.unit) == (source, degrees, "share")
    assert found.noise == (None if source == "unknown" else pytest.approx(share))
    assert found.margin == (None if source == "unknown" else pytest.approx(2.772 * share, rel=1e-3))
    assert Noise.read(found.row) == found


def test_noise_of_the_score_by_hand() -> None:
    """What folds have in common does not count; 1/2 more for the training rows that three folds share."""
    found = of_score("val_rmse", [[1.0, 2.0, 3.0], [1.1, 1.9, 3.0]], higher_is_better=False)
    error = np.std([0.1, -0.1, 0.0], ddof=1) * math.sqrt(1 / 3 + 1 / 2)  # that of the paired differences
    assert found.noise == pytest.approx(error)
    assert found.margin == pytest.approx(error * stats.t.ppf(0.975, 2))
    assert (found.unit, found.degrees_of_freedom, found.source) == ("val_rmse", 2, "folds")


@pytest.mark.parametrize("higher", [False, True])
def test_noise_of_the_score_is_that_of_the_better_half(higher: bool) -> None:
    """Bad models differ more from fold to fold; the order of the models does not matter."""
    random, sign = np.random.default_rng(0), 1 if higher else -1
    good, bad = random.normal(scale=0.01, size=(10, 5)), random.normal(scale=9, size=(10, 5)) - sign * 100
    both = [*good.tolist(), *bad.tolist()]
    found = of_score("score", both, higher_is_better=higher)
    assert found.noise == pytest.approx(of_score("score", good.tolist()[:6], higher_is_better=higher).noise, rel=0.5)
    assert of_score("score", both[::-1], higher_is_better=higher).noise == pytest.approx(found.noise)


@pytest.mark.parametrize(
    "folds",
    [
        pytest.param([], id="no model"),
        pytest.param([[1.0, 2.0]], id="one model"),
        pytest.param([[1.0], [2.0]], id="one fold"),
    ],
)  # fmt: skip
def test_noise_of_the_score_needs_two_models_and_two_folds(folds: list[list[float]]) -> None:
    """Else it is unknown."""
    assert of_score("val_rmse", folds, higher_is_better=False).source == "unknown"


@pytest.mark.parametrize(
    "other", [pytest.param([1.0, 2.0], id="a fold less"), pytest.param([1.0, math.nan, 3.0], id="not a number")]
)
def test_noise_of_the_score_is_of_models_that_have_all_folds(other: list[float]) -> None:
    """The others are left out."""
    whole = [[1.0, 2.0, 3.0], [1.1, 1.9, 3.0]]
    assert of_score("val_rmse", [*whole, other], higher_is_better=False) == of_score(
        "val_rmse", whole, higher_is_better=False
    )


def test_equal_models_are_rarely_told_apart() -> None:
    """The best of 24 that are equal but for noise, a tenth of which their folds share, against any other one."""
    random, told = np.random.default_rng(0), 0
    for _ in range(300):
        own, shared = random.normal(size=(24, 10)), random.normal(size=(24, 1))
        scores = random.normal(size=(1, 10)) + math.sqrt(0.9) * own + math.sqrt(0.1) * shared
        margin = of_score("val_rmse", scores.tolist(), higher_is_better=False).margin
        means = scores.mean(axis=1)
        told += margin is not None and means[random.integers(24)] - means.min() > margin
    assert told <= stats.binom.ppf(0.975, 300, 0.05)


def test_margins_are_usual_where_no_trial_has_shown_them() -> None:
    """Of a figure without a usual noise there is none."""
    known = Noise("peak_memory_mb", 0.001, "share", 0.003, 9, "kinds")
    unknown = Noise("elapsed_s", None, "share", None, 0, "unknown")
    found = margins([known, unknown])
    assert found["peak_memory_mb"] == 0.003
    assert found["elapsed_s"] == pytest.approx(REPEATABILITY * USUAL_NOISE["elapsed_s"])
    assert "model_size_kb" not in found


@pytest.mark.parametrize(
    ("noise", "share"),
    [
        pytest.param(Noise("elapsed_s", 0.0, "share", 0.0, 2, "repeats"), 0.0, id="that differs in nothing"),
        pytest.param(Noise("elapsed_s", None, "share", None, 0, "unknown"), 0.533, id="as is usual"),
        pytest.param(Noise("model_size_kb", None, "share", None, 0, "unknown"), math.inf, id="not known"),
        pytest.param(None, math.inf, id="of no study"),
    ],
)
def test_cheapest_of_eight_others_looks_cheaper_by_its_noise(noise: Noise | None, share: float) -> None:
    """A usual noise of 10 %: sqrt(2) * 0.1 * 3.02 = 0.427 as a logarithm, which is 53 %."""
    assert cheapest_by_chance(noise, 8) == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize(
    ("p", "difference", "noise_share", "told"),
    [
        pytest.param(0.001, 0.2, 0.1, True, id="all"),
        pytest.param(0.001, -0.2, 0.1, True, id="less"),
        pytest.param(0.04, 0.2, 0.1, False, id="of all families together it is chance"),
        pytest.param(0.001, 0.2, 0.3, False, id="within noise"),
        pytest.param(0.001, 0.04, 0.01, False, id="small"),
        pytest.param(math.nan, 0.2, 0.1, False, id="untested"),
        pytest.param(0.001, math.nan, 0.1, False, id="unknown"),
    ],
)
def test_finding_is_told_if_significant_and_larger_than_noise_and_than_small(
    p: float, difference: float, noise_share: float, told: bool
) -> None:
    """All three."""
    assert worth_telling(p, difference, noise_share) is told
