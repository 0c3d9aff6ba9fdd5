"""The Ray trainable, driven as Tune drives it but in this process: results, tags, memory, a new beginning."""

import importlib
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from cases import cases, check_golden, tables
from machines import Clock
from records import limits_of
from records import trial as made
from reference import FOLDS, bundled, configured, configured_whole
from sklearn import get_config

from entrypoints.compute import memory
from entrypoints.limits.cost_history import CostHistory
from entrypoints.search.racing import Rival
from entrypoints.statistics import FoldNoise
from entrypoints.study.trial_process import TrialTrainable
from entrypoints.trials.trial import read_end
from mlflow_sysmetrics.delivery.operations import Point
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY

GOLDEN = Path(__file__).parents[1] / "golden"
TABLES = tables(__file__, "study.yaml")


def _config(algorithm="linear", **changes):
    """What Tune hands to a trial."""
    usual = {"batch_size": 64, "seed": 0, "steps": 200}
    usual |= {"learning_rate": 0.001} if algorithm == "linear" else {}
    return {"configuration": configured(algorithm, **usual | changes)}


@pytest.fixture
def begin():
    """Begin a trial in this process, with limits if limits are given; it is stopped after the test."""
    begun = []

    def begin(config, limits="", dataset="red_wine", cost_history=None):
        class WithData(TrialTrainable):
            """What `tune.with_parameters` makes of it, without Ray's object store."""

            def setup(self, config):
                super().setup(config, bundled(dataset), None, limits_of(limits, dataset), cost_history)

        begun.append(WithData(config))
        return begun[-1]

    yield begin
    for trial in begun:
        trial.stop()


def _ended(trial):
    """Train a trial to its end: its last step, status, tags, figures, record, and the points that are written."""
    points = []
    is_done = False
    while not is_done:
        result = trial.train()
        points += _points(result)
        is_done = result["done"]
    last = result[PAYLOAD_KEY]
    return SimpleNamespace(
        step=result["step"],
        status=last["status"],
        tags={name.removeprefix("sysmetrics."): tag for name, tag in last["tags"].items()},
        figures=result["figures"],
        record=read_end(last["tags"]),
        points=points,
    )


def _next(trial, config):
    """The same of the next trial in its process."""
    assert trial.reset(config)
    return _ended(trial)


def _points(result):
    return [Point(*point) for point in result[PAYLOAD_KEY]["points"]]


def _curve(ended, name):
    """The values of a metric by step."""
    return {point.step: point.value for point in ended.points if point.name == name}


def test_wait_for_tune_is_no_cost_of_a_trial(begin):
    """Its time is no longer than its training took; nor is that of a later one in its process."""
    config = _config(steps=20)
    trial = begin(config)
    for _ in range(2):
        time.sleep(0.5)
        began = time.monotonic()
        ended = _ended(trial)
        assert ended.figures["elapsed_s"] <= time.monotonic() - began
        trial.reset(config)


def test_points_are_spread_over_a_trials_training(begin):
    """About twenty, of a short trial as of a long one; and one before its first step.

    The first trial here is dropped before it begins.
    """
    trial = begin(_config())
    for steps in (60, 300):
        ended = _next(trial, _config(steps=steps))
        assert [*_curve(ended, "val_loss")] == [*range(0, steps + 1, steps // 20)]


def test_trial_in_a_used_process_is_as_in_a_fresh_one(begin):
    """Nothing of the models, the order of batches, the data or the time of others is carried over."""
    trial = begin(_config())
    first = _ended(trial)
    longer = _next(trial, _config(steps=1500, batch_size=8))
    reset_at_ms = int(time.time() * 1000)
    later = _next(trial, _config())
    assert min(point.time_ms for point in later.points) >= reset_at_ms
    for name in ("train_loss", "val_loss"):
        assert _curve(later, name) == _curve(first, name)
    assert later.figures["test_rmse"] == first.figures["test_rmse"]
    for name in ("training_time_s", "elapsed_s"):
        assert later.figures[name] < longer.figures[name]


@cases(
    "dataset, score, config",
    {
        "by batches": ("diabetes", "accuracy", _config("sklearn.naive_bayes.GaussianNB")),
        "by folds": ("red_wine", "rmse", {"configuration": configured_whole("boosting", 20)}),
    },
)
def test_trial_has_the_same_figures_whatever_its_algorithm(begin, dataset, score, config):
    """Losses, costs, test figures, latency and size; its score is that of the task. Only batches have curves."""
    figures = _ended(begin(config, dataset=dataset)).figures
    check_golden(GOLDEN / f"figures_{score}.txt", "\n".join(sorted(figures)))
    assert 0.5 < figures[f"test_{score}"] < 0.9


def test_long_trial_hands_over_a_result_about_every_second(begin, own):
    """Not each report is a result, and none waits long: the driver is spared, and the trial is live."""
    trial = begin(_own_config(wait_s=0.02, steps=60))
    for _ in range(2):
        result = trial.train()
        payload = result[PAYLOAD_KEY]
        assert not result["done"]
        assert payload["status"] is None
        assert "cpu_seconds" in payload["summary"]  # it may be the last one
        assert [point.name for point in _points(result)].count("val_rmse") > 1


def test_results_of_a_trial_without_a_report_bring_what_the_thread_has_read(begin):
    """Where no report is due for seconds."""
    trial = begin(_config(steps=1_000_000))
    names = set()
    for _ in range(60):
        names |= {point.name for point in _points(trial.train())}
        if "system/process_memory_mb" in names:
            break
    assert "system/process_memory_mb" in names
    assert "train_loss" not in names


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
    _ended(begin(_own_config()))
    assert own.settings == [get_config()] * len(own.trained)


@cases("metric, limit, model, begins", TABLES["limits that end a trial at once"])
def test_trial_ends_before_its_next_step_when_a_limit_is_broken(begin, own, metric, limit, model, begins):
    """The first of 90 calls of partial_fit is the last one; what shows before it ends a trial that never begins."""
    memory.release()  # of earlier tests
    ended = _ended(begin(_own_config(**model), f"{metric}<={limit}"))
    assert len(own.trained) == 1
    assert ended.step == 0
    assert ended.status == "KILLED"
    assert ended.tags["stop_metric"] == metric
    assert ended.tags["feasible"] == "false"
    assert ended.figures[metric] > limit
    assert ("training_time_s" in ended.figures) is begins
    assert bool(_curve(ended, "val_loss")) is begins


def test_memory_that_is_freed_half_way_stays_in_the_peak_alone(begin, own):
    """3 models take 5 MB each and free it after 15 steps: the curve falls, the peak does not.

    Although the libc keeps what is freed once the process has freed a larger piece, as an earlier trial may have.
    """
    np.ones(30 * 125_000)
    ended = _ended(begin(_own_config(hold_mb=5, once=True, free_at=15 * FOLDS)))
    before_mb, *curve = _curve(ended, "memory_mb").values()
    assert [value - before_mb for value in curve] == pytest.approx([15] * 7 + [0] * 8, abs=1)
    assert ended.figures["peak_memory_mb"] - before_mb == pytest.approx(15, abs=2)


def test_memory_of_a_trial_is_its_own_and_its_peak_has_what_no_reading_has(begin, own):
    """Three models of 20 MB, and 300 MB that are freed at once: these count in the peak of resident memory.

    Also where that mark is set back to measure a model, and nothing of either for the next trial in the process.
    """
    memory.release()  # of earlier tests
    before_mb = psutil.Process().memory_info().rss / 1e6
    trial = begin(_own_config(size_mb=20, touch_mb=300))
    first = _ended(trial).figures
    assert first["memory_growth_mb"] > 55
    assert first["peak_rss_mb"] - before_mb == pytest.approx(300, abs=30)
    last = _next(trial, _own_config()).figures
    assert last["memory_growth_mb"] < 5
    assert last["peak_rss_mb"] - before_mb < 30


def test_trial_ends_at_the_step_that_breaks_its_training_time(begin, own, monkeypatch):
    """Time in partial_fit, of one fold. What 30 steps would have cost is left, too.

    Nothing of the reason is carried over to the next trial in the process.
    """
    clock = Clock()
    monkeypatch.setattr("entrypoints.models.fold.CoreWait", lambda: lambda: 0.0)
    monkeypatch.setattr("entrypoints.models.fold.perf_counter", clock)
    monkeypatch.setattr(own, "pause", lambda seconds: setattr(clock, "now", clock.now + seconds))
    trial = begin(_own_config(wait_s=0.1), "training_time_s<=0.2")
    ended = _ended(trial)
    assert ended.step == 3
    assert ended.tags["stop_reason"] == "training_time_s 0.3 > 0.2 (step 3)"
    assert ended.record["expected"]["training_time_s"] == pytest.approx(30 * 0.1, rel=0.01)
    later = _next(trial, _config(steps=100))
    assert later.status == "FINISHED"
    assert later.tags["feasible"] == "true"
    assert "stop_reason" not in later.tags


def test_trial_without_batches_ends_between_folds_once_two_have_shown_what_all_take(begin, own):
    """A step is the fit of one, as `mean_step_time_ms` says. No mean of two folds is left as if it were that of all."""
    config = {"configuration": configured_whole("own_model.Model", wait_s=0.3)}
    ended = _ended(begin(config, "mean_step_time_ms<=150"))
    assert len(own.trained) == ended.step == 2
    assert [*_curve(ended, "fold/train_loss")] == [0, 1]
    assert not [name for name in ended.figures if "loss" in name or "rmse" in name]
    assert ended.figures["mean_step_time_ms"] == pytest.approx(300, rel=0.3)
    assert ended.figures["training_time_s"] == pytest.approx(0.2, rel=0.3)


def test_limits_judge_what_is_learned_over_all_folds_alone(begin):
    """The mean of the first folds says how hard these are."""
    ended = _ended(begin({"configuration": configured_whole("forest", 5)}, "val_rmse<=0.0001 after 0.001s"))
    assert (ended.step, ended.status) == (FOLDS, "FINISHED")
    assert ended.tags["feasible"] == "false"
    assert [*_curve(ended, "val_loss")] == []


RIVAL = Rival("val_rmse", False, {0: 0.2, 1: 0.3, 2: 0.4}, FoldNoise(0.01, 3, 2))


def test_trial_that_cannot_win_any_more_ends_after_a_fold(begin):
    """KILLED, with why, and what it would have cost and scored; not chosen, and its folds are not those of a trial."""
    config = {"configuration": configured_whole("forest", 5, seed=8), "rival": RIVAL}
    ended = _ended(begin(config, "training_time_s<=100"))
    assert ended.step == 1
    assert ended.status == "KILLED"
    assert ended.tags["stopped_by"] == "race"
    assert ended.tags["stop_how"] == "raced"
    assert ended.tags["feasible"] == "false"
    assert re.fullmatch(r"val_rmse 0\.\d+ > 0\.3 \(predicted, fold 1\)", ended.tags["stop_reason"])
    assert ended.record["folds"] == []
    fold = np.random.default_rng(8).permutation(FOLDS)[0]  # the first one is random, by the seed
    expected = ended.record["expected"]
    assert expected["val_rmse"] == pytest.approx(_curve(ended, "fold/val_rmse")[fold] - RIVAL.folds[fold] + 0.3)
    assert expected["training_time_s"] == pytest.approx(FOLDS * ended.figures["training_time_s"])


def test_limit_that_ends_a_trial_stays_the_reason(begin, own):
    """Also where the trial could not have won."""
    config = {"configuration": configured_whole("own_model.Model", wait_s=0.5, says=99.0), "rival": RIVAL}
    assert _ended(begin(config, "elapsed_s<=0.1")).tags["stopped_by"] == "limits"


def test_time_that_others_had_the_core_ends_no_trial(begin, own, monkeypatch):
    """Nor is it part of what training costs: of a thread that waited for a core all the time, no step costs a thing."""
    monkeypatch.setattr("entrypoints.models.fold.CoreWait", lambda: time.perf_counter)
    ended = _ended(begin(_own_config(wait_s=0.02, steps=6), "training_time_s<=0.05"))
    assert ended.step == 6
    assert ended.status == "FINISHED"
    assert ended.figures["training_time_s"] < 0.05 < ended.figures["elapsed_s"]


@cases("limits, rate, diverged", TABLES["trials that end by themselves and cannot be chosen"])
def test_trial_that_ends_by_itself_and_cannot_be_chosen_is_not_feasible(begin, limits, rate, diverged):
    """There was nothing left to stop; who filters by the tag finds the trials that can be chosen."""
    ended = _ended(begin(_config(learning_rate=rate, steps=1), limits))
    assert ended.status == "FINISHED"
    assert ended.tags["feasible"] == "false"
    assert "stop_reason" not in ended.tags
    assert ended.tags["diverged"] == str(diverged).lower()
    assert ended.record["expected"]["training_time_s"] == ended.figures["training_time_s"]
    assert (ended.record["folds"] == []) is diverged
    assert ("test_rmse" in ended.figures) is not diverged


@cases("limits, step, status", {"limits": ("elapsed_s<=1000", 4, "KILLED"), "full study": ("", 30, "FINISHED")})
def test_diverged_trial_ends_at_its_second_report_under_limits(begin, own, limits, step, status):
    """Weights that are still numbers, and a loss that has not fallen. A full study records what becomes of it."""
    ended = _ended(begin(_own_config(says=1000.0), limits))
    assert ended.step == step
    assert ended.status == status
    assert ended.tags["diverged"] == "true"
    assert ("feasible" in ended.tags) is bool(limits)


@cases("others_took_s, step", {"as long": (1.0, 60), "far less": (1e-9, 0)})
def test_trial_is_judged_by_what_others_have_cost(begin, monkeypatch, others_took_s, step):
    """The history says what a relative limit comes to, and is told what the trial cost."""
    monkeypatch.setattr("ray.get", lambda answer, timeout: answer)
    limit = "training_time_s<=10x median"
    history = CostHistory(746, limits_of(limit))
    config = _config(steps=60)
    for _ in range(20):
        history.record(made(1, configuration=config["configuration"], figures={"training_time_s": others_took_s}))
    told = []
    here = SimpleNamespace(  # called as the one that has a process of its own
        limits=SimpleNamespace(remote=history.limits), record=SimpleNamespace(remote=told.append)
    )
    ended = _ended(begin(config, limit, cost_history=here))
    assert (ended.step == 60) is (step == 60)
    (trial,) = told
    assert trial.expected["training_time_s"] >= ended.figures["training_time_s"]


@cases("role, status", [("reference", "FINISHED"), ("", "KILLED")])
def test_limits_do_not_end_a_reference(begin, role, status):
    """Nor judge it, as they do a trial of the search that takes as long."""
    configuration = replace(_config()["configuration"], role=role)
    ended = _ended(begin({"configuration": configuration}, "training_time_s<=0.000001"))
    assert ended.status == status
    assert ("feasible" in ended.tags) is not bool(role)
