"""Optuna: what a trial leaves in its study and in MLflow, and what a limit does to it."""

import gc
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import mlflow
import pytest
from cases import cases
from commands import runs_of_kind, wait_until

optuna = pytest.importorskip("optuna", "5")

from mlflow_sysmetrics.delivery import writer_for  # noqa: E402
from mlflow_sysmetrics.optuna import system_metrics  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)
SUMMARY = {"elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb"}
WITHIN_S = 60.0
LIMIT = "memory_growth_mb<=50"
PRUNED, COMPLETE, FAIL = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL


def studied(objective, trials=1, **more):
    """A study of these trials."""
    study = optuna.create_study()
    study.optimize(objective, n_trials=trials, **more)
    return study


def runs_of(client):
    """The runs of trials, by name, with all that was written."""
    writer_for(client.tracking_uri).close_all(WITHIN_S)
    return sorted(runs_of_kind(client, "trial"), key=lambda run: run.info.run_name)


def grown(trial):
    """100 MB that are in memory, once a reading has seen them."""
    held = bytearray(os.urandom(1) * 100_000_000)
    wait_until(trial.should_prune, WITHIN_S, "the limit", every_s=0.01)
    return held


def test_trial_has_a_run_and_its_costs(store_in_use):
    """Nested under the active one, with parameters, value, what it reported, and how it ended."""

    @system_metrics(limits="elapsed_s<=1000")
    def objective(trial):
        x = trial.suggest_float("x", 1, 2)
        trial.report(10 * x, step=3)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise KeyError("wrong")
        return math.nan if trial.number == 3 else x

    with mlflow.start_run() as around:
        trials = studied(objective, 4, catch=(KeyError,)).trials
    assert [trial.state for trial in trials] == [COMPLETE, PRUNED, FAIL, FAIL]
    runs = runs_of(store_in_use)
    assert [run.info.status for run in runs] == ["FINISHED", "KILLED", "FAILED", "FAILED"]
    for number, (run, trial) in enumerate(zip(runs, trials, strict=True)):
        assert run.info.run_name == f"trial {number}"
        assert run.data.tags["mlflow.parentRunId"] == around.info.run_id
        assert float(run.data.params["x"]) == trial.params["x"]
        (point,) = store_in_use.get_metric_history(run.info.run_id, "intermediate_value")
        assert (point.step, point.value) == (3, 10 * trial.params["x"])
        assert trial.user_attrs.keys() >= SUMMARY
        assert trial.user_attrs.items() <= run.data.metrics.items()
        assert trial.constraints == {"elapsed_s<=1000": pytest.approx(trial.user_attrs["elapsed_s"] / 1000 - 1)}
    complete, pruned, failed, not_a_number = (run.data for run in runs)
    assert complete.metrics["value"] == trials[0].value
    assert pruned.tags["sysmetrics.stopped_by"] == "pruner"
    assert failed.tags["sysmetrics.error"] == "KeyError: 'wrong'"
    assert "not a number" in not_a_number.tags["sysmetrics.error"]


@cases("returned", [(1.0, math.nan), 1.0])
def test_trial_that_optuna_fails_for_its_values_is_failed(store_in_use, returned):
    """With two goals; it has no value then."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.optimize(system_metrics()(lambda trial: returned), 1)
    assert study.trials[0].state == FAIL
    (run,) = runs_of(store_in_use)
    assert run.info.status == "FAILED"
    assert not any("value" in name for name in run.data.metrics)


def _reports(trial):
    held = grown(trial)
    trial.report(len(held), 1)
    pytest.fail("goes on")


def _returns(trial):
    return float(len(grown(trial)))


def _fails(trial):
    grown(trial)
    raise MemoryError


@cases("objective", [_reports, _returns, _fails])
def test_trial_over_a_limit_is_pruned(store_in_use, objective):
    """Whatever its objective does about it: a sampler learns nothing from a failed trial."""
    (trial,) = studied(system_metrics(LIMIT)(objective)).trials
    assert trial.state == PRUNED
    assert 0.9 < trial.constraints[LIMIT] < 1.5
    (run,) = runs_of(store_in_use)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"].startswith("memory_growth_mb 10")


@cases("limit, is_met", {"met": ("elapsed_s>=0 after 1h", True), "not met": ("elapsed_s>=1000 after 1h", False)})
def test_constraint_of_a_lower_limit_is_below_0_only_if_it_is_met(store_in_use, limit, is_met):
    """One that does not count yet has broken nothing."""
    (trial,) = studied(system_metrics(limit)(lambda trial: 1.0)).trials
    assert trial.state == COMPLETE
    assert (trial.constraints[limit] < 0) is is_met


def test_limit_that_only_the_end_shows_to_be_broken_prunes(store_in_use):
    """It is over before a second reading."""
    (trial,) = studied(system_metrics("elapsed_s<=0.01")(lambda trial: time.sleep(0.05))).trials
    assert trial.state == PRUNED


def test_growth_is_not_hidden_by_what_a_pruned_trial_held(store_in_use, request):
    """Optuna leaves its error, and so what its objective held, to Python's collection of garbage."""

    @system_metrics()
    def objective(trial):
        gc.collect()  # Python may do so at any time, here at this one
        held = [bytes(1000) for _ in range(60_000)]
        raise optuna.TrialPruned(len(held))

    request.addfinalizer(gc.enable)
    gc.disable()
    growths_mb = [trial.user_attrs["memory_growth_mb"] for trial in studied(objective, 3).trials]
    assert growths_mb == pytest.approx([60] * 3, abs=6)


def test_threads_of_one_process_have_only_their_time(store_in_use):
    """Its memory and CPU time are not those of one trial; a limit on them is refused."""
    both = Barrier(2)

    def objective(trial):
        both.wait(WITHIN_S)
        return 1.0

    for trial in studied(system_metrics("elapsed_s<=1000")(objective), 2, n_jobs=2).trials:
        assert set(trial.user_attrs) == {"elapsed_s"}
    limited = system_metrics(LIMIT)(lambda trial: 1.0)
    with ThreadPoolExecutor() as pool, pytest.raises(ValueError, match=r"^limits=memory_growth_mb<=50: .*several "):
        studied(system_metrics()(lambda trial: pool.submit(studied, limited).result()))


def test_study_inside_a_trial_has_the_process_for_itself(store_in_use):
    """The trial around it waits."""
    inner = system_metrics(LIMIT)(lambda trial: 1.0)
    outer = system_metrics(LIMIT)(lambda trial: studied(inner).best_value)
    (trial,) = studied(outer).trials
    assert trial.user_attrs.keys() >= SUMMARY
    assert len(runs_of(store_in_use)) == 2


def test_interrupted_trial_leaves_no_run_that_goes_on(store_in_use):
    """Ctrl-C ends the study."""

    @system_metrics()
    def objective(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studied(objective)
    (run,) = runs_of(store_in_use)
    assert run.info.status == "KILLED"


def test_objective_can_be_called_without_a_study(store_in_use):
    """As Optuna's own pages do with the best trial."""
    objective = system_metrics(LIMIT)(lambda trial: trial.suggest_float("x", 0, 1))
    assert objective(optuna.trial.FixedTrial({"x": 0.5})) == 0.5


def test_decorator_without_brackets_is_told():
    """It would get the objective as its limits."""
    with pytest.raises(ValueError, match=r"^@system_metrics: write it with brackets"):
        system_metrics(print)
