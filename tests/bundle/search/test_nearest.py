"""The trials of a study under its limits: who comes nearest and which limits tell nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reference import configured

from entrypoints.limits.costs import metrics
from entrypoints.limits.extrapolation import Prediction
from entrypoints.limits.stop_or_skip import EarlyEnd, How
from entrypoints.search.nearest import Judged, judge
from entrypoints.search.record import TrialRecord
from mlflow_sysmetrics.limits import Criteria, Stop, Values

TIME = "training_time_s<=1"


def _trial(name: str, figures: Mapping[str, float], **values: Any) -> TrialRecord:
    return TrialRecord(name, configured(), **{"status": "FINISHED", "figures": dict(figures), **values})


def _stopped(name: str, value: float, how: How = "crossed", prediction: Prediction | None = None) -> TrialRecord:
    ending = EarlyEnd(Stop(TIME, "training_time_s", value, 1.0, 10), how, prediction)
    figures = {"training_time_s": 0.1}
    return _trial(name, figures, status="KILLED", ending=ending, expected=ending.expected(figures))


def _judged(text: str, *trials: TrialRecord) -> Judged:
    return judge(Criteria.parse(text, metrics("regression")), trials)


def _names(trials: Iterable[TrialRecord]) -> list[str]:
    return [trial.trial_id for trial in trials]


def test_nearest_trials_are_those_that_break_their_limits_by_least() -> None:
    """Sums over limits, relative to each; what they break comes with them."""
    judged = _judged(
        f"{TIME}, peak_memory_mb<=100",
        _trial("far", {"training_time_s": 3.0}),
        _trial("feasible", {"training_time_s": 0.5}),
        _trial("two", {"training_time_s": 1.1, "peak_memory_mb": 120.0}),
        _trial("near", {"training_time_s": 1.2}),
    )
    assert _names(trial for trial, _ in judged.nearest) == ["near", "two", "far"]
    two = [(stop.metric, stop.value, stop.limit) for stop in judged.nearest[1][1]]
    assert two == [("training_time_s", 1.1, 1.0), ("peak_memory_mb", 120.0, 100.0)]


def test_stopped_trials_are_near_by_what_they_were_predicted_to_cost() -> None:
    """Not by the low bound of it, nor by what they had cost, unless nothing more is known."""
    judged = _judged(
        TIME,
        _trial("finished", {"training_time_s": 1.8}),
        _stopped("crossed", 1.3),
        _stopped("crossed on its way", 1.3, "crossed", Prediction(9.0, 8.0, 9.5)),
        _stopped("predicted", 1.1, "predicted", Prediction(2.5, 1.1, 3.0)),
        _stopped("skipped", 1.1, "skipped", Prediction(1.5, 1.1, 3.0)),
    )
    nearest = [(trial.trial_id, stops[0].value) for trial, stops in judged.nearest]
    assert nearest == [
        ("crossed", 1.3),
        ("skipped", 1.5),
        ("finished", 1.8),
        ("predicted", 2.5),
        ("crossed on its way", 9.0),
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param(TIME, {"status": "FAILED"}, id="failed"),
        pytest.param(TIME, {"diverged": True}, id="diverged"),
        pytest.param("val_rmse<=0.66", {"status": "KILLED", "cut_off": True}, id="cut off by the time limit"),
        pytest.param("val_rmse<=0.66", {"status": "KILLED", "by_person": True}, id="ended by a person"),
        pytest.param("val_rmse<=0.66", {"status": "KILLED"}, id="ended by a scheduler"),
    ],
)
def test_trials_without_a_model_are_not_near(text: str, values: dict[str, Any]) -> None:
    """One that failed or diverged is worth no higher limit; what another is half way says nothing of its end."""
    assert _judged(text, _trial("on its way", {"training_time_s": 1.1, "val_rmse": 0.7}, **values)).nearest == []


def test_relative_limits_come_from_the_trials_whose_cost_is_known() -> None:
    """Not of those that were cut off; those that their limits ended count with what they would have cost."""
    times = (1.0, 2.0, 3.0, 4.0, 10.0)
    finished = [_trial(str(time_s), {"training_time_s": time_s}) for time_s in times]
    cut_off = [_trial(f"cut off {number}", {"training_time_s": 0.1}, status="KILLED") for number in range(9)]
    judged = _judged("training_time_s<=2x median", *finished, *cut_off)
    assert _names(trial for trial, _ in judged.nearest) == ["10.0"]
    dear = [_stopped(f"stopped {number}", 1.0, "skipped", Prediction(20.0, 18.0, 22.0)) for number in range(5)]
    assert _judged("training_time_s<=2x median", *finished, *cut_off, *dear).nearest == []


def _kinds(*means: float, spread: float = 0.05) -> list[TrialRecord]:
    """Eight trials of each kind, which differ by a rate alone."""
    random = np.random.default_rng(0)
    return [
        TrialRecord("id", configured(batch_size=8 * 2**place, learning_rate=rate), "FINISHED", figures)
        for place, mean in enumerate(means)
        for rate, figures in _noisy(random, mean, spread)
    ]


def _noisy(random: np.random.Generator, mean: float, spread: float) -> list[tuple[float, dict[str, float]]]:
    return [(0.1 / number, {"training_time_s": mean * random.normal(1, spread)}) for number in range(1, 9)]


@pytest.mark.parametrize(
    ("trials", "text", "named"),
    [
        pytest.param(_kinds(1.0, 1.0, 1.0), TIME, True, id="in the middle of equal costs"),
        pytest.param(_kinds(1.0, 1.0, 1.0), "training_time_s<=3", False, id="above equal costs"),
        pytest.param(_kinds(0.1, 0.2, 5.0, 9.0), TIME, False, id="between clearly different kinds"),
        pytest.param(_kinds(0.1, 1.0, 5.0), TIME, False, id="in the middle of a third"),
        pytest.param(_kinds(0.1, 1.0, 1.0), TIME, True, id="in the middle of two thirds"),
        pytest.param(_kinds(1.0, 1.0), "training_time_s<=1x median", True, id="relative"),
        pytest.param(_kinds(0.8, 0.8, spread=0.3), TIME, True, id="a fifth below, of noisy trials"),
        pytest.param(_kinds(0.8, 0.8, spread=0.01), TIME, False, id="a fifth below, of quiet ones"),
        pytest.param(_kinds(0.8)[:2], TIME, True, id="a fifth below, of two with the usual noise"),
        pytest.param([*_kinds(1.0), *map(_stopped, "abcdefghi", [9.0] * 9)], TIME, False, id="beside more stopped"),
        pytest.param(_kinds(1.0), "model_size_kb<=1", False, id="nothing known"),
        pytest.param([], "training_time_s<=2x median", False, id="no trials"),
    ],
)
def test_limit_inside_the_noise_of_most_trials_is_named(trials: list[TrialRecord], text: str, named: bool) -> None:
    """It cannot tell them apart: they fall on either side of it by chance."""
    assert _judged(text, *trials).indistinct == ([text] if named else [])


def test_trials_that_were_cut_off_do_not_hide_that_a_limit_tells_others_apart() -> None:
    """What they had cost by then says nothing of how equal trials differ."""
    cut_off = [_trial(str(place), {"training_time_s": 0.5 + place / 4}, status="KILLED") for place in range(9)]
    assert _judged(TIME, *_kinds(0.8, 0.8, spread=0.01), *cut_off).indistinct == []


@pytest.mark.parametrize(
    ("values", "why"),
    [
        pytest.param([1.0] * 4, "fewer than 5 trials have the figure", id="four"),
        pytest.param([1.0] * 5, None, id="five"),
        pytest.param([-1.0] * 5, "the median is negative", id="memory that shrank"),
    ],
)
def test_relative_limits_that_were_not_applied_are_named(values: list[float], why: str | None) -> None:
    """With the reason; an absolute limit always is applied."""
    ended = [_trial(str(place), {"memory_growth_mb": value}) for place, value in enumerate(values)]
    judged = _judged("memory_growth_mb<=2x median, peak_memory_mb<=1", *ended)
    assert judged.inactive == ([f"`memory_growth_mb<=2x median` was not applied: {why}"] if why else [])


def test_relative_limit_that_ended_trials_before_too_few_were_left_is_not_called_unused() -> None:
    """It was of what trials to come were expected to cost."""
    ended = [_trial(str(place), {"training_time_s": 1.0}) for place in range(3)]
    text = "training_time_s<=2x median"
    stop = Stop(text, "training_time_s", 9.0, 2.0, 10)
    stopped = replace(_stopped("d", 9.0), ending=EarlyEnd(stop, "crossed", None))
    (says,) = _judged(text, *ended, stopped).inactive
    assert says == (
        f"`{text}` ended 1, by what trials were expected to cost, and was not applied to others: "
        "fewer than 5 trials have the figure"
    )


def test_figures_without_noise_are_always_told_apart() -> None:
    """A model's size is the same each time, so that the limit itself parts them."""
    figures: list[Values] = [{"model_size_kb": size} for size in (1.0, 1.0001)]
    assert _judged("model_size_kb<=1", *(_trial("id", each) for each in figures)).indistinct == []
