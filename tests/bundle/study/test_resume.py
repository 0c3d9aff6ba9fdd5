"""Studies that were interrupted in every way and continued, beside the same studies without an interruption."""

import contextlib
import re
import shutil
import signal
import sqlite3
from functools import partial
from unittest.mock import Mock

import pandas as pd
import pytest
from cases import cases
from commands import Study, children, copy_store, in_use, invoke, listening, runs_of_kind, store_uri, wait_until
from mlflow import MlflowClient
from records import RunningRay, read, study_settings

from entrypoints.runs.recorded import RecordedRun
from entrypoints.runs.tags import BEST_TRIAL_RUN_ID, NOTE
from entrypoints.study.resume import keep
from entrypoints.tune import tune
from mlflow_sysmetrics.recording.tags import STOP_REASON

CURVES = ("train_loss", "val_loss", "val_rmse")
SCORES = ["val_loss", "val_rmse", "test_rmse", "test_loss"]


def _is_done(run):
    return "sysmetrics.end" in run.data.tags and run.info.status != "RUNNING"


def _check_result(study, whole):
    """A study has what another of the same settings has, which nothing has interrupted.

    Each trial has one run, with the same end, and at each step of each curve the same value, to twelve digits:
    processes round differently. Tables have each trial and fold once; the best trial is the same. No run is left open.
    """
    assert study.run.info.status == "FINISHED"
    assert study.client.search_runs(["0"], "attributes.status = 'RUNNING'") == []
    assert len(study.rows("trials.json")) == len(whole.rows("trials.json"))
    pd.testing.assert_frame_equal(_folds(study), _folds(whole), rtol=1e-12)
    expected = {run.info.run_name: run for run in whole.trials}
    for run in study.trials:
        other = expected[run.info.run_name]
        assert run.info.status == other.info.status
        for name in CURVES:
            points = study.client.get_metric_history(run.info.run_id, name)
            values = whole.values(other, name)
            assert {point.step for point in points} == values.keys()
            assert study.values(run, name) == pytest.approx(values, rel=1e-12)
    best = study.client.get_run(study.run.data.tags[BEST_TRIAL_RUN_ID])
    assert expected[best.info.run_name].info.run_id == whole.run.data.tags[BEST_TRIAL_RUN_ID]
    for name in ("trials", "diverged", "test_rmse"):
        assert study.run.data.metrics[name] == pytest.approx(whole.run.data.metrics[name], rel=1e-12)


def _folds(study):
    """The scores of each fold, by the names of trials and references."""
    frame = read(study.client, [study.run])
    runs = pd.concat([frame.trials, frame.references])
    names = dict(zip(runs["trial_id"], runs["name"], strict=True))
    folds = frame.folds.assign(name=frame.folds["trial_id"].map(names))
    return folds.set_index(["name", "fold"]).sort_index().filter(SCORES)


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
    monkeypatch.setattr("entrypoints.study.plan.backend", Mock(return_value=RunningRay()))
    with in_use(tmp_path) as client:
        result = invoke(tune, resume=study.run.info.run_id, register="wine again", time_limit_s="600")
    assert result.exit_code == 0, result.output
    assert "goes on; 5 of 8 trials are done, 2 were begun and keep their runs, 1 are new\n" in result.stdout
    assert "Search: 3 of 8 trials of 3 folds on 1 CPU cores" in result.stdout
    run = client.get_run(study.run.info.run_id)
    continued = Study(tmp_path, result, run)
    _check_result(continued, study)
    assert {each.info.run_id for each in (first, second)} <= {each.info.run_id for each in continued.trials}
    for each in done:
        now = client.get_run(each.info.run_id)
        assert now.info.end_time == each.info.end_time
        assert now.data.metrics == each.data.metrics
    assert client.get_model_version_by_alias("wine again", "candidate").run_id == run.info.run_id
    (resume,) = children(client, run, "resume")
    assert resume.info.run_name == "resume tune red_wine"
    assert resume.info.status == "FINISHED"


# An estimator whose trials, not the model of the result, crawl from their middle on, once more of them have begun than
# the file `most` allows. The timing of a few batches before the search ends earlier.
CRAWLS = """
import sys
import time
from pathlib import Path

from sklearn.linear_model import SGDRegressor

HERE = Path(__file__).parent
IS_TRIAL = "ray" in sys.argv[0]

class Crawls(SGDRegressor):
    def __init__(self, rate=0.001, alpha=0.001):
        super().__init__(learning_rate="constant", eta0=rate, alpha=alpha, random_state=0)
        self.rate = rate

    def partial_fit(self, X, y, sample_weight=None):
        self.steps_ = getattr(self, "steps_", 0) + 1
        if IS_TRIAL and self.steps_ > 200:
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
    "limits": "training_time_s<=1000x median",
}
N_TRIALS = 7
TIME_LIMIT_S = 50
ENDED_WITHIN_S = 300.0  # 15 s where something hangs; what marks the run then imports mlflow, on a busy machine


@pytest.fixture
def start(new_store, start_project, tmp_path):
    """Start the search, whose trials crawl once two have begun."""
    (tmp_path / "crawls.py").write_text(CRAWLS)
    (tmp_path / "most").write_text("2")
    copy_store(new_store, tmp_path)
    return partial(start_project, "early_stop", tmp_path, cpus="1", **SEARCH)


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

    The best model by then is logged, and named.

    `mlflow run` may call the study FAILED in the end: its tag still has the reason.

    While it ran, neither the command nor a process of its Ray answered another machine.
    """
    command = start()
    client = MlflowClient(store_uri(tmp_path))
    wait_until(lambda: len([*tmp_path.glob("begun *")]) > 2 or command.process.poll() is not None, 900, "a third trial")
    (study,) = runs_of_kind(client, "study")
    done = {run.info.run_id for run in children(client, study, "trial") if _is_done(run)}
    processes = command.processes()
    assert "ray::" in " ".join(processes.values())
    assert listening(processes) == {"127.0.0.1"}
    command.signal(number, group=group)
    assert command.wait().exit_code != 0
    wait_until(lambda: not command.processes(), ENDED_WITHIN_S, "the end of all processes")
    study = client.get_run(study.info.run_id)
    continued_by = f"mlflow run . -e early_stop -P resume={study.info.run_id} --env-manager local"
    assert f"\nContinue with: {continued_by}\n" in command.stderr
    assert continued_by in study.data.tags[NOTE]
    (best,) = re.findall(
        r"^Best so far: (val_rmse .* of \d of 7 trials .*; its model is (models:/\S+))$", command.stderr, re.M
    )
    assert best[0] in study.data.tags[NOTE]
    assert client.get_logged_model(best[1].removeprefix("models:/")).source_run_id == study.info.run_id
    assert "entrypoints/" not in command.stderr
    assert study.info.status in ("KILLED", "FAILED")
    assert study.data.tags[STOP_REASON] == f"ended by {named}"
    trials = children(client, study, "trial")
    assert {run.info.run_id for run in trials if _is_done(run)} == done
    assert {run.info.status for run in trials if not _is_done(run)} == {"KILLED"}


@pytest.mark.slow
def test_study_ends_when_its_time_is_up_with_the_best_by_then(start, tmp_path):
    """FINISHED, with the best of the trials that had come to their end, refitted; which the terminal and its page say.

    The one that still ran is KILLED and says why; what was measured until then stays.
    """
    ended = start(time_limit_s=TIME_LIMIT_S).wait()
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    client = MlflowClient(store_uri(tmp_path))
    (study,) = runs_of_kind(client, "study")
    trials = children(client, study, "trial")
    sound = [run for run in trials if run.info.status == "FINISHED" and run.data.tags["sysmetrics.diverged"] == "false"]
    best = min(sound, key=lambda run: run.data.metrics["val_rmse"])
    assert study.info.status == "FINISHED"
    assert study.data.tags[BEST_TRIAL_RUN_ID] == best.info.run_id
    assert study.data.metrics["test_rmse"] < 0.8
    (cut_off,) = [run for run in trials if run.info.status == "KILLED" and not _is_done(run)]
    assert cut_off.data.tags[STOP_REASON] == f"time_limit_s={TIME_LIMIT_S} of the study"
    assert cut_off.data.metrics["val_rmse"] > 0
    assert cut_off.data.metrics["elapsed_s"] > 0
    counts = rf"^{N_TRIALS} trials: .*1 cut off by time_limit_s, .*not started\.$"
    (says,) = re.findall(counts, ended.stdout, re.M)
    assert f"\n- {says}\n" in study.data.tags[NOTE]
    assert not re.search("Traceback|Warning|WARNING|Reached timeout", ended.stdout + ended.stderr)


def test_study_goes_on_as_it_began_where_the_command_says(store_in_use, monkeypatch):
    """Under its limits. The command's run keeps the name that the user has given it."""
    run = store_in_use.create_run("0", run_name="a study", tags={"sysmetrics.kind": "study"})
    settings = study_settings(register="wine", ray_address="10.0.0.1:6379", folds=3, limits="elapsed_s<=3")
    keep(RecordedRun.of(store_in_use, run), settings)
    study = run.info.run_id
    store_in_use.set_terminated(study, "KILLED")
    monkeypatch.setenv("MLFLOW_RUN_ID", store_in_use.create_run("0", run_name="resume at night").info.run_id)
    backend = Mock(return_value=RunningRay())
    run_study = Mock()
    monkeypatch.setattr("entrypoints.study.plan.backend", backend)
    monkeypatch.setattr("entrypoints.study.running.run_study", run_study)
    given = {"ray_address": "auto", "register": "wine again", "limits": "auto"}  # the last comes with early_stop
    result = invoke(tune, resume=study, **given)
    assert result.exit_code == 0, result.output
    assert backend.call_args.args == ("auto", None)
    (plan,) = run_study.call_args.args
    assert plan.settings.folds == 3
    assert plan.settings.register == "wine again"
    assert str(plan.limits) == "elapsed_s<=3"
    (run,) = runs_of_kind(store_in_use, "resume")
    assert run.info.run_name == "resume at night"
