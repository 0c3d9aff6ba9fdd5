"""The front of score against cost."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import numpy as np
import pytest

from entrypoints.limits.pareto import front

SCORES = {
    "a": (1.0, 5.0),
    "b": (2.0, 4.0),
    "c": (3.0, 4.0),
    "d": (2.0, 3.0),
    "e": (4.0, 9.0),
    "f": (5.0, 1.0),
    "g": (1.0, 9.0),
}


@pytest.mark.parametrize(
    ("sign", "names"),
    [
        pytest.param(1.0, ["a", "d", "f"], id="lower is better"),
        pytest.param(-1.0, ["g"], id="higher is better"),
    ],
)
def test_front_holds_what_no_other_trial_beats_without_costing_more(sign: float, names: list[str]) -> None:
    """From the cheapest on; of equal costs the better score, of equal scores the cheaper one."""
    trials = [{"trial_id": name, "cost": cost, "score": score} for name, (cost, score) in SCORES.items()]
    for order in (trials, trials[::-1]):
        rows = front(order, "score", ["cost"], [], sign=sign)
        assert [(row["trial_id"], row["value"], row["score"]) for row in rows] == [
            (name, *SCORES[name]) for name in names
        ]


def test_front_of_equal_trials_is_one_of_them() -> None:
    """The same one whatever their order."""
    trials = [{"trial_id": name, "cost": 1.0, "score": 1.0} for name in ("a", "b")]
    for order in (trials, trials[::-1]):
        assert [row["trial_id"] for row in front(order, "score", ["cost"], [], sign=1.0)] == ["a"]


MARGINS = {"cost": 0.1, "score": 1.0}


@pytest.mark.parametrize(
    ("trials", "sign", "names"),
    [
        pytest.param({"a": (100, 5.0), "b": (50, 5.9)}, 1.0, "b", id="as good and cheaper"),
        pytest.param({"a": (100, 5.0), "b": (95, 9.0)}, 1.0, "a", id="worse and hardly cheaper"),
        pytest.param({"a": (100, 5.0), "b": (50, 9.0)}, 1.0, "ba", id="worse and cheaper"),
        pytest.param({"a": (100, 9.0), "b": (50, 5.0)}, -1.0, "ba", id="higher is better"),
        pytest.param({"a": (50, 5.0), "b": (50, 5.5)}, -1.0, "b", id="as cheap and higher"),
        pytest.param({"a": (100, 5.0), "b": (99, 5.1), "c": (98, 5.2)}, 1.0, "a", id="equal in both: the best"),
        pytest.param({"a": (100, 5.0), "b": (50, 5.9), "c": (52, 5.5)}, 1.0, "c", id="as cheap: the better"),
        pytest.param({"a": (100, 5.0), "b": (70, 5.7), "c": (40, 6.4)}, 1.0, "cb", id="a chain"),
        pytest.param({"a": (100, 5.0), "b": (95, 6.5), "c": (60, 6.6), "d": (58, 9.0)}, 1.0, "ca", id="two groups"),
    ],
)
def test_front_within_noise(trials: dict[str, tuple[float, float]], sign: float, names: str) -> None:
    """From the cheapest on; the order in which trials are given does not matter."""
    rows = [{"trial_id": name, "cost": cost, "score": score} for name, (cost, score) in trials.items()]
    for order in permutations(rows):
        found = front(order, "score", ["cost"], [], sign=sign, margins=MARGINS)
        assert "".join(row["trial_id"] for row in found) == names


def test_no_two_on_the_front_are_within_noise() -> None:
    """Of many trials at random; each that is left out is beaten by one on the front in one and equal in the other."""
    random = np.random.default_rng(0)
    for _ in range(20):
        trials = [
            {"trial_id": str(each), "cost": random.uniform(1, 3), "score": random.uniform(0, 9)} for each in range(40)
        ]
        found = front(trials, "score", ["cost"], [], sign=1.0, margins=MARGINS)
        assert all(one["value"] * 1.1 < other["value"] for one, other in pairwise(found))
        for trial in trials:
            assert any(
                row["score"] <= trial["score"] + MARGINS["score"] and row["value"] <= trial["cost"] * 1.1
                for row in found
            )


def test_front_of_each_cost_names_the_trial_and_what_it_chose() -> None:
    """A trial without a figure, or with NaN for it, is not on the front of that one."""
    trials = [
        {"run_id": "run a", "trial_id": "a", "rate": 0.1, "time": 1.0, "size": 9.0, "score": 1.0, "other": 3},
        {"run_id": "run b", "trial_id": "b", "rate": 0.2, "size": 5.0, "score": 1.0},
        {"run_id": "run c", "trial_id": "c", "time": 0.5},
        {"run_id": "run d", "trial_id": "d", "time": math.nan, "size": 1.0, "score": math.nan},
    ]
    assert front(trials, "score", ["time", "size"], ["rate"], sign=1.0) == [
        {"cost": "time", "value": 1.0, "score": 1.0, "run_id": "run a", "trial_id": "a", "rate": 0.1},
        {"cost": "size", "value": 5.0, "score": 1.0, "run_id": "run b", "trial_id": "b", "rate": 0.2},
    ]
