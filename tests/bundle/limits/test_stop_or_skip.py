"""The guard of one trial: what ends it, when, and how that reads; simulated step times where it depends on chance."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from entrypoints.limits.costs import metrics
from entrypoints.limits.ledger import Brief
from entrypoints.limits.stop_or_skip import EarlyEnd, Guard, How, Stopping, end_of
from mlflow_sysmetrics.limits import WARM_UP, Criteria, Prediction, Stop, Values

STEPS = 500
STEP_S = 1 / 128  # so that sums are exact
FULL_S = STEPS * STEP_S
PREDICTED = Prediction(14.2, 13.8, 14.7)
LIMIT_S = 10.0  # a thread that has not ended by then fails the test


def _guard(
    text: str,
    *,
    predict: bool = True,
    noise: Mapping[str, float] | None = None,
    predictions: Mapping[str, Prediction] | None = None,
) -> Guard:
    """A guard of these criteria; figures have no noise unless it is given."""
    stopping = Stopping(Criteria.parse(text, metrics("regression")), predict)
    return Guard(stopping, Brief(noise=noise or {}, predictions=dict(predictions or {})), STEPS)


def _train(guard: Guard, step_times_s: Iterable[float]) -> int | None:
    """Train until the guard says that it is enough; the step at which it does, of those where that saves something."""
    elapsed_s = 0.0
    for step, step_s in enumerate(step_times_s, start=1):
        elapsed_s += 2 * step_s
        guard.stepped(step, step_s, elapsed_s)
        if guard.ended():
            return step if step < STEPS else None
    return None


def _noisy(random: np.random.Generator, mean_s: float, share: float) -> list[float]:
    return list(random.normal(mean_s, share * mean_s, STEPS))


def test_without_criteria_nothing_ends_a_trial() -> None:
    """Whatever it costs; there is nothing to watch for."""
    predictions = {"training_time_s": Prediction(9e9, 9e9, 9e9)}
    guard = Guard(None, Brief(predictions=predictions), STEPS)
    costs = {"training_time_s": 9e9, "peak_memory_mb": 9e9, "val_loss": 9e9}
    guard.skip_if_predicted()
    guard.crossed(costs, 1)
    guard.stepped(1, 9e9, 9e9)
    guard.reported(costs, 100, {})
    assert not guard.active
    assert not guard.ended()
    assert guard.feasible(costs)
    assert not guard.names(costs)


def test_trial_that_may_converge_is_stopped_only_by_what_it_has_cost() -> None:
    """Not by a total that it may never reach. What it would have cost is not said."""
    stopping = Stopping(Criteria.parse("training_time_s<=2", metrics("regression")), predict=True)
    guard = Guard(stopping, Brief(noise={}), STEPS, may_converge=True)
    assert _train(guard, [STEP_S] * STEPS) == 2 / STEP_S + 1
    assert guard.ending is not None
    assert (guard.ending.how, guard.ending.prediction) == ("crossed", None)
    assert guard.expected({"training_time_s": 2.0})["training_time_s"] == pytest.approx(FULL_S)


def _reads(guard: Guard) -> None:
    """In the measurement's thread, which the training thread does not wait for."""
    guard.crossed({"peak_memory_mb": 300.0, "inference_latency_ms": 0.5}, 99)
    assert not guard.ended()
    figures = {"peak_memory_mb": 412.345, "model_size_kb": 4.0}
    thread = threading.Thread(target=guard.crossed, args=(figures, 100), daemon=True)
    thread.start()
    thread.join(LIMIT_S)


def _trains(guard: Guard) -> None:
    """Equal steps; the wall time is twice the training time."""
    _train(guard, [STEP_S] * STEPS)


def _reports(guard: Guard) -> None:
    """A loss that becomes no better."""
    for step, loss in ((100, 0.5), (200, 0.6), (300, 0.55)):
        guard.reported({"val_loss": loss}, step, {})


def _diverges(guard: Guard) -> None:
    """Reports of a loss that no trained model has: the second ends the trial, if it has not fallen."""
    for loss, step in ((1e9, 100), (1e8, 200), (1e9, STEPS)):
        guard.diverged(loss, 100.0, step)
    assert not guard.ended()
    guard.diverged(1e9, 100.0, 300)


@pytest.mark.parametrize(
    ("text", "happens", "reason"),
    [
        pytest.param("peak_memory_mb<=300", _reads, "peak_memory_mb 412.3 > 300 (step 100)", id="memory"),
        pytest.param("model_size_kb<=3", _reads, "model_size_kb 4 > 3 (step 100)", id="fact"),
        pytest.param("training_time_s<=3", _trains, "training_time_s 3.906 > 3 (predicted, step 52)", id="predicted"),
        pytest.param("elapsed_s<=0.5", _trains, "elapsed_s 0.5156 > 0.5 (step 33)", id="too-soon-to-predict"),
        pytest.param("val_loss patience 2", _reports, "val_loss 0.55, best 0.5 (patience 2, step 300)", id="patience"),
        pytest.param(
            "val_loss patience 9", _diverges, "val_loss 1e+09 > 100 (100x untrained, step 300)", id="diverges"
        ),
        pytest.param("val_loss<=0.1", _reports, None, id="loss-may-still-fall"),
        pytest.param("peak_memory_mb>=500", _reads, None, id="memory-may-still-grow"),
        pytest.param("", _diverges, None, id="diverges-without-limits"),
    ],
)
def test_reason_why_a_trial_ends(text: str, happens: Callable[[Guard], None], reason: str | None) -> None:
    """As soon as it is known, from whichever thread."""
    guard = _guard(text) if text else Guard(None, Brief(), STEPS)
    happens(guard)
    assert guard.ended() is (reason is not None)
    assert guard.ending is None or guard.ending.reason == reason
    assert end_of(guard.ending.how if guard.ending else None, finished=False, diverged=False) == "stopped"


def test_with_predictions_off_a_trial_ends_when_it_crosses_its_limit() -> None:
    """Neither is it skipped, nor stopped for what it will do. What it would have cost is recorded."""
    guard = _guard("training_time_s<=1", predict=False, predictions={"training_time_s": Prediction(9.0, 8.0, 9.5)})
    guard.skip_if_predicted()
    assert _train(guard, [STEP_S] * STEPS) == 129
    assert guard.ending is not None
    assert (guard.ending.how, guard.ending.reason) == ("crossed", "training_time_s 1.008 > 1 (step 129)")
    assert guard.ending.prediction is not None
    assert guard.ending.prediction.value == pytest.approx(FULL_S)


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(lambda guard: guard.crossed({"model_size_kb": 99.0}, 5), id="reading"),
        pytest.param(lambda guard: guard.stepped(5, 99.0, 99.0), id="step"),
        pytest.param(lambda guard: guard.reported({"model_size_kb": 99.0}, 5, {}), id="report"),
        pytest.param(lambda guard: guard.skip_if_predicted(), id="prediction"),
    ],
)
def test_first_reason_stays_the_reason(later: Callable[[Guard], None]) -> None:
    """What breaks while the trial comes to its end explains nothing."""
    text = "peak_memory_mb<=300, model_size_kb<=1, training_time_s<=1"
    guard = _guard(text, predictions={"training_time_s": Prediction(9.0, 8.0, 10.0)})
    guard.crossed({"peak_memory_mb": 400.0}, 4)
    first = guard.ending
    later(guard)
    assert guard.ending is first is not None
    assert first.stop.metric == "peak_memory_mb"
    other = _guard(text, predictions={"training_time_s": Prediction(9.0, 8.0, 10.0)})
    later(other)
    assert other.ended()  # on its own it would have been a reason


@pytest.mark.parametrize("first_step_s", [pytest.param(STEP_S, id="even"), pytest.param(20 * STEP_S, id="slow first")])
def test_trial_that_would_take_three_times_its_limit_ends_at_the_first_look(first_step_s: float) -> None:
    """After about 50 of 500 steps, a slow first one or not, long before the limit is reached."""
    random = np.random.default_rng(0)
    for _ in range(50):
        guard = _guard(f"training_time_s<={FULL_S / 3}", noise={"training_time_s": 0.1})
        stopped = _train(guard, [first_step_s, *_noisy(random, STEP_S, 0.05)[1:]])
        assert stopped is not None
        assert 50 <= stopped <= 60
        assert guard.ending is not None
        assert guard.ending.how == "predicted"
        assert guard.ending.prediction is not None
        assert guard.ending.prediction.value == pytest.approx(FULL_S + first_step_s - STEP_S, rel=0.05)


@pytest.mark.parametrize("metric", ["training_time_s", "elapsed_s"])
def test_trial_that_ends_below_its_limit_is_never_stopped(metric: str) -> None:
    """Though it ends only a hundredth below, its steps differ by 5 % and it is looked at 46 times."""
    random, limit = np.random.default_rng(1), 1.01 * FULL_S * (2 if metric == "elapsed_s" else 1)
    stops = [_train(_guard(f"{metric}<={limit}"), _noisy(random, STEP_S, 0.05)) for _ in range(100)]
    assert [stop for stop in stops if stop is not None] == []


def test_slow_beginning_of_tenths_of_a_second_is_no_prediction() -> None:
    """Sixty steps in 0.2 s, each as slow as three of those that follow, end nothing; steps of seconds do at once."""
    for step_s, stopped in ((0.0015, None), (STEP_S, 52)):
        times = [step_s] * 60 + [step_s / 3] * (STEPS - 60)
        assert _train(_guard(f"training_time_s<={1.2 * sum(times)}"), times) == stopped


@pytest.mark.parametrize(
    ("metric", "value"),
    [pytest.param("val_loss", 9.0, id="patience"), pytest.param("peak_memory_mb", 9e9, id="limit")],
)
def test_last_report_stops_nothing(metric: str, value: float) -> None:
    """There is nothing left to save; before it, the same report ends the trial."""
    for last, step in ((True, STEPS), (False, STEPS - 1)):
        guard = _guard("val_loss patience 1, peak_memory_mb<=300")
        guard.reported({"val_loss": 1.0}, 100, {})
        guard.reported({metric: value}, step, {})
        assert guard.ended() is not last


def test_mean_step_time_needs_evidence() -> None:
    """A mean above its limit ends the trial once enough steps have shown that this is not chance, or a slow start."""
    for steps, spread, ends in ((40, 0.0, False), (50, 0.0, True), (50, 2.0, False)):
        guard = _guard("mean_step_time_ms<=10")
        for step in range(WARM_UP):
            guard.stepped(step + 1, 0.5, step)
        for step in range(WARM_UP, WARM_UP + steps):
            slow = (step - WARM_UP) // 10 % 2
            guard.stepped(step + 1, (11 + (spread if slow else -spread)) / 1e3, step)
        guard.reported({"mean_step_time_ms": 11.0}, steps, {})
        assert guard.ended() is ends
        assert guard.ending is None or guard.ending.stop.value == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("text", "metric", "skipped"),
    [
        pytest.param("training_time_s<=1.4", "training_time_s", True, id="beyond"),
        pytest.param("training_time_s<=1.6", "training_time_s", False, id="perhaps within"),
        pytest.param("mean_step_time_ms<=1.4", "mean_step_time_ms", True, id="mean beyond"),
        pytest.param("mean_step_time_ms<=1.6", "mean_step_time_ms", False, id="mean perhaps within"),
        pytest.param("mean_step_time_ms>=1.8", "mean_step_time_ms", False, id="perhaps above a lower limit"),
        pytest.param("training_time_s>=1.8", "training_time_s", False, id="total above a lower limit"),
        pytest.param("peak_memory_mb<=1", "training_time_s", False, id="other metric"),
    ],
)
def test_trial_is_skipped_only_where_its_low_bound_breaks_a_limit(text: str, metric: str, skipped: bool) -> None:
    """What may still keep to it begins. The bound has the noise of equal trials in it already."""
    guard = _guard(text, predictions={metric: Prediction(2.0, 1.5, 2.5)}, noise={metric: 0.2})
    guard.skip_if_predicted()
    assert guard.ended() is skipped
    assert guard.ending is None or guard.ending.reason == f"{metric} 2 > 1.4 (predicted, skipped)"


def test_noise_counts_for_the_prediction_of_a_trial_that_trains() -> None:
    """A limit broken by less than figures differ from run to run does not end a trial."""
    assert _train(_guard(f"training_time_s<={FULL_S / 1.5}", noise={"training_time_s": 0.2}), [STEP_S] * STEPS) is None


@pytest.mark.parametrize(
    ("how", "step", "prediction", "reason"),
    [
        pytest.param("crossed", 100, None, "training_time_s 13.8 > 10 (step 100)", id="crossed"),
        pytest.param("crossed", 100, PREDICTED, "training_time_s 13.8 > 10 (step 100)", id="crossed, and predicted"),
        pytest.param("predicted", 121, PREDICTED, "training_time_s 14.2 > 10 (predicted, step 121)", id="predicted"),
        pytest.param("skipped", 0, PREDICTED, "training_time_s 14.2 > 10 (predicted, skipped)", id="skipped"),
    ],
)
def test_tags_of_an_ending_say_all_about_it(
    how: How, step: int, prediction: Prediction | None, reason: str, project: Path
) -> None:
    """The reason in one line, as the docs say it, and its parts to filter by."""
    tags = EarlyEnd(Stop("training_time_s<=10", "training_time_s", 13.8, 10.0, step), how, prediction).tags
    of_prediction = {"sysmetrics.stop_prediction": "14.2 (13.8 to 14.7)"} if prediction else {}
    assert tags == of_prediction | {
        "sysmetrics.stopped_by": "criteria",
        "sysmetrics.stop_reason": reason,
        "sysmetrics.stop_metric": "training_time_s",
        "sysmetrics.stop_step": str(step),
        "sysmetrics.stop_how": how,
        "sysmetrics.stop_value": "13.8",
        "sysmetrics.stop_limit": "10",
    }
    if how == "predicted":
        assert f"`{reason}`" in (project / "docs" / "limits.md").read_text()


def _crosses(guard: Guard) -> None:
    guard.crossed({"peak_memory_mb": 400.0, "cpu_seconds": 2.0}, 1)


def _is_skipped(guard: Guard) -> None:
    guard.skip_if_predicted()


def _steps(*times_s: float) -> Callable[[Guard], None]:
    def happens(guard: Guard) -> None:
        _train(guard, times_s)

    return happens


@pytest.mark.parametrize(
    ("text", "happens", "figures", "expected"),
    [
        pytest.param(
            *("peak_memory_mb<=300", _crosses, {"peak_memory_mb": 250.0, "val_loss": 0.5}),
            {"peak_memory_mb": 400.0, "val_loss": 0.5},
            id="what a thread has read",
        ),
        pytest.param("model_memory_mb<=300", _is_skipped, {}, {"model_memory_mb": 500.0}, id="what it was skipped for"),
        pytest.param(
            *("cpu_seconds<=1", _crosses, {"cpu_seconds": 2.0, "peak_memory_mb": 7.0}),
            {"cpu_seconds": 2.0, "peak_memory_mb": 7.0},
            id="a total that nothing extrapolates ended it",
        ),
        pytest.param(
            *("peak_memory_mb<=3", _crosses, {"cpu_seconds": 2.0, "peak_memory_mb": 7.0}),
            {"peak_memory_mb": 400.0},
            id="a total that nothing extrapolates did not",
        ),
        pytest.param(
            *("training_time_s<=99, peak_memory_mb<=3", _steps(STEP_S), {"training_time_s": 0.03, "val_loss": 7.0}),
            {"val_loss": 7.0},
            id="a single step says nothing",
        ),
        pytest.param(
            *(f"training_time_s<={6.5 * STEP_S}", _steps(*[STEP_S] * STEPS), {"val_loss": 0.5}),
            {"val_loss": 0.5, "training_time_s": FULL_S, "elapsed_s": 2 * FULL_S},
            id="crossed after a few steps",
        ),
        pytest.param(
            *(f"training_time_s<={22.5 * STEP_S}", _steps(20 * STEP_S, *[STEP_S] * STEPS), {"val_loss": 0.5}),
            {"val_loss": 0.5, "training_time_s": FULL_S + 19 * STEP_S, "elapsed_s": 2 * (FULL_S + 19 * STEP_S)},
            id="crossed after a slow first step",
        ),
        pytest.param(
            *(f"training_time_s<={0.5 * STEP_S}", _steps(*[STEP_S] * STEPS), {"training_time_s": 0.5 * STEP_S}),
            {"training_time_s": STEP_S},
            id="crossed in the first step",
        ),
    ],
)
def test_trial_that_ends_early_is_no_cheap_one(
    text: str, happens: Callable[[Guard], None], figures: Values, expected: Values
) -> None:
    """Its steps say what all would have cost; what ended it has at least that value; what is unknown is left out."""
    guard = _guard(text, predictions={"model_memory_mb": Prediction(500.0, 450.0, 550.0)})
    happens(guard)
    assert guard.ending is None or guard.ending.prediction is None or guard.ending.how == "skipped"
    assert guard.expected(figures) == pytest.approx(expected)


def test_wall_time_is_that_of_the_whole_trial() -> None:
    """What it does between its steps is expected of the rest, too; at its end it is measured, with what comes last."""
    guard = _guard(f"elapsed_s<={9 * FULL_S}")
    for step in range(1, 101):
        guard.stepped(step, STEP_S, 3 * step * STEP_S)
    assert guard.expected({"elapsed_s": 300 * STEP_S})["elapsed_s"] == pytest.approx(3 * FULL_S)
    for step in range(101, STEPS + 1):
        guard.stepped(step, STEP_S, 3 * step * STEP_S)
    assert guard.expected({"elapsed_s": 4 * FULL_S})["elapsed_s"] == 4 * FULL_S
