"""Two studies of the same configurations: what limits lost, and whether costs were the same in both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_up_frames import stopped, study, together
from scipy import stats

from entrypoints.frame import Frame
from entrypoints.reporting.paired import complete_of, ratios
from entrypoints.reporting.questions.limits_saved import answer

SECONDS = {8: 4.0, 16: 2.0, 32: 1.0, 64: 0.5, 128: 0.4, 256: 0.3}
SCORES = {8: 0.60, 16: 0.61, 32: 0.62, 64: 0.63, 128: 0.64, 256: 0.65}
LIMITS = "training_time_s<=2.05"


def made(times: float = 1.0, noise: float = 0.01, **changes: Any) -> Frame:
    """Six trials, whose score is the worse the cheaper they are; on a machine that is this many times as slow."""
    costs = {cost: lambda row: times * SECONDS[row["batch_size"]] for cost in ("training_time_s", "cpu_seconds")}
    exact = {"fold_sd": 0.0, "model_sd": 0.0, "noise": noise}
    frame = study({"batch_size": list(SECONDS)}, costs, lambda row: SCORES[row["batch_size"]], **exact, **changes)  # type: ignore[arg-type]
    return replace(frame, trials=frame.trials.assign(test_rmse=frame.trials["val_rmse"] + 0.1))


def limited(*batch_sizes: int, times: float = 1.0, **changes: Any) -> Frame:
    """The same under limits that have stopped these."""
    return stopped(made(times, seed=1, name="early_stop", of_study={"limits": LIMITS}, **changes), *batch_sizes)


@pytest.mark.parametrize(
    ("sizes", "by", "says"),
    [
        ([8, 64], "limits", "Of 5 trials that meet the limits 1 was stopped: not the best."),
        ([8, 16], "limits", "Of 5 trials that meet the limits 1 was stopped: the best of the others is 0.01 worse"),
        (list(SECONDS), "limits", "Of 5 trials that meet the limits 5 were stopped: no other is left."),
        ([8, 16], "tune", "None of the 5 trials that meet the limits was stopped."),
        ([8, 16], "not begun", None),
    ],
)
def test_loss_is_the_best_that_meets_the_limits_less_the_best_that_they_left(
    sizes: list[int], by: str, says: str | None
) -> None:
    """By the scores of the full study, of what both began. What another rule stopped is no loss of the limits."""
    own = stopped(limited(noise=0.0), *sizes, stopped_by=by)
    own = replace(own, trials=own.trials[own.trials["stopped_by"] != "not begun"])
    found = answer(together(made(noise=0.0), own))
    assert says is None or says in found.sentences[0]
    assert found.table["feasible"].iloc[0] == (5 if says else 4)
    if sizes == [8, 16] and by == "limits":
        assert found.table[["val_lost", "test_lost"]].iloc[0].tolist() == pytest.approx([0.01, 0.01])


def test_slower_machine_is_named_beside_a_saving() -> None:
    """Trials that ran to their end in both say what the same work cost in each."""
    slower = answer(together(made(), limited(8, times=1.3))).sentences[-1]
    assert slower.startswith("Trials that ran to their end in both took 1.3")
    assert len(answer(together(made(), limited(8))).sentences) == 1
    other = answer(together(made(), limited(8, times=1.3, about={"host": "a laptop"}))).sentences[-1]
    assert "another machine than the full study (machine; a laptop)" in other


@pytest.mark.parametrize(("times", "noise", "verdict"), [(1.03, 0.005, "agrees"), (0.93, 0.05, "unclear")])
def test_studies_agree_where_the_whole_interval_is_within_five_percent(
    times: float, noise: float, verdict: str
) -> None:
    """Also where they surely differ by less."""
    frame = together(made(noise=noise), made(times, noise=noise, seed=1))
    assert set(ratios(frame, *frame.studies.index)["verdict"]) == {verdict}


@pytest.mark.parametrize(("times", "verdict"), [(1.3, "more"), (0.7, "less")])
def test_ratio_of_costs_has_an_interval_that_holds_the_planted_one(times: float, verdict: str) -> None:
    """The configurations are paired, so that their own differences do not widen it."""
    frame = together(made(noise=0.05), made(times, noise=0.05, seed=1))
    row = ratios(frame, *frame.studies.index).set_index("metric").loc["cpu_seconds"]
    assert 0.85 * times < row["low"] < times < row["high"] < 1.2 * times
    assert (row["configurations"], row["verdict"]) == (6, verdict)


def test_ratio_is_told_where_paired_tests_of_two_costs_have_one_percent() -> None:
    """By scipy's t-test of the logarithms, and Holm's correction over the costs: the smaller p-value counts twice."""
    closest = []
    for seed in range(40):
        frame = together(made(noise=0.1, seed=2 * seed), made(1.3, noise=0.1, seed=2 * seed + 1))
        found = ratios(frame, *frame.studies.index)
        one, other = (complete_of(frame, name)[found["metric"]] for name in frame.studies.index)
        logarithms = np.log(other / one.loc[other.index])
        smallest = 2 * stats.ttest_1samp(logarithms, 0).pvalue.min()
        assert found["verdict"].eq("more").any() == (smallest < 0.01)
        closest.append(smallest)
    assert any(0.005 < p < 0.01 for p in closest)
    assert any(0.01 < p < 0.02 for p in closest)
