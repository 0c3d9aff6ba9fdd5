"""The front of score against cost."""

from __future__ import annotations

import math

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
    """The first."""
    trials = [{"trial_id": name, "cost": 1.0, "score": 1.0} for name in ("a", "b")]
    assert [row["trial_id"] for row in front(trials, "score", ["cost"], [], sign=1.0)] == ["a"]


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
