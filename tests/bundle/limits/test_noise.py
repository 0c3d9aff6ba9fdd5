"""How much costs differ between trials that cannot differ, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from reference import MLP_REGRESSOR, configured

from entrypoints.limits.noise import MIN_DEGREES, group, noise_at_limits

STEP = "mean_step_time_ms"


def _noise(logarithms: dict[str, list[float]]) -> float | None:
    trials = [(kind, {STEP: math.exp(value)}) for kind, values in logarithms.items() for value in values]
    return noise_at_limits([*trials, ("none", {}), ("none", {STEP: 0.0})], STEP)


@pytest.mark.parametrize(
    ("logarithms", "share"),
    [
        pytest.param({"a": [0.0, 0.2] * 6}, math.sqrt(12 * 0.01 / 11), id="one-group"),
        pytest.param({"a": [0.0, 1.0] * 6, "b": [5.0, 5.2] * 6}, math.sqrt(12 * 0.01 / 11), id="of-the-larger"),
        pytest.param({"a": [0.0, 0.2] * 6, "b": [9.0]}, math.sqrt(12 * 0.01 / 11), id="single-ones-say-nothing"),
        pytest.param({"a": [0.0, 0.2] * 3, "b": [9.0, 9.2] * 3}, math.sqrt(12 * 0.01 / 10), id="of-all-if-few"),
        pytest.param({"a": [0.0, 0.2] * (MIN_DEGREES // 2)}, None, id="too-few"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_noise_is_the_spread_within_groups_of_the_larger_figures(
    logarithms: dict[str, list[float]], share: float | None
) -> None:
    """As a share of the figure; small ones differ by a larger share of themselves, and are far from any limit."""
    assert _noise(logarithms) == (share if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("algorithm", "one", "other", "same"),
    [
        pytest.param("linear", {"learning_rate": 0.1}, {"learning_rate": 0.2, "alpha": 2.0}, True, id="rate"),
        pytest.param("linear", {"batch_size": 2}, {"batch_size": 4}, False, id="batch-size"),
        pytest.param("linear", {}, {"tol": 0.0, "alpha": 2.0}, True, id="a-tol-that-is-off"),
        pytest.param("linear", {"tol": 0.1}, {"tol": 0.2}, False, id="tol"),
        pytest.param("linear", {"tol": 0.1}, {"tol": 0.1, "steps": 50.0}, False, id="a-tol-that-ended-the-training"),
        pytest.param(MLP_REGRESSOR, {"alpha": 0.1}, {"alpha": 0.2}, False, id="own-algorithm"),
        pytest.param(MLP_REGRESSOR, {"alpha": 0.1}, {"alpha": 0.1}, True, id="own-algorithm-repeated"),
    ],
)
def test_group_holds_trials_whose_cost_cannot_differ(algorithm: str, one: Any, other: Any, same: bool) -> None:
    """Of the built-in algorithms those that differ by rate and penalty; of others only the same configuration."""
    found = []
    for changes in (one, other):
        steps = changes.get("steps", 60.0)
        configuration = configured(algorithm, **{name: each for name, each in changes.items() if name != "steps"})
        found.append(group(configuration, {"steps": steps}))
    assert (found[0] == found[1]) is same
