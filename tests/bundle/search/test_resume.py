"""Studies that were interrupted in every way and continued, beside the same studies without an interruption."""

import contextlib
import re
import shutil
import signal
import sqlite3
from functools import partial
from unittest.mock import Mock

import pytest
from cases import cases
from click.testing import CliRunner
from commands import (
    Finished,
    Study,
    children,
    copy_store,
    in_use,
    listening,
    references,
    runs_of_kind,
    store_uri,
    wait_until,
)
from mlflow import MlflowClient
from records import RunningRay, study_settings

from entrypoints.runs import RecordedRun
from entrypoints.search.resume import keep
from entrypoints.tune import tune
from mlflow_sysmetrics.tags import STOP_REASON

COUNTS = ("trials", "stopped", "failed", "diverged", "feasible", "skipped")
CURVES = ("train_loss", "val_loss", "val_rmse")
SCORES = ("val_loss", "val_rmse", "test_rmse", "test_loss")


def _is_done(run):
    return "sysmetrics.end" in run.data.tags and run.info.status != "RUNNING"


def _check_result(study, whole):
    """A study has what another of the same settings has, which nothing has interrupted.

    Each trial has one run, with the same end, and every point of each curve, once, to twelve digits: processes round
    differently. Tables have each trial and fold once; the best trial, scores and counts are the same. No run is left
    open.
    """
    expected = {run.info.run_name: run for run in whole.trials}
    assert sorted(run.info.run_name for run in study.trials) == sorted(expected)
    for run in study.trials:
        other = expected[run.info.run_name]
        assert run.info.status == other.info.status
        for tag in ("stop_reason", "diverged", "error"):
            assert run.data.tags.get(f"sysmetrics.{tag}") == other.data.tags.get(f"sysmetrics.{tag}")
        for name in CURVES:
            assert study.values(run, name) == pytest.approx(whole.values(other, name), rel=1e-12)
            points = study.client.get_metric_history(run.info.run_id, name)
            assert len(points) == len({point.step for point in points})
    assert study.run.info.status == "FINISHED"
    assert {run.info.status for run in study.client.search_runs(["0"])} <= {"FINISHED", "KILLED", "FAILED"}
    assert _best(study) == _best(whole)
    metrics, of_whole = study.run.data.metrics, whole.run.data.metrics
    assert [metrics.get(name) for name in COUNTS] == [of_whole.get(name) for name in COUNTS]
    assert metrics["test_rmse"] == pytest.approx(of_whole["test_rmse"], rel=1e-12)
    for file, key in {"trials.json": "status", "folds.json": "fold"}.items():
        assert _table(study, file, key) == _table(whole, file, key)


def _best(study):
    return study.client.get_run(study.run.data.tags["sysmetrics.best_trial_run_id"]).data.params


def _table(study, file, key):
    """The rows of a table by the names of their trials, with scores to twelve digits."""
    held_against = references(study.client, study.run).values()
    names = {run.data.tags["sysmetrics.trial_id"]: run.info.run_name for run in (*study.trials, *held_against)}
    rows = []
    for row in study.rows(file):
        scores = [f"{row.get(name, 0.0):.12g}" for name in SCORES]
        rows.append([names[row["trial_id"]], str(row[key]), *scores])
    return sorted(rows)


def _as_if_killed(whole, folder, begun, absent):
    """Leave in a folder what a study would have, had it been killed while some trials ran and others had not begun.

    Those that ran had points of their scores up to step 700.
    """
    copy_store(whole.folder, folder)
    shutil.copytree(whole.folder / "mlruns", folder / "mlruns")
    client = MlflowClient(store_uri(folder))
    for run in (whole.run, *begun):
        client.update_run(run.info.run_id, "RUNNING")
    for run in begun:
        client.delete_tag(run.info.run_id, "sysmetrics.end")
    for run in absent:
        client.delete_run(run.info.run_id)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        for table, column in {"runs": "artifact_uri", "experiments": "artifact_location"}.items():
            moved = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            database.execute(moved, [str(whole.folder), str(folder)])
        for run in begun:
            not_yet = "DELETE FROM metrics WHERE run_uuid = ? AND (step > 700 OR key NOT LIKE 'val%')"
            database.execute(not_yet, [run.info.run_id])


@pytest.mark.usefixtures("local_ray")
def test_killed_study_goes_on_in_its_own_runs_as_if_it_had_not_been(study, tmp_path, monkeypatch):
    """Done trials stay as they are; begun ones go on in their runs. The command may register the model by another name.

    Its own run is nested under the study's.
    """
    first, *done, second, absent = sorted(study.trials, key=lambda run: int(run.data.params["batch_size"]))
    _as_if_killed(study, tmp_path, [first, second], [absent])
    monkeypatch.setattr("entrypoints.search.plan.backend", Mock(return_value=RunningRay()))
    with in_use(tmp_path) as client:
        now = ["--register", "wine again", "--time_limit_s", "600"]
        result = CliRunner().invoke(tune, ["--resume", study.run.info.run_id, *now])
    assert result.exit_code == 0, result.output
    assert "goes on; 5 of 8 trials are done, 2 were begun and keep their runs, 1 are new\n" in result.stdout
    assert "Search: 3 of 8 trials of 3 folds on 1 CPU cores" in result.stdout
    run = client.get_run(study.run.info.run_id)
    command = Finished(result.exit_code, result.stdout, result.stderr, 0.0)
    continued = Study(tmp_path, command, client, run, children(client, run, "trial"), set())
    _check_result(continued, study)
    trials = {each.info.run_id: each for each in continued.trials}
    assert len(trials.keys() & {each.info.run_id for each in study.trials}) == 7
    for each in done:
        assert trials[each.info.run_id].info.end_time == each.info.end_time
        assert trials[each.info.run_id].data.metrics == each.data.metrics
    assert client.get_model_version_by_alias("wine again", "candidate").run_id == run.info.run_id
    (resume,) = children(client, run, "resume")
    assert (resume.info.run_name, resume.info.status) == ("resume tune red_wine", "FINISHED")


# An estimator whose trials crawl, from their middle on, once more of them have begun than the file `most` allows. The
# timing of a few batches before the search ends earlier.
CRAWLS = """
import time
from pathlib import Path

from sklearn.linear_model import SGDRegressor

HERE = Path(__file__).parent

class Crawls(SGDRegressor):
    def __init__(self, rate=0.001, alpha=0.001):
        super().__init__(learning_rate="constant", eta0=rate, alpha=alpha, random_state=0)
        self.rate = rate

    def partial_fit(self, X, y, sample_weight=None):
        self.steps_ = getattr(self, "steps_", 0) + 1
        if self.steps_ > 200:
            (HERE / f"begun {self.rate} {self.alpha}").touch()
            if len([*HERE.glob("begun *")]) > int((HERE / "most").read_text()):
                time.sleep(0.1)
        return super().partial_fit(X, y)
"""
# The first rate diverges before it can crawl. Only what is the same in every run ends a trial, its loss.
SEARCH = {
    "algorithm": "crawls.Crawls",
    "space": "{batch_size: 64, rate: [0.1, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002], alpha: 0.001}",
    "folds": "3",
    "length": "400 steps",
    "served": "none",
    "limits": "val_loss patience 10, training_time_s<=1000x median",
}
N_TRIALS = 7
TIME_LIMIT_S = 50
ENDED_WITHIN_S = 300.0  # 8 s where something hangs; what marks the run then imports mlflow, on a busy machine


@pytest.fixture
def start(new_store, start_project, tmp_path):
    """Start the search, whose trials crawl once two have begun."""
    (tmp_path / "crawls.py").write_text(CRAWLS)
    (tmp_path / "most").write_text("2")
    copy_store(new_store, tmp_path)
    return partial(start_project, "early_stop", tmp_path, warm=True, cpus="1", **SEARCH)


@pytest.mark.slow
@cases(
    "number, group, named",
    {
        "ctrl-c": (signal.SIGINT, True, "SIGINT"),
        "sigterm": (signal.SIGTERM, True, "SIGTERM"),
        "closed terminal": (signal.SIGHUP, True, "SIGHUP"),
        "mlflow run alone": (signal.SIGTERM, False, "SIGTERM"),
    },
)
def test_signal_ends_a_study_soon_with_its_runs_marked(start, tmp_path, number, group, named):
    """No process is left, and no run is RUNNING; the user is told why, and how to go on, without a traceback.

    `mlflow run` may call the study FAILED in the end: its tag still has the reason.

    While it ran, neither the command nor a process of its Ray answered another machine.
    """
    command, client = start(), MlflowClient(store_uri(tmp_path))

    def trials():
        return [run for study in runs_of_kind(client, "study") for run in children(client, study, "trial")]

    wait_until(lambda: len([*tmp_path.glob("begun *")]) > 2 or command.process.poll() is not None, 900, "a third trial")
    done = {run.info.run_id for run in trials() if _is_done(run)}
    before, addresses = " ".join(command.processes().values()), listening(command.processes())
    assert addresses == {"127.0.0.1"}
    assert all(kind in before for kind in ("entrypoints.tune", "raylet", "ray::"))
    command.signal(number, group=group)
    assert command.wait().exit_code != 0
    wait_until(lambda: not command.processes(), ENDED_WITHIN_S, "the end of all processes")
    (study,) = runs_of_kind(client, "study")
    continued_by = f"mlflow run . -e early_stop -P resume={study.info.run_id} --env-manager local"
    best = r"Best so far: val_rmse 0\.\d+ by .+, of \d of \d trials that ran to their end\n"
    said = rf"What was measured is in MLflow\.\n({best})?Continue with: {re.escape(continued_by)}\n"
    assert re.search(said, command.stderr)
    assert continued_by in study.data.tags["mlflow.note.content"]
    assert "entrypoints/" not in command.stderr
    assert study.info.status in ("KILLED", "FAILED")
    assert study.data.tags[STOP_REASON] == f"ended by {named}"
    assert {run.info.status for run in trials() if run.info.run_id not in done} == {"KILLED"}
    assert {run.info.run_id for run in trials() if _is_done(run)} == done


@pytest.mark.slow
def test_study_ends_when_its_time_is_up_with_the_best_by_then(start, tmp_path):
    """FINISHED, with the best of the trials that had come to their end, refitted; which the terminal and its page say.

    The one that still ran is KILLED and says why; what was measured until then stays.
    """
    ended, client = start(time_limit_s=TIME_LIMIT_S).wait(), MlflowClient(store_uri(tmp_path))
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    (study,) = runs_of_kind(client, "study")
    trials = children(client, study, "trial")
    sound = [run for run in trials if run.info.status == "FINISHED" and run.data.tags["sysmetrics.diverged"] == "false"]
    best = min(sound, key=lambda run: run.data.metrics["val_rmse"])
    assert study.info.status == "FINISHED"
    assert study.data.tags["sysmetrics.best_trial_run_id"] == best.info.run_id
    assert study.data.metrics["best_val_rmse"] == best.data.metrics["val_rmse"]
    assert study.data.metrics["test_rmse"] < 0.8
    (cut_off,) = [run for run in trials if run.info.status == "KILLED" and not _is_done(run)]
    assert cut_off.data.tags["sysmetrics.stop_reason"] == f"time_limit_s={TIME_LIMIT_S} of the study"
    assert min(cut_off.data.metrics["val_rmse"], cut_off.data.metrics["elapsed_s"]) > 0
    said = rf"^({N_TRIALS} trials: .*1 cut off by time_limit_s, .*not started\.)$"
    (says,) = re.findall(said, ended.stdout, re.M)
    assert f"\n- {says}\n" in study.data.tags["mlflow.note.content"]
    for text in ("Traceback", "Warning", "WARNING", "Reached timeout"):
        assert text not in ended.stdout + ended.stderr


GIVEN = ("--limits", "auto", "--ray_address", "auto", "--register", "wine again")  # the first comes with early_stop


def test_study_goes_on_as_it_began_where_the_command_says(store_in_use, monkeypatch):
    """Under its limits. The command's run keeps the name that the user has given it."""
    run = store_in_use.create_run("0", run_name="a study", tags={"sysmetrics.kind": "study"})
    settings = study_settings(register="wine", ray_address="10.0.0.1:6379", folds=3, limits="elapsed_s<=3")
    keep(RecordedRun.of(store_in_use, run), settings)
    study = run.info.run_id
    store_in_use.set_terminated(study, "KILLED")
    monkeypatch.setenv("MLFLOW_RUN_ID", store_in_use.create_run("0", run_name="resume at night").info.run_id)
    backend, run_study = Mock(return_value=RunningRay()), Mock()
    monkeypatch.setattr("entrypoints.search.plan.backend", backend)
    monkeypatch.setattr("entrypoints.search.running.run_study", run_study)
    result = CliRunner().invoke(tune, ["--resume", study, *GIVEN])
    assert result.exit_code == 0, result.output
    plan = run_study.call_args.args[0]
    assert backend.call_args.args == ("auto", None)
    assert (plan.settings.folds, plan.settings.register, str(plan.limits)) == (3, "wine again", "elapsed_s<=3")
    (run,) = runs_of_kind(store_in_use, "resume")
    assert run.info.run_name == "resume at night"
