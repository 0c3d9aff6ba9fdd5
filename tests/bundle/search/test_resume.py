"""A study that was interrupted in every way and continued, beside the same study without an interruption."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from commands import Command, StartProject, Study, children, copy_store, runs_of_kind, store_uri, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = pytest.mark.slow  # a default test of a command that continues a study is in test_journal

# One trial at a time, a second or more each but for those that diverge, of the first rate. Only what is the same in
# every run ends a trial, its loss: two of the four that do not diverge, and those that do.
SEARCH = {
    "space": "{batch_size: [64, 256], learning_rate: [0.1, 0.001], alpha: [0.001, 0.01]}",
    "folds": "3",
    "max_steps": "2000",
    "cpus": "1",
    "criteria": "val_loss patience 15, training_time_s<=1000x median",
}
N_TRIALS, N_STOPPED = 8, 6
SEARCHED = ("algorithm", "batch_size", "learning_rate", "alpha")
COUNTS = ("trials", "stopped", "failed", "diverged", "feasible", "skipped")
SAME_FIGURES = (*COUNTS, "best_val_rmse", "test_rmse", "test_loss")
CURVES = ("train_loss", "val_loss", "val_rmse")
TIME_LIMIT_S = 3.0  # hardly more than the first process of a search takes: several trials are left
RAY_GONE_WITHIN_S = 90.0  # two helpers of Ray look for their parent every half minute


@dataclass
class Continued:
    """A study that was interrupted, and the commands that began and continued it.

    ``left`` holds the trials' runs as each interruption left them.
    """

    folder: Path
    client: MlflowClient
    run_id: str
    commands: list[Command]
    left: list[list[Run]] = field(default_factory=list)

    @property
    def trials(self) -> list[Run]:
        """Their runs as they are now."""
        return children(self.client, self.client.get_run(self.run_id), "trial")

    @property
    def study(self) -> Study:
        """The study as it is now, of the last command."""
        run, command = self.client.get_run(self.run_id), self.commands[-1].wait()
        return Study(self.folder, command, self.client, run, self.trials, [], set())

    @property
    def driver(self) -> psutil.Process | None:
        """The process that runs it; None until the command that continues it has said so."""
        with contextlib.suppress(psutil.NoSuchProcess, KeyError):
            return psutil.Process(int(self.client.get_run(self.run_id).data.tags["sysmetrics.pid"]))
        return None

    def running(self, least: int) -> psutil.Process:
        """The process that runs it, when this number of trials has ended, and it runs the next."""
        command = self.commands[-1]

        def is_time() -> bool:
            return bool(self.driver and sum(map(_is_done, self.trials)) >= least) or command.process.poll() is not None

        wait_until(is_time, 150, f"{least} ended trials")
        driver = self.driver
        assert driver, command.stdout + command.stderr
        assert command.process.poll() is None, command.stdout + command.stderr
        return driver


@pytest.fixture(scope="module")
def whole(study: Study, run_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study that nothing interrupts."""
    return run_study(copy_store(study.folder, tmp_path_factory.mktemp("whole")), "early_stop", **SEARCH | {"cpus": "2"})


@pytest.fixture(scope="module")
def continued(study: Study, start_project: StartProject, tmp_path_factory: pytest.TempPathFactory) -> Continued:
    """Interrupt it with Ctrl-C, a time limit and kill -9, and continue it each time."""
    folder = copy_store(study.folder, tmp_path_factory.mktemp("continued"))
    client = MlflowClient(store_uri(folder))
    before = {run.info.run_id for run in runs_of_kind(client, "study")}
    command = start_project("early_stop", folder, warm=True, **SEARCH)
    wait_until(lambda: len(runs_of_kind(client, "study")) > len(before), 60, "the study's run")
    (run_id,) = {run.info.run_id for run in runs_of_kind(client, "study")} - before
    of = Continued(folder, client, run_id, [command])

    def goes_on(**options: object) -> None:
        of.commands[-1].wait()
        of.left.append(of.trials)
        of.commands.append(start_project("early_stop", folder, warm=True, resume=run_id, **options))

    of.running(3)
    of.commands[-1].signal(signal.SIGINT, group=True)
    goes_on(time_limit_s=TIME_LIMIT_S)
    goes_on()
    driver = of.running(N_TRIALS - 2)
    of.commands[-1].processes()  # so that Ray's are known
    driver.kill()
    goes_on()
    last = of.commands[-1].wait()
    assert last.exit_code == 0, last.stdout + last.stderr
    return of


def _is_done(run: Run) -> bool:
    return "sysmetrics.end" in run.data.tags and run.info.status != "RUNNING"


def _by_searched(study: Study) -> dict[tuple[str, ...], Run]:
    return {tuple(run.data.params[name] for name in SEARCHED): run for run in study.trials}


def _rows(study: Study, file: str, names: Sequence[str]) -> list[str]:
    """These columns of a table's rows, in an order of their own."""
    return sorted(str([row.get(name) for name in names]) for row in study.rows(file))


def test_trial_that_was_done_is_not_run_again(continued: Continued) -> None:
    """Its run has the same end and the same points as when the study was interrupted, in the middle of its search.

    Its limits have stopped trials before and after.
    """
    now = {run.info.run_id: run for run in continued.trials}
    for left in continued.left:
        done = [run for run in left if _is_done(run)]
        assert 3 <= len(done) < N_TRIALS
        for run in done:
            again = now[run.info.run_id]
            assert (again.info.start_time, again.info.end_time) == (run.info.start_time, run.info.end_time)
            assert again.data.metrics == run.data.metrics
    stopped = [sum("sysmetrics.stop_how" in run.data.tags for run in left) for left in continued.left]
    assert 0 < stopped[0] < sum("sysmetrics.stop_how" in run.data.tags for run in now.values()) == N_STOPPED


def test_each_trial_has_one_run_which_is_that_it_began_in(continued: Continued, whole: Study) -> None:
    """No configuration is missing or has a second run, no run is gone, and none of any command is left running."""
    study = continued.study
    assert len(study.trials) == N_TRIALS
    assert _by_searched(study).keys() == _by_searched(whole).keys()
    assert {run.info.run_id for left in continued.left for run in left} <= {run.info.run_id for run in study.trials}
    states = {run.info.status for run in continued.client.search_runs(["0"])}
    assert states <= {"FINISHED", "KILLED", "FAILED"}
    assert study.run.info.status == "FINISHED"


def test_trials_are_those_without_an_interruption(continued: Continued, whole: Study) -> None:
    """With the same status, reason, score, and every point of each curve, once, to the last digit.

    The system series goes on by the time since the run began, and each window is there once.
    """
    expected = _by_searched(whole)
    for searched, run in _by_searched(continued.study).items():
        other = expected[searched]
        assert run.info.status == other.info.status
        for tag in ("stop_reason", "stop_step", "diverged", "error"):
            assert run.data.tags.get(f"sysmetrics.{tag}") == other.data.tags.get(f"sysmetrics.{tag}")
        for name in CURVES:
            assert continued.study.values(run, name) == whole.values(other, name)
            points = continued.client.get_metric_history(run.info.run_id, name)
            assert len(points) == len({point.step for point in points})
        series = continued.client.get_metric_history(run.info.run_id, "system/process_memory_mb")
        assert {point.step - (point.timestamp - run.info.start_time) // 100 for point in series} == {0}
        assert len(series) == len({point.timestamp for point in series})


def test_study_has_the_result_of_one_without_an_interruption(continued: Continued, whole: Study) -> None:
    """Best trial, scores and counts, one dataset, and one model to load, whichever were logged in between."""
    run = continued.study.run
    metrics, tags = run.data.metrics, run.data.tags
    for name in SAME_FIGURES:
        assert metrics.get(name) == whole.run.data.metrics.get(name), name
    for name in SEARCHED:
        assert tags[f"sysmetrics.best_{name}"] == whole.run.data.tags[f"sysmetrics.best_{name}"]
    best = continued.client.get_run(tags["sysmetrics.best_trial_run_id"])
    assert best.data.tags["sysmetrics.trial_id"] == tags["sysmetrics.best_trial_id"]
    assert "sysmetrics.error" not in tags
    assert len(run.inputs.dataset_inputs) == 1
    newest = max(continued.client.search_logged_models(["0"]), key=lambda model: model.creation_timestamp)
    assert newest.source_run_id == run.info.run_id


def test_tables_have_the_rows_of_one_without_an_interruption(continued: Continued, whole: Study) -> None:
    """Each trial and fold once, and a trial's row names its run."""
    study, scores = continued.study, ("val_loss", "val_rmse", "test_rmse", "test_loss")
    assert len(study.rows("trials.json")) == N_TRIALS
    for file, names in {"trials.json": ("status", "diverged", *SEARCHED), "folds.json": ("fold",)}.items():
        assert _rows(study, file, (*names, *scores)) == _rows(whole, file, (*names, *scores))
    for row in study.rows("trials.json"):
        run = continued.client.get_run(row["run_id"])
        assert row["trial_id"] == run.data.tags["sysmetrics.trial_id"]
        assert {name: str(row[name]) for name in SEARCHED}.items() <= run.data.params.items()


def test_commands_say_how_much_was_done(continued: Continued) -> None:
    """In the first lines, in the progress, and in their own run, which is nested under the study."""
    resumes = children(continued.client, continued.study.run, "resume")
    assert len(resumes) == len(continued.commands) - 1
    for command, left in zip(continued.commands[1:], continued.left, strict=True):
        done = sum(map(_is_done, left))
        assert f"goes on; {done} of 8 trials are done" in command.stdout
        assert f"Search: {8 - done} of 8 trials of 3 folds" in command.stdout
        assert min(map(int, re.findall(r"^(\d)/8 trials, ", command.stdout, re.MULTILINE)), default=8) >= done
        assert [run for run in resumes if f": {done} of 8 trials are done" in run.data.tags["mlflow.note.content"]]
    assert re.search(
        "cut off by time_limit_s=3|not started", continued.commands[1].stdout + continued.commands[1].stderr
    )
    assert "8/8 trials, " in continued.study.command.stdout
    for run in resumes:
        assert run.info.run_name == f"resume {continued.study.run.info.run_name}"
        assert continued.run_id in run.data.tags["mlflow.note.content"]


def test_no_process_is_left(continued: Continued) -> None:
    """Of no command, whatever ended it: Ray's own end after that of the driver."""
    wait_until(
        lambda: not [each for command in continued.commands for each in command.processes()],
        RAY_GONE_WITHIN_S,
        "the end of all processes",
    )
