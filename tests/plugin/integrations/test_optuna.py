"""Optuna: what a trial leaves in its study and in MLflow, and what a limit does to it."""

import importlib
import math
import os
import subprocess
import sys
import time
from threading import Barrier, Event

import mlflow
import pytest
from commands import clean_environment, store_uri, wait_until
from mlflow import MlflowClient

optuna = pytest.importorskip("optuna", "5")

import mlflow_sysmetrics.optuna  # noqa: E402
from mlflow_sysmetrics.delivery.sync import deliver  # noqa: E402
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


def runs_of(client, number):
    """This number of runs of trials, by name, once all have ended."""
    wanted = "tags.`sysmetrics.kind` = 'trial' and attributes.status != 'RUNNING'"
    wait_until(lambda: len(client.search_runs(["0"], wanted)) >= number, WITHIN_S, f"{number} runs")
    return sorted(client.search_runs(["0"], wanted), key=lambda run: str(run.info.run_name))


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
        trial.set_user_attr("seen", trial.params["x"])
        return float("nan") if trial.number == 3 else x

    with mlflow.start_run() as around:
        trials = studied(objective, 4, catch=(KeyError,)).trials
    runs = runs_of(store_in_use, 4)
    assert [trial.state for trial in trials] == [COMPLETE, PRUNED, FAIL, FAIL]
    assert [run.info.status for run in runs] == ["FINISHED", "KILLED", "FAILED", "FAILED"]
    assert [run.info.run_name for run in runs] == [f"trial {number}" for number in range(4)]
    for run, trial in zip(runs, trials, strict=True):
        assert run.data.tags["mlflow.parentRunId"] == around.info.run_id
        assert float(run.data.params["x"]) == trial.params["x"]
        (point,) = store_in_use.get_metric_history(run.info.run_id, "intermediate_value")
        assert (point.step, point.value) == (3, 10 * trial.params["x"])
        assert {name: trial.user_attrs[name] for name in SUMMARY} == {name: run.data.metrics[name] for name in SUMMARY}
        assert trial.constraints == {"elapsed_s<=1000": pytest.approx(trial.user_attrs["elapsed_s"] / 1000 - 1)}
    assert runs[0].data.metrics["value"] == trials[0].value == trials[0].user_attrs["seen"]
    assert runs[1].data.tags["sysmetrics.stopped_by"] == "pruner"
    assert runs[2].data.tags["sysmetrics.error"] == "KeyError: 'wrong'"
    assert "not a number" in runs[3].data.tags["sysmetrics.error"]


@pytest.mark.parametrize("returned", [(1.0, math.nan), 1.0])
def test_trial_that_optuna_fails_for_its_values_is_failed(store_in_use, returned):
    """With two goals; it has no value then."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.optimize(system_metrics()(lambda trial: returned), 1)
    (run,) = runs_of(store_in_use, 1)
    assert (study.trials[0].state, run.info.status) == (FAIL, "FAILED")
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


@pytest.mark.parametrize("objective", [_reports, _returns, _fails])
def test_trial_over_a_limit_is_pruned(store_in_use, objective):
    """Whatever its objective does about it: a sampler learns nothing from a failed trial."""
    (trial,) = studied(system_metrics(LIMIT)(objective)).trials
    assert trial.state == PRUNED
    assert 0.9 < trial.constraints[LIMIT] < 1.5
    (run,) = runs_of(store_in_use, 1)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"].startswith("memory_growth_mb 10")


@pytest.mark.parametrize(("limit", "is_met"), [("elapsed_s>=0 after 1h", True), ("elapsed_s>=1000 after 1h", False)])
def test_constraint_of_a_lower_limit_is_below_0_only_if_it_is_met(store_in_use, limit, is_met):
    """One that does not count yet has broken nothing."""
    (trial,) = studied(system_metrics(limit)(lambda trial: 1.0)).trials
    assert (trial.state, trial.constraints[limit] < 0) == (COMPLETE, is_met)


def test_limit_that_only_the_end_shows_to_be_broken_prunes(store_in_use):
    """It is over before a second reading."""
    (trial,) = studied(system_metrics("elapsed_s<=0.01")(lambda trial: time.sleep(0.05) or 1.0)).trials
    assert trial.state == PRUNED
    (run,) = runs_of(store_in_use, 1)
    assert run.info.status == "KILLED"


def test_short_trial_cannot_hide_its_peak(empty_store):
    """Nor has it that of an earlier one, though it may end before a reading."""
    code = (
        "import os, optuna\n"
        "from mlflow_sysmetrics.optuna import system_metrics\n"
        "@system_metrics()\n"
        "def objective(trial):\n"
        "    return float(len(os.urandom(1) * (200_000_000 if trial.number else 400_000_000)))\n"
        "study = optuna.create_study()\n"
        "study.optimize(objective, n_trials=2)\n"
        "print(*(trial.user_attrs['peak_rss_mb'] for trial in study.trials))\n"
    )
    line, env = [sys.executable, "-c", code], clean_environment(MLFLOW_TRACKING_URI=store_uri(empty_store))
    done = subprocess.run(line, cwd=empty_store, env=env, capture_output=True, text=True, timeout=300, check=True)
    large, small = map(float, done.stdout.split())
    assert 150 < large - small < 250


def test_threads_of_one_process_have_only_their_time(store_in_use):
    """Its memory and CPU time are not those of one trial; a limit on them is refused."""
    both = Barrier(2)

    def objective(trial):
        both.wait(WITHIN_S)
        return 1.0

    for trial in studied(system_metrics("elapsed_s<=1000")(objective), 2, n_jobs=2).trials:
        assert set(trial.user_attrs) == {"elapsed_s"}
    is_refused = Event()
    waits = system_metrics(LIMIT)(lambda trial: is_refused.wait(WITHIN_S))

    def beside_another(trial):
        try:
            return waits(trial)
        except ValueError:
            is_refused.set()
            raise

    with pytest.raises(ValueError, match=r"^limits=memory_growth_mb<=50: .*several processes on one storage"):
        studied(beside_another, 4, n_jobs=2)


def test_study_inside_a_trial_has_the_process_for_itself(store_in_use):
    """The trial around it waits."""
    inner = system_metrics(LIMIT)(lambda trial: 1.0)
    outer = system_metrics(LIMIT)(lambda trial: studied(inner).best_value)
    (trial,) = studied(outer).trials
    assert trial.user_attrs.keys() >= SUMMARY
    assert len(runs_of(store_in_use, 2)) == 2


def test_limit_below_what_the_process_has_is_one_sentence(store_in_use):
    """Where the objective is decorated."""
    sentence = r"^limits=peak_memory_mb<=20: the process has peak_memory_mb [\d.]+ .*; raise .* memory_growth_mb"
    called = []
    with pytest.raises(ValueError, match=sentence):
        studied(system_metrics("peak_memory_mb<=20")(called.append))
    assert called == []


def test_interrupted_trial_leaves_no_run_that_goes_on(store_in_use):
    """Ctrl-C ends the study."""

    @system_metrics()
    def objective(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studied(objective)
    (run,) = runs_of(store_in_use, 1)
    assert (run.info.status, run.data.tags["sysmetrics.stopped_by"]) == ("KILLED", "person")


def test_objective_can_be_called_without_a_study(store_in_use):
    """As Optuna's own pages do with the best trial."""
    objective = system_metrics(LIMIT)(lambda trial: trial.suggest_float("x", 0, 1))
    assert objective(optuna.trial.FixedTrial({"x": 0.5})) == 0.5


def test_trials_of_a_script_outlive_an_outage(empty_store):
    """While the store is away: `sync` brings its runs."""
    (empty_store / "script.py").write_text(
        "import mlflow, optuna\n"
        "from mlflow_sysmetrics.delivery import writer\n"
        "from mlflow_sysmetrics.optuna import system_metrics\n"
        "writer._AT_EXIT_S = 0.5\n"
        "class Wrong(Exception): pass\n"
        "@system_metrics('elapsed_s<=100')\n"
        "def objective(trial):\n"
        "    if trial.suggest_int('x', 0, 9) > 9: raise Wrong\n"
        "    if trial.number: raise Wrong('one')\n"
        "    return 1.0\n"
        "optuna.create_study().optimize(objective, n_trials=2, catch=(Wrong,))\n"
    )
    spool = str(empty_store / "spool")
    env = clean_environment(MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_SYSMETRICS_SPOOL=spool)
    line = [sys.executable, "script.py"]
    done = subprocess.run(line, cwd=empty_store, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_SYSMETRICS_SPOOL", spool)
        deliver(tracking_uri=store_uri(empty_store))
    runs = runs_of(MlflowClient(store_uri(empty_store)), 2)
    assert [run.info.status for run in runs] == ["FINISHED", "FAILED"]
    assert runs[1].data.tags["sysmetrics.error"] == "Wrong: one"


@pytest.mark.parametrize(
    ("decorate", "uri", "said"),
    [
        (lambda: system_metrics("peak_memry_mb<=3"), None, "^limits=.*did you mean peak_memory_mb"),
        (lambda: system_metrics(print), None, "^@system_metrics: write it with brackets"),
        (system_metrics, "nowhere://", "^tracking_uri=.*unknown kind of store"),
    ],
)
def test_mistake_is_one_sentence(store_in_use, decorate, uri, said):
    """When the objective is decorated."""
    mlflow.set_tracking_uri(uri or store_in_use.tracking_uri)
    with pytest.raises(ValueError, match=said) as raised:
        decorate()
    assert "\n" not in str(raised.value)


def test_optuna_before_5_is_refused(monkeypatch):
    """It has no constraints that a trial sets itself."""
    monkeypatch.setattr(optuna, "__version__", "4.9.1")
    with pytest.raises(ImportError, match="optuna>=5"):
        importlib.reload(mlflow_sysmetrics.optuna)
