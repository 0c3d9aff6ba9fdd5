"""The Ray trainable, driven as Tune drives it but in this process: results, tags, memory, a new beginning."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from reference import MLP_CLASSIFIER, MLP_REGRESSOR, bundled, configured
from sklearn import get_config, set_config

from entrypoints.trial import RESULT_EVERY_S, Trial
from mlflow_sysmetrics.points import Point
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY

Config = dict[str, Any]
AT_EACH_REPORT = {
    *("train_loss", "val_loss", "val_rmse", "mean_step_time_ms", "training_time_s"),
    *("cpu_percent", "peak_memory_mb", "memory_growth_mb"),
}
AT_THE_END = {"test_rmse", "test_loss", "inference_latency_ms", "model_size_kb", "elapsed_s"}


def _config(algorithm: str = "linear", **changes: Any) -> Config:
    """What Tune hands to a trial."""
    usual: Config = {"batch_size": 64, "seed": 0, "max_steps": 1000}
    usual |= {"learning_rate": 0.001} if algorithm == "linear" else {"max_steps": 200}
    return {"configuration": configured(algorithm, **usual | changes)}


CONFIG = _config()


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    """A trial that has begun, on red_wine unless another dataset is asked for.

    It sets scikit-learn's options of its process, which are set back here.
    """

    class WithData(Trial):
        """What `tune.with_parameters` makes of it, without Ray's object store."""

        def setup(self, config: Config) -> None:  # type: ignore[override]
            super().setup(config, bundled(name))

    name, config = getattr(request, "param", ("red_wine", CONFIG))
    before = get_config()
    trial = WithData(config)
    yield trial
    trial.stop()
    set_config(**before)


def _points(results: list[dict[str, Any]]) -> list[Point]:
    return [Point(*point) for result in results for point in result[PAYLOAD_KEY]["points"]]


def _to_the_end(trial: Trial) -> list[dict[str, Any]]:
    results = [trial.train()]
    while not results[-1]["done"]:
        results.append(trial.train())
    return results


def test_trial_ends_with_its_figures_and_tags(trial: Trial) -> None:
    """Its last result is marked as the trial's own end and carries the figures of the run, and where it ran."""
    last = _to_the_end(trial)[-1]
    assert set(last["figures"]) == AT_EACH_REPORT | AT_THE_END
    assert [fold["fold"] for fold in last["folds"]] == [0, 1, 2]
    carried = last[PAYLOAD_KEY]
    assert carried["ended"]
    assert carried["tags"]["sysmetrics.pid"] == str(os.getpid())
    assert carried["tags"]["sysmetrics.diverged"] == "false"
    assert {"sysmetrics.node", "sysmetrics.memory_definition"} <= set(carried["tags"])


def test_trial_hands_over_each_point_once(trial: Trial) -> None:
    """Over all results every report has one point of each curve, and the one-off figures stand at step 0."""
    points = _points(_to_the_end(trial))
    steps = list(range(100, 1001, 100))
    for name in AT_EACH_REPORT:
        assert [point.step for point in points if point.name == name] == steps
    for name in AT_THE_END:
        assert [point.step for point in points if point.name == name] == [0]
    numbers = [point.step for point in points if point.name == "system/process_memory_mb"]
    assert numbers == sorted(set(numbers)) != []


def test_trials_figures_are_the_last_points_of_its_curves(trial: Trial) -> None:
    """What the driver ranks trials by is what MLflow shows."""
    results = _to_the_end(trial)
    last = {point.name: point.value for point in _points(results) if not point.name.startswith("system/")}
    assert last == results[-1]["figures"]


def test_training_time_agrees_with_the_mean_step_time(trial: Trial) -> None:
    """Both are of one fold: the time of all its steps, and of one."""
    figures = _to_the_end(trial)[-1]["figures"]
    assert figures["mean_step_time_ms"] * 1000 == pytest.approx(figures["training_time_s"] * 1000)
    assert 0 < 3 * figures["training_time_s"] < figures["elapsed_s"]


def test_later_trial_reports_the_same_memory_growth(trial: Trial) -> None:
    """What the process holds of earlier trials is not counted again: three alike grow alike, within 2 MB."""
    growths = [_to_the_end(trial)[-1]["figures"]["memory_growth_mb"]]
    for _ in range(2):
        assert trial.reset(CONFIG)
        growths.append(_to_the_end(trial)[-1]["figures"]["memory_growth_mb"])
    assert max(growths) - min(growths) < 2


def test_reset_begins_anew(trial: Trial) -> None:
    """After a longer trial the next one counts its own time and sample numbers, from the start."""
    trial.reset(_config(max_steps=5000))
    longer = _points(_to_the_end(trial))
    reset_at_ms = int(time.time() * 1000)
    assert trial.reset(CONFIG)
    later = _points(_to_the_end(trial))
    assert min(point.time_ms for point in later) >= reset_at_ms
    for name in ("system/process_memory_mb", "training_time_s", "elapsed_s"):
        ends = [[point for point in points if point.name == name][-1] for points in (longer, later)]
        figures = [end.step if name.startswith("system/") else end.value for end in ends]
        assert figures[1] < figures[0]


def test_trial_in_a_used_process_has_the_values_of_a_fresh_one(trial: Trial) -> None:
    """Nothing of the model, the order of its batches or the data is carried over."""
    first = _points(_to_the_end(trial))
    assert trial.reset(CONFIG)
    later = _points(_to_the_end(trial))
    for name in ("train_loss", "val_loss", "val_rmse", "test_rmse"):
        fresh, used = ([point.value for point in points if point.name == name] for points in (first, later))
        assert used == fresh != []


@pytest.mark.parametrize(
    "trial",
    [
        pytest.param(("red_wine", _config(MLP_REGRESSOR)), id="MLPRegressor"),
        pytest.param(("diabetes", _config(MLP_CLASSIFIER)), id="MLPClassifier"),
        pytest.param(("diabetes", _config("sklearn.linear_model.Perceptron")), id="hinge loss"),
        pytest.param(("diabetes", _config("sklearn.naive_bayes.GaussianNB")), id="without a random state"),
    ],
    indirect=True,
)
def test_trial_of_the_users_algorithm_has_the_same_figures(trial: Trial) -> None:
    """Curves, costs, test figures, latency and size of whatever estimator; its score is that of the task."""
    results = _to_the_end(trial)
    figures = results[-1]["figures"]
    missing = (AT_EACH_REPORT | AT_THE_END) - set(figures)
    assert missing in (set(), {"val_rmse", "test_rmse"})
    assert set(figures) - AT_EACH_REPORT - AT_THE_END == ({"val_accuracy", "test_accuracy"} if missing else set())
    assert not results[-1]["diverged"]
    curve = [point for point in _points(results) if point.name == "val_loss"]
    assert [point.step for point in curve] == [100, 200]
    if missing:
        assert 0.65 < figures["test_accuracy"] < 0.9
    else:
        assert 0.5 < figures["test_rmse"] < 0.9


@pytest.mark.parametrize("trial", [("diabetes", _config(MLP_CLASSIFIER))], indirect=True)
def test_used_process_does_not_mix_configurations(trial: Trial) -> None:
    """After other layers, words and algorithms a network has the curves and the size that it had in a fresh process."""
    figures = []
    others = [{"hidden_layer_sizes": [32, 16]}, {"activation": "relu"}, {"solver": "sgd"}]
    for config in [None, *(_config(MLP_CLASSIFIER, **other) for other in others), _config("svm"), "again"]:
        if config is not None:
            assert trial.reset(_config(MLP_CLASSIFIER) if config == "again" else config)
        figures.append(_to_the_end(trial)[-1]["figures"])
    fresh, larger, relu, sgd, svm, again = figures
    for name in ("train_loss", "val_loss", "val_accuracy", "test_loss", "model_size_kb"):
        assert again[name] == fresh[name]
    assert len({each["val_loss"] for each in (fresh, larger, relu, sgd, svm)}) == 5
    assert svm["model_size_kb"] < fresh["model_size_kb"] < larger["model_size_kb"]


def test_reset_takes_the_new_configuration(trial: Trial) -> None:
    """The process is the same, the model is another: it trains as long as its own configuration says."""
    _to_the_end(trial)
    assert trial.reset(_config(max_steps=300, batch_size=8))
    results = _to_the_end(trial)
    assert results[-1]["step"] == 300
    assert [point.step for point in _points(results) if point.name == "val_rmse"] == [100, 200, 300]


def test_long_trial_hands_over_a_result_about_every_second(trial: Trial) -> None:
    """Not each report is a result, and none waits long: the driver is spared, and the trial is live."""
    trial.reset(_config(max_steps=1_000_000))
    for _ in range(3):
        began = time.monotonic()
        result = trial.train()
        took = time.monotonic() - began
        assert not result["done"]
        assert not result[PAYLOAD_KEY]["ended"]
        assert RESULT_EVERY_S <= took < 3 * RESULT_EVERY_S
        reports = [point.step for point in _points([result]) if point.name == "val_rmse"]
        assert reports[-1] <= result["step"] < reports[-1] + 100
        assert len(reports) > 1


def test_short_trial_is_one_result(trial: Trial) -> None:
    """A trial that is over within a second costs the driver one result."""
    trial.reset(_config(max_steps=100, report_every=10))
    assert trial.train()["done"]


def test_slow_steps_do_not_hold_back_the_threads_series(trial: Trial) -> None:
    """Where no report is due for seconds, results still bring what the thread has read."""
    trial.reset(_config(max_steps=1_000_000, report_every=1_000_000))
    result = trial.train()
    names = {point.name for point in _points([result])}
    assert not result["done"]
    assert "system/process_memory_mb" in names
    assert "val_rmse" not in names


def test_diverged_trial_ends_with_a_tag_and_without_test_figures(trial: Trial) -> None:
    """A learning rate far too large is an outcome: the trial ends by itself and says so."""
    trial.reset(_config(learning_rate=10.0))
    last = _to_the_end(trial)[-1]
    assert last["diverged"]
    assert last[PAYLOAD_KEY]["tags"]["sysmetrics.diverged"] == "true"
    assert last[PAYLOAD_KEY]["ended"]
    assert "test_rmse" not in last["figures"]
    assert last["folds"] == []
