"""Studies that were interrupted in every way and continued, beside the same studies without an interruption."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import pytest
from click.testing import CliRunner
from commands import (
    STUDY,
    Command,
    RunProject,
    StartProject,
    Study,
    children,
    copy_store,
    listening,
    runs_of_kind,
    store_uri,
    wait_until,
)
from mlflow import MlflowClient
from mlflow.entities import Run
from study_settings import study_settings

from entrypoints.early_stop import early_stop
from entrypoints.runs import RecordedRun
from entrypoints.search.resume import keep
from entrypoints.search.sampler import START_UP
from entrypoints.settings import LimitOptions

COUNTS = ("trials", "stopped", "failed", "diverged", "feasible", "skipped")
SAME_FIGURES = (*COUNTS, "best_val_rmse", "test_rmse", "test_loss")
CURVES = ("train_loss", "val_loss", "val_rmse")
SCORES = ("val_loss", "val_rmse", "test_rmse", "test_loss")


def _is_done(run: Run) -> bool:
    return "sysmetrics.end" in run.data.tags and run.info.status != "RUNNING"


def _check_result(study: Study, whole: Study) -> None:
    """A study has what another of the same settings has, which nothing has interrupted.

    Each trial has one run, with the same end, and every point of each curve, once, to the last digit. Tables have each
    trial and fold once; the best trial, scores and counts are the same. No run is left open.
    """
    expected = {run.info.run_name: run for run in whole.trials}
    assert sorted(str(run.info.run_name) for run in study.trials) == sorted(map(str, expected))
    for run in study.trials:
        other = expected[run.info.run_name]
        assert run.info.status == other.info.status
        for tag in ("stop_reason", "diverged", "error"):
            assert run.data.tags.get(f"sysmetrics.{tag}") == other.data.tags.get(f"sysmetrics.{tag}")
        for name in CURVES:
            assert study.values(run, name) == whole.values(other, name)
            points = study.client.get_metric_history(run.info.run_id, name)
            assert len(points) == len({point.step for point in points})
    assert study.run.info.status == "FINISHED"
    assert {run.info.status for run in study.client.search_runs(["0"])} <= {"FINISHED", "KILLED", "FAILED"}
    assert _result(study) == _result(whole)


def _result(study: Study) -> Any:
    """What a study says of its trials and the best, by their names."""
    metrics, tags = study.run.data.metrics, study.run.data.tags
    best = study.client.get_run(tags["sysmetrics.best_trial_run_id"]).data.params
    names = {run.data.tags["sysmetrics.trial_id"]: run.info.run_name for run in study.trials}
    tables = [
        sorted(str([names[row["trial_id"]], *map(row.get, (*columns, *SCORES))]) for row in study.rows(file))
        for file, columns in {"trials.json": ("status", "diverged"), "folds.json": ("fold",)}.items()
    ]
    ids = {row["trial_id"]: row["run_id"] for row in study.rows("trials.json")}
    assert ids == {run.data.tags["sysmetrics.trial_id"]: run.info.run_id for run in study.trials}
    return best, tables, {name: metrics.get(name) for name in SAME_FIGURES}, tags.get("sysmetrics.error")


def _as_if_killed(whole: Study, folder: Path, begun: Sequence[Run], absent: Sequence[Run]) -> None:
    """Leave in a folder what a study would have, had it been killed while some trials ran and others had not begun."""
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


def test_killed_study_goes_on_in_its_own_runs_as_if_it_had_not_been(
    study: Study, run_project: RunProject, tmp_path: Path
) -> None:
    """Done trials stay as they are; begun ones go on in their runs. The command may register the model by another name.

    Its own run is nested under the study's.
    """
    first, *done, second, absent = sorted(study.trials, key=lambda run: int(run.data.params["batch_size"]))
    _as_if_killed(study, tmp_path, [first, second], [absent])
    command = run_project("tune", tmp_path, resume=study.run.info.run_id, cpus="2", register="wine again")
    assert command.exit_code == 0, command.stdout + command.stderr
    assert "goes on; 5 of 8 trials are done, 2 were begun and keep their runs, 1 are new\n" in command.stdout
    assert "Search: 3 of 8 trials of 3 folds on 2 CPU cores" in command.stdout
    client = MlflowClient(store_uri(tmp_path))
    run = client.get_run(study.run.info.run_id)
    continued = Study(tmp_path, command, client, run, children(client, run, "trial"), [], set())
    _check_result(continued, study)
    now = {each.info.run_id: each for each in continued.trials}
    assert len(now.keys() & {each.info.run_id for each in study.trials}) == 7
    for each in done:
        assert now[each.info.run_id].info.end_time == each.info.end_time
        assert now[each.info.run_id].data.metrics == each.data.metrics
    assert client.get_model_version_by_alias("wine again", "candidate").run_id == run.info.run_id
    (resume,) = children(client, run, "resume")
    assert (resume.info.run_name, resume.info.status) == ("resume tune red_wine", "FINISHED")


@pytest.mark.slow
def test_search_that_learns_goes_on_with_what_it_would_have_suggested(
    run_study: Callable[..., Study], run_project: RunProject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of a grid of 36 it tries 16, each once; seven of them are suggested again after an interruption."""
    space = "{batch_size: [64, 128, 256], learning_rate: [0.01, 0.003, 0.001, 0.0003], alpha: [0.001, 0.1, 1]}"
    settings = STUDY | {"space": space, "search": "tpe", "max_trials": "16", "max_epochs": "2", "cpus": "1"}
    limits = "training_time_s<=1000x median"  # which no trial breaks: times differ from run to run
    whole = run_study(tmp_path_factory.mktemp("whole"), "early_stop", **settings, limits=limits)
    assert "Search: 16 trials of 3 folds, chosen among 36, on 1 CPU cores" in whole.command.stdout
    in_order = sorted(whole.trials, key=lambda run: int(run.data.tags["sysmetrics.number"]))
    assert [run.data.tags["sysmetrics.number"] for run in in_order] == [str(number) for number in range(1, 17)]
    assert len({run.info.run_name for run in in_order}) == 16
    best = min(in_order, key=lambda run: run.data.metrics["val_rmse"])
    assert in_order.index(best) >= START_UP
    folder = tmp_path_factory.mktemp("continued")
    _as_if_killed(whole, folder, in_order[8:9], in_order[9:])
    command = run_project("early_stop", folder, resume=whole.run.info.run_id, cpus="1")
    assert command.exit_code == 0, command.stdout + command.stderr
    assert "goes on; 8 of 16 trials are done, 1 were begun and keep their runs, 7 are new\n" in command.stdout
    client = MlflowClient(store_uri(folder))
    run = client.get_run(whole.run.info.run_id)
    continued = Study(folder, command, client, run, children(client, run, "trial"), [], set())
    _check_result(continued, whole)
    numbers = {run.info.run_name: run.data.tags["sysmetrics.number"] for run in in_order}
    assert {run.info.run_name: run.data.tags["sysmetrics.number"] for run in continued.trials} == numbers


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
    "space": "{batch_size: 64, rate: [0.1, 0.01, 0.005, 0.002, 0.001], alpha: [0.001, 0.01]}",
    "repeats": "none",
    "folds": "3",
    "max_steps": "400",
    "report_every": "20",
    "served": "none",
    "limits": "val_loss patience 10, training_time_s<=1000x median",
}
N_TRIALS = 10
TIME_LIMIT_S = 50
ENDED_WITHIN_S = 300.0  # 8 s where something hangs; what marks the run then imports mlflow, on a busy machine
RAY_GONE_WITHIN_S = 300.0  # two helpers of Ray look for their parent every half minute


@dataclass(frozen=True)
class Interrupted:
    """A command that was interrupted in mid-search: what was there just before, and a moment later."""

    command: Command
    done: list[Run]
    processes_before: list[str]
    addresses: set[str]
    processes_after: list[str]
    seconds: float
    study: Run
    trials: list[Run]


Interrupt = Callable[[Command, int], None]  # with the process that runs the study


def _sigterm(command: Command, driver: int) -> None:
    command.signal(signal.SIGTERM, group=False)


def _sigint(command: Command, driver: int) -> None:
    command.signal(signal.SIGINT, group=True)


def _kill_9(command: Command, driver: int) -> None:
    psutil.Process(driver).kill()


# What interrupts the study, and then each command that continues it, when at least this many trials are done.
INTERRUPTS: dict[str, tuple[int, Interrupt | None]] = {
    "time limit": (2, None),
    "SIGTERM to mlflow run": (3, _sigterm),
    "SIGINT to the group": (5, _sigint),
    "kill -9": (6, _kill_9),
}


@dataclass(frozen=True)
class Continued:
    """A study that was interrupted again and again: its interruptions, and what it is at the end."""

    interrupted: dict[str, Interrupted]
    study: Study
    last: Command

    @property
    def commands(self) -> list[Command]:
        """All, in their order."""
        return [*(each.command for each in self.interrupted.values()), self.last]


def _user(store: Path, folder: Path, most: int) -> Path:
    """A folder with a store and the estimator, of which a number of trials run without crawling."""
    (folder / "crawls.py").write_text(CRAWLS)
    (folder / "most").write_text(str(most))
    return copy_store(store, folder)


@pytest.fixture(scope="module")
def whole(new_store: Path, run_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study that nothing interrupts."""
    return run_study(_user(new_store, tmp_path_factory.mktemp("whole"), N_TRIALS), "early_stop", **SEARCH, cpus="2")


@pytest.fixture(scope="module")
def continued(new_store: Path, start_project: StartProject, tmp_path_factory: pytest.TempPathFactory) -> Continued:
    """Start it, with one trial at a time, and interrupt and continue it in all ways."""
    folder = _user(new_store, tmp_path_factory.mktemp("continued"), 0)
    client, options = MlflowClient(store_uri(folder)), SEARCH | {"time_limit_s": str(TIME_LIMIT_S)}
    interrupted = {}
    for name, (most, interrupt) in INTERRUPTS.items():
        (folder / "most").write_text(str(most))
        command = start_project("early_stop", folder, warm=True, cpus="1", **options)
        interrupted[name] = _interrupted(command, client, folder, most, interrupt)
        options = {"resume": interrupted[name].study.info.run_id}
    (folder / "most").write_text(str(N_TRIALS))
    last = start_project("early_stop", folder, warm=True, cpus="1", **options)
    finished = last.wait()
    assert finished.exit_code == 0, finished.stdout + finished.stderr
    run = client.get_run(options["resume"])
    study = Study(folder, finished, client, run, children(client, run, "trial"), [], set())
    return Continued(interrupted, study, last)


def _interrupted(
    command: Command, client: MlflowClient, folder: Path, most: int, interrupt: Interrupt | None
) -> Interrupted:
    """Let this many trials end, then interrupt the command while it runs the next; without an interrupt it goes on."""

    def study() -> Run:
        return runs_of_kind(client, "study")[0]

    def done() -> list[Run]:
        return [run for run in children(client, study(), "trial") if _is_done(run)]

    def crawls() -> bool:
        under_way = sum(run.info.status == "RUNNING" for run in children(client, study(), "trial"))
        sound = [run for run in done() if run.data.tags["sysmetrics.diverged"] == "false"]
        return len([*folder.glob("begun *")]) > most <= len(sound) and under_way == 1

    ended = False
    if interrupt is None:
        ended = command.wait().exit_code == 0
    else:
        wait_until(lambda: crawls() or command.process.poll() is not None, 900, f"the trial after {most}")
    assert ended or command.process.poll() is None, command.stdout + command.stderr
    before, lines, addresses = done(), list(command.processes().values()), listening(command.processes())
    sent = time.monotonic()
    if interrupt is not None:
        interrupt(command, int(study().data.tags["sysmetrics.pid"]))
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.process.wait(ENDED_WITHIN_S)
    if interrupt is not _kill_9:  # else Ray's processes end later, and the user need not wait for them
        while (living := command.processes()) and (left_s := sent + ENDED_WITHIN_S - time.monotonic()) > 0:
            psutil.wait_procs(living, left_s)
    seconds, after = time.monotonic() - sent, list(command.processes().values())
    return Interrupted(command, before, lines, addresses, after, seconds, study(), children(client, study(), "trial"))


@pytest.mark.slow
def test_study_is_as_without_its_interruptions(continued: Continued, whole: Study) -> None:
    """In all that is not a cost; no process is left, Ray's own among them, whatever ended its command."""
    _check_result(continued.study, whole)
    wait_until(
        lambda: not [each for command in continued.commands for each in command.processes()],
        RAY_GONE_WITHIN_S,
        "the end of all processes",
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", INTERRUPTS)
def test_trial_that_was_done_is_not_run_again(continued: Continued, name: str) -> None:
    """Its run has the same end and the same points as before the interruption; the others go on in theirs."""
    before, now = continued.interrupted[name], {run.info.run_id: run for run in continued.study.trials}
    assert INTERRUPTS[name][0] <= len(before.done) < N_TRIALS
    for run in before.done:
        again = now[run.info.run_id]
        assert (again.info.start_time, again.info.end_time) == (run.info.start_time, run.info.end_time)
        assert again.data.metrics == run.data.metrics
    assert {run.info.run_id for run in before.trials} <= now.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM to mlflow run", "SIGINT to the group"])
def test_signal_ends_a_study_soon_with_its_runs_marked(continued: Continued, name: str) -> None:
    """No process is left; the study and the trial under way are KILLED, and the user is told without a traceback.

    While it ran, neither the command nor a process of its Ray answered another machine.
    """
    ended = continued.interrupted[name]
    for kind in ("entrypoints.early_stop", "raylet", "ray::"):
        assert any(kind in line for line in ended.processes_before)
    assert ended.addresses == {"127.0.0.1"}
    assert (ended.processes_after, ended.seconds < ENDED_WITHIN_S) == ([], True)
    assert ended.command.process.returncode != 0
    continued_by = f"mlflow run . -e early_stop -P resume={ended.study.info.run_id} --env-manager local"
    assert f"What was measured is in MLflow.\nContinue with: {continued_by}\n" in ended.command.stderr
    assert continued_by in ended.study.data.tags["mlflow.note.content"]
    assert "entrypoints/" not in ended.command.stderr
    assert ended.study.info.status == "KILLED"
    done = {run.info.run_id for run in ended.done}
    assert {run.info.status for run in ended.trials if run.info.run_id not in done} == {"KILLED"}
    assert {run.info.run_id for run in ended.trials if _is_done(run)} == done


@pytest.mark.slow
def test_study_ends_when_its_time_is_up_with_the_best_by_then(continued: Continued) -> None:
    """FINISHED, with the best of the trials that had come to their end, refitted; which the terminal and its page say.

    The one that still ran is KILLED and says why; what was measured until then stays.
    """
    ended = continued.interrupted["time limit"]
    finished = [run for run in ended.done if run.info.status == "FINISHED"]
    best = min(finished, key=lambda run: run.data.metrics["val_rmse"])
    assert ended.study.info.status == "FINISHED"
    assert ended.study.data.tags["sysmetrics.best_trial_run_id"] == best.info.run_id
    assert ended.study.data.metrics["best_val_rmse"] == best.data.metrics["val_rmse"]
    assert ended.study.data.metrics["test_rmse"] < 0.8
    assert "forecast_error_percent" not in ended.study.data.metrics
    (cut_off,) = [run for run in ended.trials if run.info.status == "KILLED" and not _is_done(run)]
    assert cut_off.data.tags["sysmetrics.stop_reason"] == f"time_limit_s={TIME_LIMIT_S} of the study"
    assert min(cut_off.data.metrics["val_rmse"], cut_off.data.metrics["elapsed_s"]) > 0
    output = ended.command.stdout
    assert re.search(
        rf"^Search: {N_TRIALS} trials of 3 folds on 1 CPU cores, about .*, at most {TIME_LIMIT_S} s$", output, re.M
    )
    (says,) = re.findall(
        rf"^({N_TRIALS} trials: .*1 cut off by time_limit_s={TIME_LIMIT_S}, .*not started\.)$", output, re.M
    )
    assert f"\n- {says}\n" in ended.study.data.tags["mlflow.note.content"]
    for text in ("Traceback", "Warning", "WARNING", "Reached timeout"):
        assert text not in output + ended.command.stderr


@pytest.mark.slow
def test_system_series_goes_on_in_a_continued_run(continued: Continued) -> None:
    """By the time since the run began, however often it was interrupted; each window is there once."""
    for run in continued.study.trials:
        points = continued.study.client.get_metric_history(run.info.run_id, "system/process_memory_mb")
        assert {point.step - (point.timestamp - run.info.start_time) // 100 for point in points} == {0}
        assert len(points) == len({point.timestamp for point in points})


@pytest.mark.slow
def test_limits_stopped_trials_before_the_interruptions_and_after(continued: Continued) -> None:
    """As many as without one, which the same ends of all trials show."""
    stopped = [run for run in continued.study.trials if "sysmetrics.stop_how" in run.data.tags]
    before = [run for run in continued.interrupted["kill -9"].done if "sysmetrics.stop_how" in run.data.tags]
    assert 0 < len(before) < len(stopped) < N_TRIALS


@pytest.mark.slow
def test_commands_say_how_much_was_done(continued: Continued) -> None:
    """In the first lines, in the progress, and in their own run, which is nested under the study."""
    client, study = continued.study.client, continued.study.run
    resumes = children(client, study, "resume")
    assert len(resumes) == len(continued.commands) - 1
    for command, left in zip(continued.commands[1:], continued.interrupted.values(), strict=True):
        done = len([run for run in left.trials if _is_done(run)])
        assert f"goes on; {done} of {N_TRIALS} trials are done" in command.stdout
        assert f"Search: {N_TRIALS - done} of {N_TRIALS} trials of 3 folds" in command.stdout
        assert min(map(int, re.findall(r"^(\d+)/10 trials, ", command.stdout, re.M)), default=N_TRIALS) >= done
        assert [
            run for run in resumes if f": {done} of {N_TRIALS} trials are done" in run.data.tags["mlflow.note.content"]
        ]
    assert all(study.info.run_id in run.data.tags["mlflow.note.content"] for run in resumes)


@pytest.mark.slow
def test_study_has_one_dataset_and_one_model_to_load(continued: Continued) -> None:
    """The model that was logged when the time was up is not the one that is loaded."""
    run = continued.study.run
    assert len(run.inputs.dataset_inputs) == 1
    models = continued.study.client.search_logged_models(["0"])
    newest = max(models, key=lambda model: model.creation_timestamp)
    assert (len(models), newest.source_run_id) == (2, run.info.run_id)


class _Here(contextlib.nullcontext[None]):
    """A place where no trial is run."""

    is_here = True


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        pytest.param(None, "resume a study", id="none"),
        pytest.param("resume at night", "resume at night", id="by the user"),
    ],
)
def test_study_goes_on_as_it_began_where_the_command_says(
    store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch, chosen: str | None, name: str
) -> None:
    """With its scheduler. The command's run is named after the study unless the user has named it."""
    run = store_in_use.create_run("0", run_name="a study", tags={"sysmetrics.kind": "study"})
    settings = study_settings(register="wine", ray_address="10.0.0.1:6379", folds=3)
    keep(RecordedRun.of(store_in_use, run), settings, LimitOptions("elapsed_s<=3", True, "asha"))
    study = run.info.run_id
    store_in_use.set_terminated(study, "KILLED")
    if chosen:
        monkeypatch.setenv("MLFLOW_RUN_ID", store_in_use.create_run("0", run_name=chosen).info.run_id)
    backend, run_study = Mock(return_value=_Here()), Mock()
    monkeypatch.setattr("entrypoints.search.plan.backend", backend)
    monkeypatch.setattr("entrypoints.search.study.run_study", run_study)
    result = CliRunner().invoke(early_stop, ["--resume", study, "--ray_address", "auto", "--register", "wine again"])
    assert result.exit_code == 0, result.output
    plan = run_study.call_args.args[1]
    assert backend.call_args.args == ("auto", None)
    assert (plan.settings.folds, plan.settings.register, plan.limit_options.scheduler) == (3, "wine again", "asha")
    (run,) = runs_of_kind(store_in_use, "resume")
    assert run.info.run_name == name
