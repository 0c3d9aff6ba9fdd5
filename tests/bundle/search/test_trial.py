"""The Ray trainable, driven as Tune drives it but in this process: results, tags, memory, a new beginning."""

import importlib
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from clock import Clock
from reference import FOLDS, MLP_REGRESSOR, bundled, configured, configured_whole
from sklearn import get_config

from entrypoints.compute import memory
from entrypoints.limits.cost_history import CostHistory
from entrypoints.limits.costs import metrics
from entrypoints.limits.grammar import Limits
from entrypoints.models import scores
from entrypoints.models.racing import Change, Rival
from entrypoints.models.trial_record import Trial, end_tags, read_end
from entrypoints.search.trial import RESULT_EVERY_S, TrialTrainable
from mlflow_sysmetrics.delivery.operations import Point, points_now
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY

Config = dict[str, Any]
Begin = Callable[..., TrialTrainable]
AT_EACH_REPORT = {
    *("train_loss", "val_loss", "val_loss_sd", "val_rmse", "val_rmse_sd"),
    *("training_time_s", "step_time_ms", "cpu_percent", "memory_mb"),
}
COSTS = {
    *("mean_step_time_ms", "mean_cpu_percent", "cpu_seconds", "user_cpu_seconds", "system_cpu_seconds", "elapsed_s"),
    *("peak_memory_mb", "memory_growth_mb", "peak_rss_mb", "model_memory_mb"),
    *("read_mb", "write_mb", "steps"),
}
INFERENCE = {"inference_latency_ms", "inference_p99_ms", "rows_per_s", "model_size_kb"}
AT_THE_END = {"test_rmse", "test_loss"} | INFERENCE | COSTS


def _config(algorithm="linear", **changes):
    """What Tune hands to a trial."""
    usual = {"batch_size": 64, "seed": 0, "steps": 200}
    usual |= {"learning_rate": 0.001} if algorithm == "linear" else {}
    return {"configuration": configured(algorithm, **usual | changes)}


CONFIG = _config()


@pytest.fixture
def begin():
    """Begin a trial in this process, with limits if limits are given; it is stopped after the test."""
    begun = []

    def begin(
        config=CONFIG,
        limits="",
        *,
        dataset="red_wine",
        cost_history=None,
    ):
        score = scores.find(None, bundled(dataset).task)
        known = metrics(score.validated, score.higher_is_better)
        parsed = Limits.parse(limits, known) if limits else None

        class WithData(TrialTrainable):
            """What `tune.with_parameters` makes of it, without Ray's object store."""

            def setup(self, config):  # type: ignore[override]
                super().setup(
                    config,
                    bundled(dataset),
                    limits=parsed,
                    cost_history=cost_history,
                )

        begun.append(WithData(config))
        return begun[-1]

    yield begin
    for trial in begun:
        trial.stop()


def _points(results):
    """What the callback writes: all points, and the summary of a result that is the trial's last."""
    points = [Point(*point) for result in results for point in result[PAYLOAD_KEY]["points"]]
    summary = results[-1][PAYLOAD_KEY]["summary"] if results[-1]["done"] else {}
    return points + points_now(summary, step=0)


def _to_the_end(trial):
    results = [trial.train()]
    while not results[-1]["done"]:
        results.append(trial.train())
    return results


def _tags(result):
    return {name.removeprefix("sysmetrics."): tag for name, tag in result[PAYLOAD_KEY]["tags"].items()}


def _has_ended(result):
    """Whether it came to its own end."""
    return bool(result[PAYLOAD_KEY]["status"] == "FINISHED")


def test_wait_for_tune_is_no_cost_of_a_trial(begin):
    """Its time is no longer than its training took, and shares are of that."""
    config = _config(steps=20)
    trial = begin(config)
    for number in ("first", "later"):
        if number == "later":
            assert trial.reset(config)
        threading.Event().wait(0.5)
        began, used_s = time.monotonic(), time.process_time()
        results = _to_the_end(trial)
        took_s, used_s = time.monotonic() - began, time.process_time() - used_s
        interval = max(point.value for point in _points(results) if point.name == "cpu_percent")
        figures = results[-1]["figures"]
        assert _has_ended(results[-1])
        assert figures["elapsed_s"] <= took_s
        assert figures["mean_cpu_percent"] > 25 * used_s / took_s < 2 * interval


def test_points_are_spread_over_a_trials_training(begin, monkeypatch):
    """About twenty, if no distance is given, of a short trial as of a long one; and one before its first step.

    A trial that is over before a result is due costs the driver one. The first one here is dropped before it begins.
    """
    monkeypatch.setattr("entrypoints.search.trial.RESULT_EVERY_S", 600.0)
    trial = begin()
    for steps in (60, 300):
        assert trial.reset(_config(steps=steps))
        (result,) = _to_the_end(trial)
        points = [point.step for point in _points([result]) if point.name == "val_loss"]
        assert points == list(range(0, steps + 1, steps // 20))


def test_trial_in_a_used_process_is_as_in_a_fresh_one(begin):
    """Nothing of the models, the order of batches, the data, the time or the memory of others is carried over."""
    trial = begin()
    first = _points(_to_the_end(trial))
    assert trial.reset(_config(MLP_REGRESSOR, steps=30))
    _to_the_end(trial)
    assert trial.reset(_config(steps=1500, batch_size=8))
    longer = _points(_to_the_end(trial))
    reset_at_ms = int(time.time() * 1000)
    assert trial.reset(CONFIG)
    later = _points(_to_the_end(trial))
    assert min(point.time_ms for point in later) >= reset_at_ms
    values = [
        {name: [point.value for point in points if point.name == name] for name in AT_EACH_REPORT | AT_THE_END}
        for points in (first, longer, later)
    ]
    for name in ("train_loss", "val_loss", "val_rmse", "test_rmse"):
        assert values[2][name] == values[0][name] != values[1][name]
    for name in ("training_time_s", "elapsed_s"):
        assert values[2][name][-1] < values[1][name][-1]


@pytest.mark.parametrize(
    ("dataset", "algorithm"),
    [
        pytest.param("diabetes", "sklearn.naive_bayes.GaussianNB", id="by batches"),
        pytest.param("red_wine", "boosting", id="by folds"),
    ],
)
def test_trial_of_the_users_algorithm_has_the_same_figures(begin, dataset, algorithm):
    """Curves, costs, test figures, latency and size of whatever estimator; its score is that of the task."""
    whole = algorithm == "boosting"
    config = {"configuration": configured_whole(algorithm, 20)} if whole else _config(algorithm)
    results = _to_the_end(begin(config, dataset=dataset))
    last, figures = results[-1], results[-1]["figures"]
    of_task = "accuracy" if "test_accuracy" in figures else "rmse"
    assert figures.keys() == {name.replace("rmse", of_task) for name in AT_EACH_REPORT | AT_THE_END}
    assert _tags(last)["diverged"] == "false"
    curve = [point for point in _points(results) if point.name == "val_loss"]
    assert [point.step for point in curve] == ([*range(FOLDS + 1)] if whole else [*range(0, 201, 10)])
    assert 0.5 < figures[f"test_{of_task}"] < 0.9


def test_long_trial_hands_over_a_result_about_every_second(begin, own, monkeypatch):
    """Not each report is a result, and none waits long: the driver is spared, and the trial is live.

    Where no report is due for seconds, results still bring what the thread has read.
    """
    assert RESULT_EVERY_S == 1
    every_s = 0.7  # a window of the thread's, and some
    monkeypatch.setattr("entrypoints.search.trial.RESULT_EVERY_S", every_s)
    trial = begin(_own_config(wait_s=0.02, steps=40))
    for _ in range(2):
        began = time.monotonic()
        result = trial.train()
        took = time.monotonic() - began
        assert not result["done"]
        assert result[PAYLOAD_KEY]["status"] is None
        assert result[PAYLOAD_KEY]["summary"].keys() == COSTS  # it may be the last one
        assert result["figures"]["elapsed_s"] == result[PAYLOAD_KEY]["summary"]["elapsed_s"] >= took * 0.5
        assert every_s <= took < 6  # the whole trial takes that long
        reports = [point.step for point in _points([result]) if point.name == "val_rmse"]
        assert reports[-1] <= result["step"] < reports[-1] + 2
        assert len(reports) > 1
    assert trial.reset(_config(steps=1_000_000))
    results = [trial.train()]
    while len(results) < 60 and "system/process_memory_mb" not in {point.name for point in _points(results)}:
        results.append(trial.train())
    names = {point.name for point in _points(results)}
    assert "system/process_memory_mb" in names
    assert "val_rmse" not in names


def test_converged_trial_is_finished_with_all_figures(begin):
    """Its last report is at the step at which it converged; no limit is told how many steps it would have had."""
    usual = {"batch_size": 512, "steps": 1000, "learning_rate": 0.01}
    results = _to_the_end(begin(_config(**usual, tol=0.1), "training_time_s<=1e9, peak_memory_mb<=1e9"))
    last, payload = results[-1], results[-1][PAYLOAD_KEY]
    assert payload["status"] == "FINISHED"
    assert last["figures"].keys() >= AT_THE_END | AT_EACH_REPORT
    losses = [point for point in _points(results) if point.name == "val_loss"]
    assert losses[-1].step == last["step"] == last["figures"]["steps"] < 100
    assert _to_the_end(begin(_config(**usual | {"steps": 60}, tol=0.0)))[-1]["step"] == 60


OWN = """
import threading
import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, RegressorMixin

trained, held = [], []  # who was trained, once per partial_fit; what they have allocated
settings = []  # scikit-learn's, at each partial_fit
pause = threading.Event().wait

class Model(RegressorMixin, BaseEstimator):
    def __init__(self, wait_s=0.0, hold_mb=0, once=False, free_at=0, says=0.0, size_mb=0, touch_mb=0):
        self.wait_s, self.hold_mb, self.once, self.free_at, self.says = wait_s, hold_mb, once, free_at, says
        self.size_mb, self.touch_mb = size_mb, touch_mb

    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        trained.append(id(self))
        settings.append(get_config())
        if self.hold_mb and not (self.once and hasattr(self, "trained_")):
            held.append(np.ones(self.hold_mb * 125_000))  # every page is touched
        if len(trained) == self.free_at:
            held.clear()
        if len(trained) == 1:
            np.ones(self.touch_mb * 125_000)
        self.own_ = np.ones(self.size_mb * 125_000)
        for _ in range(16):  # also a machine that stalls leaves some for the thread that reads
            pause(self.wait_s / 16)
        self.trained_ = True
        return self

    def predict(self, X):
        return np.full(len(X), self.says)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The module `own_model` of the user's: slow, greedy and wrong models; what they hold is freed after the test."""
    (tmp_path / "own_model.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("own_model")
    yield module
    module.held.clear()
    del sys.modules["own_model"]


def _own_config(**changes):
    return _config("own_model.Model", **{"steps": 30} | changes)


def test_nothing_of_scikit_learn_is_switched_off_while_a_trial_trains(begin, own):
    """What a model costs in a trial it has to cost in a loop by hand."""
    _to_the_end(begin(_own_config()))
    assert own.settings == [get_config()] * len(own.trained)


@pytest.mark.parametrize(
    ("metric", "limit", "model", "begins"),
    [
        pytest.param("memory_growth_mb", 150, {"hold_mb": 300, "wait_s": 0.8}, True, id="memory, which a thread reads"),
        pytest.param("elapsed_s", 1.0, {"wait_s": 1.6}, True, id="time, which the thread reads"),
        pytest.param("inference_latency_ms", 1e-6, {}, False, id="latency of a model that is tried on one batch"),
    ],
)
def test_trial_ends_before_its_next_step_when_a_limit_is_broken(begin, own, metric, limit, model, begins):
    """The first of 90 calls of partial_fit is the last one; what shows before it ends a trial that never begins."""
    memory.release()  # of earlier tests
    (result,) = _to_the_end(begin(_own_config(**model), f"{metric}<={limit:g}"))
    assert len(own.trained) == 1
    assert result["step"] == 0
    tags = _tags(result)
    assert (tags["stop_metric"], tags["stop_how"]) == (metric, "crossed")
    told = re.fullmatch(rf"{metric} (\S+) > {limit:g} \(step 0\)", tags["stop_reason"])
    assert told
    assert limit < float(told[1]) <= result["figures"][metric] * 1.001 + 0.01
    assert (tags["feasible"], result[PAYLOAD_KEY]["status"]) == ("false", "KILLED")
    assert ("training_time_s" in result["figures"]) is begins
    assert ({"val_loss", "memory_mb"} <= {point.name for point in _points([result])}) is begins


def test_memory_that_is_freed_half_way_stays_in_the_peak_alone(begin, own):
    """3 models take 5 MB each and free it after 15 steps: the curve falls, peak and growth do not.

    Although the libc keeps what is freed once the process has freed a larger piece, as an earlier trial may have.
    """
    np.ones(30 * 125_000)
    results = _to_the_end(begin(_own_config(hold_mb=5, once=True, free_at=15 * FOLDS)))
    before_mb, *curve = [point.value for point in _points(results) if point.name == "memory_mb"]
    assert [value - before_mb for value in curve] == pytest.approx([15] * 7 + [0] * 8, abs=1)
    assert results[-1]["figures"]["peak_memory_mb"] - before_mb == pytest.approx(15, abs=2)
    assert results[-1]["figures"]["memory_growth_mb"] == pytest.approx(15, abs=2)


def test_memory_of_a_trial_is_its_own_and_its_peak_has_what_no_reading_has(begin, own):
    """Three models of 20 MB, and 300 MB that are freed at once: these count in the peak of resident memory.

    Also where that mark is set back to measure a model, and nothing of either for the next trial in the process.
    """
    memory.release()  # of earlier tests
    before_mb = float(psutil.Process().memory_info().rss) / 1e6  # without the processes below it
    trial = begin(_own_config(size_mb=20, touch_mb=300))
    first = _to_the_end(trial)[-1]["figures"]
    assert first["memory_growth_mb"] > 55
    assert first["peak_rss_mb"] - before_mb == pytest.approx(300, abs=30)
    assert trial.reset(_own_config())
    results = _to_the_end(trial)
    last, own_mb = results[-1]["figures"], [point.value for point in _points(results) if point.name == "memory_mb"]
    assert last["peak_memory_mb"] - own_mb[0] < 5
    assert last["memory_growth_mb"] < 5
    assert last["peak_rss_mb"] - before_mb < 30


def test_trial_ends_at_the_step_that_breaks_its_training_time(begin, own, monkeypatch):
    """Time in partial_fit, of one fold; of all it is three times that. What 30 steps would have cost is left, too.

    Nothing of the reason is carried over to the next trial in the process.
    """
    clock = Clock()
    with monkeypatch.context() as standing:
        standing.setattr("entrypoints.models.fold.CoreWait", lambda: lambda: 0.0)
        standing.setattr("entrypoints.models.fold.perf_counter", clock)
        standing.setattr(own, "pause", lambda seconds: setattr(clock, "now", clock.now + seconds))
        trial = begin(_own_config(wait_s=0.1), "training_time_s<=0.2")
        result = _to_the_end(trial)[-1]
    assert result["step"] == 3  # of 30
    assert len(own.trained) == FOLDS * 3
    assert re.fullmatch(r"training_time_s 0\.3\d* > 0\.2 \(step 3\)", _tags(result)["stop_reason"])
    assert result["figures"]["training_time_s"] == pytest.approx(0.3)
    end = read_end(result[PAYLOAD_KEY]["tags"])
    assert end
    assert end["expected"]
    assert (end["folds"], end["expected"]["training_time_s"]) == ([], pytest.approx(30 * 0.1, rel=0.01))
    assert trial.reset(_config(steps=100))
    last = _to_the_end(trial)[-1]
    assert "stop_reason" not in _tags(last)
    assert (_has_ended(last), _tags(last)["feasible"]) == (True, "true")
    assert last["figures"].keys() == AT_EACH_REPORT | AT_THE_END


def test_trial_that_breaks_a_limit_with_its_last_step_is_finished(begin):
    """It has no tags of a stop: there was nothing left to stop."""
    result = _to_the_end(begin(_config(steps=1), "training_time_s<=1e-9"))[-1]
    tags = _tags(result)
    assert (result["step"], _has_ended(result), tags["feasible"]) == (1, True, "false")
    assert not {"stopped_by", "stop_metric", "stop_reason", "stop_how"} & tags.keys()


FITS = """
import threading
from sklearn.linear_model import LinearRegression

fitted = []
pause = threading.Event().wait

class Fits(LinearRegression):
    def __init__(self, wait_s=0.0):
        super().__init__()
        self.wait_s = wait_s

    def fit(self, X, y):
        fitted.append(id(self))
        pause(self.wait_s)
        return super().fit(X, y)
"""


def test_trial_without_batches_ends_between_folds_once_two_have_shown_what_all_take(begin, tmp_path, monkeypatch):
    """The curves have a point for each fold; a step is the fit of one, as `mean_step_time_ms` says."""
    (tmp_path / "fits_model.py").write_text(FITS)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("fits_model")
    config = {"configuration": configured_whole("fits_model.Fits", wait_s=0.3)}
    results = _to_the_end(begin(config, "training_time_s<=0.1"))
    tags, figures = _tags(results[-1]), results[-1]["figures"]
    assert len(module.fitted) == results[-1]["step"] == 2
    assert (tags["stop_metric"], tags["stop_how"]) in (("training_time_s", "predicted"), ("training_time_s", "crossed"))
    assert [point.step for point in _points(results) if point.name == "val_rmse"] == [1, 2]
    assert figures["mean_step_time_ms"] == pytest.approx(300, rel=0.3)
    assert figures["training_time_s"] == pytest.approx(0.2, rel=0.3)


RIVAL = Rival("val_rmse", False, {0: 0.2, 1: 0.3, 2: 0.4}, 0.01, changes=(Change(0.05, -0.1, 0.01),))


@pytest.mark.parametrize("limits", [pytest.param("", id="alone"), pytest.param("training_time_s<=100", id="limits")])
def test_trial_that_cannot_win_any_more_ends_after_a_fold(begin, limits):
    """KILLED, with why, and what it would have cost and scored; not chosen, and its folds are not those of a trial."""
    config = {"configuration": configured_whole("forest", 5, seed=8), "rival": RIVAL}
    result = _to_the_end(begin(config, limits))[-1]
    tags, figures = _tags(result), result["figures"]
    assert (result["step"], result[PAYLOAD_KEY]["status"]) == (1, "KILLED")
    assert (tags["stopped_by"], tags["stop_how"], tags["diverged"]) == ("race", "raced", "false")
    assert re.fullmatch(r"val_rmse 0\.\d+ > 0\.3 \(predicted, fold 1\)", tags["stop_reason"])
    assert tags.get("feasible") == ("false" if limits else None)
    assert "test_rmse" not in figures
    end = read_end(result[PAYLOAD_KEY]["tags"])
    assert end
    assert end["folds"] == []
    fold = np.random.default_rng(8).permutation(FOLDS)[0]  # the first one is random, by the seed
    assert fold
    assert end["expected"]["val_rmse"] == pytest.approx(figures["val_rmse"] - RIVAL.folds[fold] + 0.3)
    assert ("training_time_s" in end["expected"]) is bool(limits)
    if limits:
        assert end["expected"]["training_time_s"] == pytest.approx(FOLDS * figures["training_time_s"])


def test_trial_on_batches_ends_where_its_curve_cannot_reach_the_best(begin):
    """At its first point at the earliest. One that comes to its end leaves its curve, for others to race against."""
    trial = begin(_config(steps=200) | {"rival": RIVAL})
    result = _to_the_end(trial)[-1]
    assert re.fullmatch(r"val_rmse 0\.\d+ > 0\.3 \(predicted, step \d+\)", _tags(result)["stop_reason"])
    assert result["step"] == 10
    easy = replace(RIVAL, folds=dict.fromkeys(range(FOLDS), 2.0))
    assert trial.reset(_config(steps=200) | {"rival": easy})
    last = _to_the_end(trial)[-1]
    assert _has_ended(last)
    end = read_end(last[PAYLOAD_KEY]["tags"])
    assert end
    assert [share for share, _ in end["curve"]] == pytest.approx([number / 20 for number in range(1, 21)])
    assert end["curve"][-1][1] == last["figures"]["val_rmse"]
    assert trial.reset(_config(steps=200))
    assert "curve" not in str(read_end(_to_the_end(trial)[-1][PAYLOAD_KEY]["tags"]))


def test_limit_that_ends_a_trial_stays_the_reason(begin, own):
    """Also where the trial could not have won."""
    config = _own_config(wait_s=0.1, says=99.0, steps=40) | {"rival": RIVAL}
    tags = _tags(_to_the_end(begin(config, "training_time_s<=0.1"))[-1])
    assert (tags["stopped_by"], tags["stop_metric"]) == ("limits", "training_time_s")


def test_time_that_others_had_the_core_ends_no_trial(begin, own, monkeypatch):
    """Nor is it part of what training costs: of a thread that waited for a core all the time, no step costs a thing."""
    monkeypatch.setattr("entrypoints.models.fold.CoreWait", lambda: time.perf_counter)
    result = _to_the_end(begin(_own_config(wait_s=0.02, steps=6), "training_time_s<=0.05"))[-1]
    assert (result["step"], _has_ended(result)) == (6, True)
    assert result["figures"]["training_time_s"] < 0.05 < result["figures"]["elapsed_s"]


@pytest.mark.parametrize(
    ("limits", "rate", "diverged"),
    [
        pytest.param("val_rmse<=0.001", 0.001, "false", id="a score may still become better"),
        pytest.param("elapsed_s<=1000", 10.0, "true", id="a trial that diverges within its limits"),
    ],
)
def test_trial_that_ends_by_itself_and_cannot_be_chosen_is_not_feasible(begin, limits, rate, diverged):
    """Nothing ends it before; who filters by the tag finds the trials that can be chosen."""
    result = _to_the_end(begin(_config(learning_rate=rate, steps=1), limits))[-1]
    tags = _tags(result)
    assert (_has_ended(result), tags["diverged"], tags["feasible"]) == (True, diverged, "false")
    end = read_end(result[PAYLOAD_KEY]["tags"])
    assert end
    assert end["expected"] == result["figures"]
    assert (end["folds"] == []) is ("test_rmse" not in result["figures"]) is (diverged == "true")


@pytest.mark.parametrize(
    ("limits", "status", "steps"), [("elapsed_s<=1000", "KILLED", 4), ("", "FINISHED", 30)], ids=["limited", "full"]
)
def test_diverged_trial_ends_at_its_second_report_under_limits(begin, own, limits, status, steps):
    """Weights that are still numbers, and a loss that has not fallen. A full study records what becomes of it."""
    result = _to_the_end(begin(_own_config(says=1000.0), limits))[-1]
    assert (result["step"], result[PAYLOAD_KEY]["status"]) == (steps, status)
    assert len(own.trained) == FOLDS * steps
    tags = _tags(result)
    assert tags["diverged"] == "true"
    if limits:
        assert re.fullmatch(r"val_loss 1000001 > 100\.\d \(100x untrained, step 4\)", tags["stop_reason"])
        assert (tags["stop_metric"], tags["feasible"]) == ("val_loss", "false")
    else:
        assert not {"stop_reason", "feasible"} & tags.keys()


class Here:
    """A history in this process, called as the one that has its own."""

    def __init__(self, history):
        self.outlooks, self.record = SimpleNamespace(remote=history.outlooks), SimpleNamespace(remote=history.record)


@pytest.mark.parametrize("others_took_s", [pytest.param(0.0, id="no others"), pytest.param(100.0, id="too long")])
def test_trial_that_is_predicted_to_break_a_limit_is_skipped(begin, monkeypatch, others_took_s):
    """If others like it did. What it does itself is far below that; the history is told what it cost or would have."""
    monkeypatch.setattr("ray.get", lambda answer, timeout: answer)
    limits = Limits.parse("training_time_s<=10", metrics("val_rmse", False))
    known = CostHistory(746, limits)
    for _ in range(20 if others_took_s else 0):
        ended = end_tags([], {"training_time_s": others_took_s})
        known.record(Trial("", _config()["configuration"], "KILLED", {}, ended))
    here = Here(known)
    result = _to_the_end(begin(_config(steps=60), "training_time_s<=10", cost_history=here))[-1]
    tags, told = _tags(result), known._counted[-1]
    if not others_took_s:
        assert (result["step"], _has_ended(result), tags["feasible"]) == (60, True, "true")
        assert told == {"training_time_s": result["figures"]["training_time_s"]}
    else:
        assert (result["step"], _has_ended(result), tags["feasible"]) == (0, False, "false")
        assert tags["stop_how"] == "skipped"
        assert re.fullmatch(r"training_time_s \S+ > 10 \(predicted, skipped\)", tags["stop_reason"])
        assert told["training_time_s"] == pytest.approx(float(tags["stop_prediction"].partition(" ")[0]), rel=1e-3)


@pytest.mark.parametrize(("role", "ends"), [("reference", True), ("", False)])
def test_limits_do_not_end_a_reference(begin, role, ends):
    """Nor judge it, as they do a trial of the search that takes as long."""
    config = _config()
    config["configuration"] = replace(config["configuration"], role=role)
    *_, last = _to_the_end(begin(config, "training_time_s<=0.000001"))
    assert _has_ended(last) is ends
    assert ("feasible" in _tags(last)) is not ends
