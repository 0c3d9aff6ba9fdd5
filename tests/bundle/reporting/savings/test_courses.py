"""A study in a real store, read back as the courses of its trials."""

from __future__ import annotations

import time

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from reference import MLP_CLASSIFIER, configured
from study_settings import study_settings

from entrypoints.limits.stop_or_skip import EarlyEnd
from entrypoints.models.configuration import Configuration
from entrypoints.reporting.savings.courses import read
from entrypoints.search.trial_end import TrialEnd
from mlflow_sysmetrics.limits import Stop

LINEAR = configured("linear", alpha=1e-12, batch_size=8, tol=0.001)
NETWORK = configured(
    MLP_CLASSIFIER, hidden_layer_sizes=[8, 4], n_iter_no_change=7, shuffle=False, beta_1=0.123456789012345
)


def _trial(
    client: MlflowClient,
    configuration: Configuration,
    curves: dict[str, dict[int, float]],
    *,
    status: str = "FINISHED",
    tags: dict[str, str] | None = None,
) -> str:
    """The run of a trial, as a study leaves it: the text of each value, and points of the curves; its id."""
    run_id = str(client.create_run(client.get_experiment_by_name("studies").experiment_id).info.run_id)
    settings = study_settings(
        seed=configuration.seed,
        max_steps=configuration.max_steps,
        max_epochs=configuration.max_epochs,
        report_every=configuration.report_every,
    )
    now_ms = int(time.time() * 1000)
    points = [Metric(name, value, now_ms, step) for name, curve in curves.items() for step, value in curve.items()]
    params = [Param(name, str(value)) for name, value in (configuration.searched | settings.shared).items()]
    client.log_batch(run_id, points, params, [RunTag(name, tag) for name, tag in (tags or {}).items()])
    client.set_terminated(run_id, status)
    return run_id


ENDING = EarlyEnd(Stop("training_time_s<=1", "training_time_s", 2.0, 1.0, 120), "crossed")
CURVE = {"val_loss": {100: 0.5, 200: 0.4}}


@pytest.mark.parametrize("configuration", [pytest.param(LINEAR, id="linear"), pytest.param(NETWORK, id="network")])
def test_configuration_comes_back_with_its_types(client: MlflowClient, configuration: Configuration) -> None:
    """Fractions with all their digits, whole numbers, lists, words and switches."""
    (course,) = read(client, [_trial(client, configuration, CURVE)])
    assert course.configuration == configuration
    kinds = {name: type(value) for name, value in course.configuration.hyperparameters.items()}
    assert kinds == {name: type(value) for name, value in configuration.hyperparameters.items()}


def test_curves_come_back_by_step(client: MlflowClient) -> None:
    """What was not reported at a step is absent there; figures are last values; the thread's series is neither."""
    curves = {
        "val_loss": {0: 2.3, 100: 0.5, 200: 0.4, 250: 0.3},
        "val_rmse": {100: 0.9, 250: 0.8},
        "step_time_ms": {200: 10.0},
        "test_rmse": {0: 0.7},
        "system/process_memory_mb": {1: 90.0, 2: 91.0},
    }
    (course,) = read(client, [_trial(client, LINEAR, curves)])
    assert course.reports == {
        100: {"val_loss": 0.5, "val_rmse": 0.9},
        200: {"val_loss": 0.4, "step_time_ms": 10.0},
        250: {"val_loss": 0.3, "val_rmse": 0.8},
    }
    assert course.figures == {"val_loss": 0.3, "val_rmse": 0.8, "step_time_ms": 10.0, "test_rmse": 0.7}
    assert course.steps == 250
    assert course.untrained_loss == 2.3


def test_reports_have_the_figures_of_their_moment(client: MlflowClient) -> None:
    """A limit acts on the peak, the growth and the mean time of a step so far, which are no curves.

    The mean CPU share so far is CPU time over wall time, which the shares of intervals do not tell.
    """
    curves = {
        "training_time_s": {0: 0.0, 100: 1.0, 200: 3.0},
        "cpu_percent": {100: 80.0, 200: 100.0},
        "memory_mb": {0: 90.0, 100: 99.0, 200: 95.0},
        "peak_memory_mb": {0: 101.0},
        "memory_growth_mb": {0: 11.0},
    }
    (course,) = read(client, [_trial(client, LINEAR, curves)])
    first, second = course.reports[100], course.reports[200]
    assert (first["mean_step_time_ms"], second["mean_step_time_ms"]) == (10.0, 15.0)
    assert "mean_cpu_percent" not in first | second
    assert (first["peak_memory_mb"], second["peak_memory_mb"]) == (99.0, 99.0)
    assert (first["memory_growth_mb"], second["memory_growth_mb"]) == (9.0, 9.0)


@pytest.mark.parametrize(
    ("status", "tags", "stopped_at", "diverged"),
    [
        pytest.param("FINISHED", {"sysmetrics.diverged": "false"}, None, False, id="finished"),
        pytest.param("FINISHED", {"sysmetrics.diverged": "true"}, None, True, id="diverged"),
        pytest.param("KILLED", {"sysmetrics.stop_step": "120"}, 120, False, id="stopped"),
        pytest.param("KILLED", {"sysmetrics.stop_step": "0"}, 0, False, id="skipped"),
        pytest.param("KILLED", {}, 200, False, id="time limit"),
        pytest.param("FINISHED", {"sysmetrics.stop_step": "120"}, None, False, id="finished all the same"),
    ],
)
def test_how_a_trial_ended_comes_back(
    client: MlflowClient, status: str, tags: dict[str, str], stopped_at: int | None, diverged: bool
) -> None:
    """The step at which its limits ended it, or that of its last report, and whether it diverged."""
    (course,) = read(client, [_trial(client, LINEAR, CURVE, status=status, tags=tags)])
    assert (course.stopped_at, course.diverged) == (stopped_at, diverged)


@pytest.mark.parametrize(
    ("status", "tags", "criterion"),
    [
        pytest.param("KILLED", TrialEnd([], ENDING).tags | ENDING.tags, "training_time_s<=1", id="its criterion"),
        pytest.param("KILLED", {"sysmetrics.stop_metric": "training_time_s"}, "training_time_s", id="earlier version"),
        pytest.param("KILLED", {}, None, id="scheduler"),
        pytest.param("FINISHED", TrialEnd([], ENDING).tags, None, id="finished all the same"),
    ],
)
def test_what_stopped_a_trial_comes_back(
    client: MlflowClient, status: str, tags: dict[str, str], criterion: str | None
) -> None:
    """The criterion as the user wrote it, with its metric."""
    (course,) = read(client, [_trial(client, LINEAR, CURVE, status=status, tags=tags)])
    assert (course.stopped_by and course.stopped_by.criterion) == criterion
    assert course.stopped_by is None or course.stopped_by.metric == "training_time_s"


def test_when_a_trial_ran_comes_back(client: MlflowClient) -> None:
    """With its run's id."""
    run_id = _trial(client, LINEAR, CURVE)
    (course,) = read(client, [run_id])
    assert course.run_id == run_id
    assert 0 < course.began_ms <= course.ended_ms <= time.time() * 1000


def test_trials_come_in_the_order_that_is_asked_for(client: MlflowClient) -> None:
    """Without those that have no run, or neither a report nor a limit that ended them, or that failed."""
    first, second = (_trial(client, configured(batch_size=size), CURVE) for size in (16, 32))
    nothing, failed = _trial(client, LINEAR, {"elapsed_s": {0: 1.0}}), _trial(client, LINEAR, CURVE, status="FAILED")
    skipped = _trial(client, LINEAR, {}, status="KILLED", tags={"sysmetrics.stop_step": "0"})
    courses = read(client, [second, None, nothing, failed, first, skipped])
    assert [course.configuration.batch_size for course in courses] == [32, 16, 8]
    assert courses[2].reports == {}
