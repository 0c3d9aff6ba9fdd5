"""Studies that were interrupted in every way and continued, beside the same studies without an interruption."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from commands import (
    Command,
    Finished,
    StartProject,
    Study,
    children,
    copy_store,
    runs_of_kind,
    store_uri,
    wait_until,
)
from mlflow import MlflowClient
from mlflow.entities import Run
from study_settings import study_settings

from entrypoints.runs import RecordedRun
from entrypoints.search import journal
from entrypoints.tune import tune

# One trial at a time, a second or more each; the first rate is sound, the second diverges.
SEARCH = {
    "space": "{batch_size: [64, 256], learning_rate: [0.1, 0.001], alpha: [0.001, 0.01]}",
    "folds": "3",
    "max_steps": "2000",
    "cpus": "1",
}
# Only what is the same in every run ends a trial, its loss: two of four that do not diverge, and those that do.
LIMITS = {"criteria": "val_loss patience 15, training_time_s<=1000x median"}
N_TRIALS = 8
SEARCHED = ("algorithm", "batch_size", "learning_rate", "alpha")
COUNTS = ("trials", "stopped", "failed", "diverged", "feasible", "skipped")
SAME_FIGURES = (*COUNTS, "best_val_rmse", "test_rmse", "test_loss")
CURVES = ("train_loss", "val_loss", "val_rmse")
STARTED_S = 4.0  # about what the first process of a search takes
TRIES = 9  # to find a time limit that cuts a search off in its middle
RAY_GONE_WITHIN_S = 90.0  # two helpers of Ray look for their parent every half minute


@dataclass
class Continued:
    """A study that was interrupted, before and after it was continued.

    ``left`` holds the trials' runs as each interruption left them.
    """

    entry: str
    folder: Path
    client: MlflowClient
    run_id: str
    commands: list[Command]
    left: list[list[Run]] = field(default_factory=list)
    last: Finished | None = None

    @property
    def study(self) -> Study:
        """The study as it is now."""
        run, command = self.client.get_run(self.run_id), self.last
        assert command is not None
        return Study(self.folder, command, self.client, run, children(self.client, run, "trial"), [], set())

    @property
    def driver(self) -> psutil.Process | None:
        """The process that runs it; None until the command that continues it has said so."""
        with contextlib.suppress(psutil.NoSuchProcess, KeyError):
            return psutil.Process(int(self.client.get_run(self.run_id).data.tags["sysmetrics.pid"]))
        return None


Interrupt = Callable[[Continued], None]


def _kill_9(of: Continued) -> None:
    of.commands[-1].processes()  # so that Ray's are known
    assert of.driver
    of.driver.kill()


def _sigint(of: Continued) -> None:
    of.commands[-1].signal(signal.SIGINT, group=True)


@dataclass(frozen=True)
class Scenario:
    """What a study is started with, and what interrupts it, and then the command that continues it.

    Each does so when as many trials have ended in all as ``after`` says.
    """

    entry: str
    options: dict[str, str]
    interrupts: tuple[tuple[Interrupt, int], ...] = ()  # or its time limit


SCENARIOS = {
    "tune, time limit": Scenario("tune", SEARCH),
    "early_stop, SIGINT, then kill -9": Scenario("early_stop", SEARCH | LIMITS, ((_sigint, 4), (_kill_9, 6))),
}


def _ended(of: Continued) -> list[Run]:
    trials = children(of.client, of.client.get_run(of.run_id), "trial")
    return [run for run in trials if _is_done(run)]


def _interrupt(of: Continued, interrupt: Interrupt, least: int) -> None:
    """Let this number of trials end, and interrupt the command while it runs the next."""
    command = of.commands[-1]

    def is_time() -> bool:
        return bool(of.driver and len(_ended(of)) >= least) or command.process.poll() is not None

    wait_until(is_time, 150, f"{least} ended trials")
    assert command.process.poll() is None, command.stdout + command.stderr
    interrupt(of)
    command.wait()
    of.left.append(children(of.client, of.client.get_run(of.run_id), "trial"))


@pytest.fixture(scope="module")
def wholes(
    study: Study, run_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Study]:
    """The study of an entry point that nothing interrupts, made once."""
    made: dict[str, Study] = {}

    def whole(entry: str) -> Study:
        if entry not in made:
            options = SEARCH | (LIMITS if entry == "early_stop" else {}) | {"cpus": "2"}
            made[entry] = run_study(copy_store(study.folder, tmp_path_factory.mktemp("whole")), entry, **options)
        return made[entry]

    return whole


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in SCENARIOS])
def continued(
    request: pytest.FixtureRequest,
    study: Study,
    wholes: Callable[[str], Study],
    start_project: StartProject,
    tmp_path_factory: pytest.TempPathFactory,
) -> Continued:
    """Start, interrupt and continue a study, as often as the scenario says."""
    scenario = SCENARIOS[request.param]

    def started(**more: str) -> Continued:
        folder = copy_store(study.folder, tmp_path_factory.mktemp("continued"))
        client = MlflowClient(store_uri(folder))
        before = {run.info.run_id for run in runs_of_kind(client, "study")}
        command = start_project(scenario.entry, folder, warm=True, **scenario.options, **more)
        wait_until(lambda: len(runs_of_kind(client, "study")) > len(before), 60, "the study's run")
        (run_id,) = {run.info.run_id for run in runs_of_kind(client, "study")} - before
        return Continued(scenario.entry, folder, client, run_id, [command])

    if not scenario.interrupts:
        of = _cut_off(started, sum(run.data.metrics["elapsed_s"] for run in wholes(scenario.entry).trials))
        of.commands.append(start_project(scenario.entry, of.folder, warm=True, resume=of.run_id))
    else:
        of = started()
        for interrupt, after in scenario.interrupts:
            _interrupt(of, interrupt, after)
            of.commands.append(start_project(scenario.entry, of.folder, warm=True, resume=of.run_id))
    of.last = of.commands[-1].wait()
    assert of.last.exit_code == 0, of.last.stdout + of.last.stderr
    return of


def _cut_off(started: Callable[..., Continued], trials_s: float) -> Continued:
    """A study whose time was up after some of its trials and before the others; they take about so long in all."""
    shortest_s, longest_s = 0.0, STARTED_S + trials_s
    for _ in range(TRIES):
        limit_s = (shortest_s + longest_s) / 2
        of = started(time_limit_s=f"{limit_s:.1f}")
        of.commands[-1].wait()
        of.left.append(children(of.client, of.client.get_run(of.run_id), "trial"))
        done = sum(_is_done(run) for run in of.left[-1])
        if 0 < done < N_TRIALS:
            return of
        shortest_s, longest_s = (shortest_s, limit_s) if done else (limit_s, 2 * longest_s)
    pytest.fail(f"{limit_s:.1f} s are enough for {done} of {N_TRIALS} trials, after {TRIES} tries")


@pytest.fixture
def whole(continued: Continued, wholes: Callable[[str], Study]) -> Study:
    """The same study without an interruption."""
    return wholes(continued.entry)


def _is_done(run: Run) -> bool:
    return "sysmetrics.end" in run.data.tags and run.info.status != "RUNNING"


def _searched(run: Run) -> tuple[str, ...]:
    return tuple(run.data.params[name] for name in SEARCHED)


def _by_searched(study: Study) -> dict[tuple[str, ...], Run]:
    return {_searched(run): run for run in study.trials}


def _rows(study: Study, file: str, names: Sequence[str]) -> list[str]:
    """These columns of a table's rows, in an order of their own."""
    return sorted(str([row.get(name) for name in names]) for row in study.rows(file))


def test_trial_that_was_done_is_not_run_again(continued: Continued) -> None:
    """Its run has the same end and the same points as when the study was interrupted, in the middle of its search."""
    now = {run.info.run_id: run for run in continued.study.trials}
    for left in continued.left:
        done = [run for run in left if _is_done(run)]
        assert 0 < len(done) < N_TRIALS
        for run in done:
            again = now[run.info.run_id]
            assert (again.info.start_time, again.info.end_time) == (run.info.start_time, run.info.end_time)
            assert again.data.metrics == run.data.metrics


def test_each_trial_has_one_run_which_is_that_it_began_in(continued: Continued, whole: Study) -> None:
    """No configuration is missing or has a second run, and no run is gone."""
    study = continued.study
    assert len(study.trials) == N_TRIALS
    assert _by_searched(study).keys() == _by_searched(whole).keys()
    assert {run.info.run_id for left in continued.left for run in left} <= {run.info.run_id for run in study.trials}


def test_no_run_is_left_running(continued: Continued) -> None:
    """The study is FINISHED, and so is the last command's run; those of interrupted commands are not."""
    states = {run.info.status for run in continued.client.search_runs(["0"])}
    assert states <= {"FINISHED", "KILLED", "FAILED"}
    assert continued.study.run.info.status == "FINISHED"
    assert {_searched(run): run.info.status for run in continued.study.trials if run.info.status == "FAILED"} == {}


def test_trials_are_those_without_an_interruption(continued: Continued, whole: Study) -> None:
    """With the same status, reason, score, and every point of each curve, once, to the last digit."""
    expected = _by_searched(whole)
    for searched, run in _by_searched(continued.study).items():
        other = expected[searched]
        assert run.info.status == other.info.status
        for tag in ("stop_reason", "stop_step", "diverged"):
            assert run.data.tags.get(f"sysmetrics.{tag}") == other.data.tags.get(f"sysmetrics.{tag}")
        assert "sysmetrics.error" not in run.data.tags
        for name in CURVES:
            assert continued.study.values(run, name) == whole.values(other, name)
            points = continued.client.get_metric_history(run.info.run_id, name)
            assert len(points) == len({point.step for point in points})


def test_system_series_goes_on_in_a_continued_run(continued: Continued) -> None:
    """By the time since the run began, however often it was interrupted; each window is there once."""
    for run in continued.study.trials:
        points = continued.client.get_metric_history(run.info.run_id, "system/process_memory_mb")
        assert {point.step - (point.timestamp - run.info.start_time) // 100 for point in points} == {0}
        assert len(points) == len({point.timestamp for point in points})


def test_study_has_the_result_of_one_without_an_interruption(continued: Continued, whole: Study) -> None:
    """Best trial, scores and counts."""
    metrics, tags = continued.study.run.data.metrics, continued.study.run.data.tags
    for name in SAME_FIGURES:
        assert metrics.get(name) == whole.run.data.metrics.get(name), name
    for name in SEARCHED:
        assert tags[f"sysmetrics.best_{name}"] == whole.run.data.tags[f"sysmetrics.best_{name}"]
    best = continued.client.get_run(tags["sysmetrics.best_trial_run_id"])
    assert best.data.tags["sysmetrics.trial_id"] == tags["sysmetrics.best_trial_id"]
    assert "sysmetrics.error" not in tags


def test_tables_have_the_rows_of_one_without_an_interruption(continued: Continued, whole: Study) -> None:
    """Each trial and fold once, and a trial's row names its run."""
    study, scores = continued.study, ("val_loss", "val_rmse", "test_rmse", "test_loss")
    assert len(study.rows("trials.json")) == N_TRIALS
    for file, names in {"trials.json": ("status", "diverged", *SEARCHED), "folds.json": ("fold",)}.items():
        assert _rows(study, file, (*names, *scores)) == _rows(whole, file, (*names, *scores))
    for row in study.rows("trials.json"):
        run = continued.client.get_run(row["run_id"])
        assert row["trial_id"] == run.data.tags["sysmetrics.trial_id"]
        assert tuple(str(row[name]) for name in SEARCHED) == _searched(run)


def test_limits_stopped_trials_before_the_interruption_and_after(continued: Continued) -> None:
    """As many as without one, which the same ends of all trials show."""
    if continued.entry == "tune":
        pytest.skip("this one has no limits")
    stopped = [run for run in continued.study.trials if "sysmetrics.stop_how" in run.data.tags]
    before = [run for run in continued.left[0] if "sysmetrics.stop_how" in run.data.tags]
    assert 0 < len(before) < len(stopped) == 6


def test_commands_say_how_much_was_done(continued: Continued) -> None:
    """In the first lines, in the progress, and in their own run, which is nested under the study."""
    resumes = children(continued.client, continued.study.run, "resume")
    assert len(resumes) == len(continued.commands) - 1
    for command, left in zip(continued.commands[1:], continued.left, strict=True):
        done = len([run for run in left if _is_done(run)])
        assert f"goes on; {done} of 8 trials are done" in command.stdout
        assert f"Search: {8 - done} of 8 trials of 3 folds" in command.stdout
        assert min(map(int, re.findall(r"^(\d)/8 trials, ", command.stdout, re.MULTILINE)), default=8) >= done
        assert [run for run in resumes if f": {done} of 8 trials are done" in run.data.tags["mlflow.note.content"]]
    assert "8/8 trials, " in continued.study.command.stdout
    for run in resumes:
        assert run.info.run_name == f"resume {continued.study.run.info.run_name}"
        assert continued.run_id in run.data.tags["mlflow.note.content"]


def test_study_has_one_dataset_and_one_model_to_load(continued: Continued) -> None:
    """A model that was logged when the time was up is not the one that is loaded."""
    run = continued.study.run
    assert len(run.inputs.dataset_inputs) == 1
    newest = max(continued.client.search_logged_models(["0"]), key=lambda model: model.creation_timestamp)
    assert newest.source_run_id == run.info.run_id


def test_no_process_is_left(continued: Continued) -> None:
    """Of no command, whatever ended it: Ray's own end after that of the driver."""
    wait_until(
        lambda: not [each for command in continued.commands for each in command.processes()],
        RAY_GONE_WITHIN_S,
        "the end of all processes",
    )


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
def test_command_s_run_is_named_after_the_study_unless_the_user_has_named_it(
    store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch, chosen: str | None, name: str
) -> None:
    """Whatever that name begins with."""
    run = store_in_use.create_run("0", run_name="a study", tags={"sysmetrics.kind": "study"})
    journal.begin(RecordedRun.of(store_in_use, run), study_settings(), None)
    study = run.info.run_id
    store_in_use.set_terminated(study, "KILLED")
    if chosen:
        monkeypatch.setenv("MLFLOW_RUN_ID", store_in_use.create_run("0", run_name=chosen).info.run_id)
    monkeypatch.setattr("entrypoints.search.study.run_study", lambda *_: None)
    monkeypatch.setattr("entrypoints.search.plan.place", lambda *_, **__: _Here())
    result = CliRunner().invoke(tune, ["--resume", study])
    assert result.exit_code == 0, result.output
    (run,) = runs_of_kind(store_in_use, "resume")
    assert run.info.run_name == name
