"""What the driver keeps of each trial: its last figures, the best so far, and the frame that comes of them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from records import ended_by, recorded, store
from records import trial as made
from reference import configured

from entrypoints.frame import frame_of
from entrypoints.limits.costs import metrics
from entrypoints.limits.stop_or_skip import EarlyEnd
from entrypoints.mlflow_io import log_tables
from entrypoints.progress import Progress
from entrypoints.reading import read
from entrypoints.search.record import Record, TrialRecord, costs
from entrypoints.search.run_names import run_names
from entrypoints.tags import CRITERIA, FEASIBLE, SEARCHED
from mlflow_sysmetrics.limits import Criteria, Stop
from mlflow_sysmetrics.tags import KIND

TABLE = {
    "fair": {"figures": {"val_rmse": 0.7, "val_accuracy": 0.7}},
    "lowest": {"figures": {"val_rmse": 0.6, "val_accuracy": 0.6}},
    "highest": {"figures": {"val_rmse": 0.8, "val_accuracy": 0.8}},
    "diverged": {"figures": {"val_rmse": 0.1, "val_accuracy": 0.99}, "diverged": True},
    "diverged-high": {"figures": {"val_rmse": 9.0, "val_accuracy": 0.01}, "diverged": True},
}
CONFIGURATION = configured()
ERROR = "Traceback (most recent call last):\n  ...\nValueError: no such alpha\n"


def _trial(trial_id: str, result: dict[str, Any] | None = None, error_file: Path | None = None) -> Any:
    """What the record reads of one of Tune's trials, which keeps its errors in a file."""
    if result and "figures" in result:
        result = {"ended": True, **result}
    return SimpleNamespace(
        trial_id=trial_id,
        config={"configuration": CONFIGURATION},
        last_result=result,
        get_error=lambda: ERROR,
        error_file=error_file and str(error_file),
    )


def _record(
    task: Any = "regression", stream: io.StringIO | None = None, total: int = 8, criteria: Criteria | None = None
) -> Record:
    score = "val_rmse" if task == "regression" else "val_accuracy"
    return Record(task, Progress(total, score, stream or io.StringIO()), criteria)


def _run(record: Record, *trials: Any) -> None:
    for trial in trials:
        record.on_trial_start(0, [], trial)
        record.on_trial_complete(0, [], trial)


@pytest.mark.parametrize(
    ("task", "best"),
    [pytest.param("regression", "0.6000", id="lowest"), pytest.param("classification", "0.8000", id="highest")],
)
def test_best_so_far_follows_the_direction_of_the_score(task: Any, best: str) -> None:
    """Trials that diverged, failed or were ended are not among them, however good they look."""
    stream = io.StringIO()
    record = _record(task, stream)
    _run(record, *(_trial(name, result) for name, result in TABLE.items()))
    failing = _trial("failed", {"figures": {"val_rmse": 0.0, "val_accuracy": 1.0}})
    record.on_trial_start(0, [], failing)
    record.on_trial_error(0, [], failing)
    _run(record, _trial("stopped", {"ended": False, "figures": {"val_rmse": 0.0, "val_accuracy": 1.0}}))
    record.on_experiment_end([])
    assert f" {best}, " in stream.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "best"),
    [
        pytest.param("training_time_s<=1", "0.1000", id="number"),
        pytest.param("training_time_s<=1x median", "0.0000", id="relative to those that finished"),
    ],
)
def test_best_so_far_meets_the_limits(text: str, best: str) -> None:
    """The best that breaks one is not the result."""
    stream = io.StringIO()
    record = _record(stream=stream, criteria=Criteria.parse(text, metrics("regression")))
    times = {"best": 1.01, "second": 0.9, "third": 1.0, "slow": 4.0, "slower": 5.0}
    for place, (name, time_s) in enumerate(times.items()):
        _run(record, _trial(name, {"figures": {"val_rmse": 0.1 * place, "training_time_s": time_s}}))
    record.on_experiment_end([])
    assert f"val_rmse {best}, " in stream.getvalue().splitlines()[-1]


def test_record_keeps_what_the_last_result_says() -> None:
    """Figures, the rows of the folds, and whether the trial diverged."""
    record = _record()
    folds = [{"fold": 0, "val_rmse": 0.5}, {"fold": 1, "val_rmse": 0.7}]
    _run(record, _trial("a", {"figures": {"val_rmse": 0.6}, "folds": folds, "diverged": True}))
    kept = record.trials["a"]
    assert (kept.figures, kept.folds, kept.diverged) == ({"val_rmse": 0.6}, folds, True)
    assert kept.configuration is CONFIGURATION


def test_record_keeps_why_a_trial_failed(tmp_path: Path) -> None:
    """The exception in one line; trials that did not fail have none."""
    record, error_file = _record(), tmp_path / "error.txt"
    error_file.write_text(ERROR)
    record.on_trial_start(0, [], _trial("a"))
    record.on_trial_error(0, [], _trial("a", error_file=error_file))
    _run(record, _trial("b"))
    assert (record.trials["a"].error, record.trials["b"].error) == ("ValueError: no such alpha", None)


@pytest.mark.parametrize("hook", ["on_trial_complete", "on_trial_error"])
def test_record_knows_a_trial_that_ends_without_having_started(hook: str) -> None:
    """A trial that fails while it is set up comes to its end only."""
    record = _record()
    getattr(record, hook)(0, [], _trial("a"))
    assert record.trials["a"].status == ("KILLED" if hook == "on_trial_complete" else "FAILED")


def test_trials_that_still_run_at_the_end_were_cut_off() -> None:
    """They are KILLED and never the best; how trials that had come to an end ended stays as it was."""
    record = _record()
    _run(record, _trial("finished", {"figures": {"val_rmse": 0.9}}), _trial("stopped", {"sysmetrics": {}}))
    record.on_trial_error(0, [], _trial("failed"))
    before = record.last_end
    assert before is not None
    for name in ("first", "second"):
        record.on_trial_start(0, [], _trial(name, {"figures": {"val_rmse": 0.1}}))
    record.on_experiment_end([])
    assert {name: (trial.status, trial.cut_off) for name, trial in record.trials.items()} == {
        "finished": ("FINISHED", False),
        "stopped": ("KILLED", False),
        "failed": ("FAILED", False),
        "first": ("KILLED", True),
        "second": ("KILLED", True),
    }
    assert record.last_end > before


def test_record_of_a_trial_that_began_again_is_that_of_its_last_attempt() -> None:
    """The death is counted, the trial once."""
    record = _record(total=1)
    record.on_trial_start(0, [], _trial("a"))
    record.on_trial_recover(0, [], _trial("a"))
    _run(record, _trial("a", {"figures": {"val_rmse": 0.9}}))
    assert (record.restarts, len(record.trials), record.trials["a"].status) == (1, 1, "FINISHED")


def test_record_times_span_from_the_first_start_to_the_last_end() -> None:
    """The search's wall time; starting and ending other trials in between does not narrow it."""
    record = _record()
    assert (record.first_start, record.last_end) == (None, None)
    record.on_trial_start(0, [], _trial("a"))
    first = record.first_start
    _run(record, _trial("b"))
    early = record.last_end
    record.on_trial_error(0, [], _trial("a"))
    assert record.first_start == first
    assert first is not None
    assert early is not None
    assert record.last_end is not None
    assert first <= early <= record.last_end


def test_record_writes_progress_with_the_best_so_far() -> None:
    """Trials of every end count as done, and the last line is always written."""
    stream = io.StringIO()
    record = _record(stream=stream, total=3)
    record.on_step_end(0, [])
    _run(record, _trial("a", {"figures": {"val_rmse": 0.61234}}))
    record.on_trial_error(0, [], _trial("b"))
    record.on_experiment_end([])
    first, last = stream.getvalue().splitlines()
    assert first == "starting the processes"
    assert last.startswith("2/3 trials, best val_rmse 0.6123, ")


def test_record_of_failures_only_still_ends_its_progress() -> None:
    """There is no best score to show."""
    stream = io.StringIO()
    record = _record(stream=stream, total=1)
    trial = _trial("a")
    record.on_trial_start(0, [], trial)
    record.on_trial_error(0, [], trial)
    record.on_experiment_end([])
    assert stream.getvalue().startswith("1/1 trials, best val_rmse -, ")


def _ended(**changes: Any) -> TrialRecord:
    figures = {"training_time_s": 1.0}
    return TrialRecord("1", **{"configuration": CONFIGURATION, "status": "FINISHED", "figures": figures} | changes)


STOPPED = EarlyEnd(Stop("training_time_s<=1", "training_time_s", 1.0, 1.0, 10), "crossed")


@pytest.mark.parametrize(
    ("trial", "end"),
    [
        pytest.param(_ended(), "finished", id="finished"),
        pytest.param(_ended(diverged=True), "diverged", id="diverged"),
        pytest.param(_ended(status="KILLED", ending=STOPPED), "stopped", id="its limits"),
        pytest.param(_ended(status="KILLED", ending=replace(STOPPED, how="skipped")), "skipped", id="skipped"),
        pytest.param(_ended(status="KILLED"), "stopped", id="a scheduler"),
        pytest.param(_ended(status="KILLED", cut_off=True), "stopped", id="the time limit"),
        pytest.param(_ended(status="FAILED"), "stopped", id="an error"),
    ],
)
def test_only_a_trial_that_came_to_its_end_has_finished(trial: TrialRecord, end: str) -> None:
    """Whatever ended it before."""
    assert trial.end == end


@pytest.mark.parametrize(
    ("trial", "counted"),
    [
        pytest.param(_ended(), [1.0], id="finished"),
        pytest.param(_ended(status="KILLED", ending=STOPPED, expected={"training_time_s": 9.0}), [9.0], id="stopped"),
        pytest.param(
            _ended(
                configuration=configured(tol=0.1),
                **{"status": "KILLED", "ending": STOPPED, "expected": {"training_time_s": 9.0}},
            ),
            [1.0],
            id="stopped and might have converged",
        ),
        pytest.param(_ended(configuration=replace(CONFIGURATION, repeat=1)), [], id="repeated"),
        pytest.param(_ended(diverged=True), [], id="diverged"),
        pytest.param(_ended(diverged=True, ending=STOPPED), [], id="diverged and ended by that"),
        pytest.param(_ended(status="KILLED"), [], id="ended by another rule"),
        pytest.param(_ended(status="FAILED"), [], id="failed"),
    ],
)
def test_relative_limits_are_taken_of_what_a_trial_cost_or_would_have(trial: TrialRecord, counted: list[float]) -> None:
    """A stopped one is counted with its end, if that is known; repetitions are no trials of their own."""
    assert [each["training_time_s"] for each in costs([trial])] == counted


CROSSED = ended_by("training_time_s<=4")


def test_record_is_the_frame_that_its_runs_are_read_as(client: MlflowClient) -> None:
    """Whatever became of a trial: what a study says at its end is what a report says of it."""
    here = {"sysmetrics.host_cpu_model": "A CPU", "sysmetrics.host_os": "Linux"}
    folds = [{"fold": fold, "val_rmse": 0.5 + fold / 10} for fold in range(2)]
    again = replace(configured(batch_size=2), repeat=1)
    trials = [
        made(1, 0.55, folds=folds, host=here, converged=True),
        made(2, None, status="KILLED", ending=CROSSED),
        made(3, 0.1, diverged=True),
        made(4, None, status="KILLED", ending=replace(CROSSED, how="skipped")),
        made(5, status="KILLED", cut_off=True),
        made(6, status="KILLED", by_person=True),
        made(7, status="KILLED"),
        made(8, None, status="FAILED", figures={}),
        made(9, 0.5, configuration=again),
    ]
    record = recorded(trials, "training_time_s<=4")
    run = client.create_run(client.get_experiment_by_name("studies").experiment_id, run_name="s", tags={KIND: "study"})
    study = run.info.run_id
    searched = ["algorithm", "batch_size", "learning_rate", "alpha"]
    client.set_tag(study, SEARCHED, json.dumps(searched))
    client.set_tag(study, CRITERIA, "training_time_s<=4")
    feasible = dict(zip([1, 2, 3, 4, 9], [True, False, False, False, False], strict=True))
    names = run_names([each.configuration for each in trials])
    for each, name in zip(trials, names, strict=True):
        place = each.configuration.place
        store(client, study, each, name, **({FEASIBLE: str(feasible[place]).lower()} if place in feasible else {}))
    rows = [{"trial_id": each.trial_id, **fold} for each in trials for fold in each.folds]
    log_tables(client, study, {"folds.json": rows})
    read_back = read(client, [client.get_run(study)])
    about = {"name": "s", "criteria": "training_time_s<=4", "experiment_id": run.info.experiment_id}
    frame = frame_of([record.rows(study, about)])
    same = ["name", "experiment_id", "criteria", "score", "higher_is_better", "own"]
    assert frame.studies[same].to_dict() == read_back.studies[same].to_dict()
    assert frame.hyperparameters == read_back.hyperparameters == ("batch_size",)
    ours, theirs = (each.trials.astype(object).where(each.trials.notna(), None) for each in (frame, read_back))
    words = ["stop_reason"]  # also of trials that others ended, whose words the record need not know
    columns = sorted(set(theirs) - set(words))
    assert sorted(ours) == sorted(theirs)
    pd.testing.assert_frame_equal(ours[columns], theirs[columns], check_dtype=False)
    pd.testing.assert_frame_equal(frame.folds, read_back.folds[list(frame.folds)])
