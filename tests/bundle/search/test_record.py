"""What the driver keeps of each trial: its last figures, the best so far, and the frame that comes of them."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
from cases import cases
from records import BY_TIME, TIME, ended_by, of_every_end, read, recorder_of, store, store_run, study_of, study_settings
from records import trial as made
from reference import configured

from entrypoints.mlflow_io import log_tables
from entrypoints.runs import RecordedRun
from entrypoints.search.run_names import searched
from entrypoints.search.running import tell_of_outside
from entrypoints.tags import BY_TIME_LIMIT, DATASET, DIVERGED, FEASIBLE, SCORE, SEARCHED, STUDY_KEY, STUDY_LIMITS
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY
from mlflow_sysmetrics.tags import BY_PERSON, KIND, STOP_REASON, STOPPED_BY

CONFIGURATION = configured()
ERROR = "Traceback (most recent call last):\n  ...\nValueError: no such alpha\n"


def _trial(trial_id, error_file=None):
    """What the record reads of one of Tune's trials, which keeps its errors in a file."""
    config = {"configuration": CONFIGURATION}
    return SimpleNamespace(trial_id=trial_id, config=config, error_file=error_file and str(error_file))


def _run(
    recorder,
    trial_id,
    status="FINISHED",
    *,
    end="on_trial_complete",
    tags=None,
    error_file=None,
    **figures,
):
    """Have a trial hand over one result, and end or not."""
    trial = _trial(trial_id, error_file)
    recorder.on_trial_start(0, [], trial)
    recorder.on_trial_result(0, [], trial, {"figures": figures, PAYLOAD_KEY: {"status": status, "tags": tags or {}}})
    if end:
        getattr(recorder, end)(0, [], trial)
    return recorder.study.trials[trial_id]


@cases(
    "dataset, score, best",
    {"lowest": ("red_wine", "val_rmse", "0.6"), "highest": ("diabetes", "val_accuracy", "0.8")},
)
def test_best_so_far_follows_the_direction_of_the_score(dataset, score, best):
    """Trials that diverged, failed or were ended are not among them, however good they look; all count as done."""
    record = recorder_of(study_of(dataset=dataset), stream=(stream := io.StringIO()))
    assert record.study.best_so_far() == ""
    for value in (0.7, 0.6, 0.8):
        _run(record, f"sound {value}", **{score: value})
    for value in (0.0, 1.0):
        _run(record, f"diverged {value}", tags={DIVERGED: "true"}, **{score: value})
        _run(record, f"stopped {value}", None, **{score: value})
    _run(record, "failed", None, end="on_trial_error", **{score: 1.0})
    record.on_experiment_end([])
    assert f"8/8 trials, best {score} {best}000, " in stream.getvalue()
    assert record.study.best_so_far().startswith(f"{score} {best} by ")


@cases(
    "text, best",
    {
        "number": ("training_time_s<=1", 0.1),
        "relative to those that finished": ("training_time_s<=1x median", 0.0),
        "none": ("training_time_s<=0.1", None),
    },
)
def test_best_so_far_meets_the_limits(text, best):
    """The best that breaks one is not the result."""
    record = recorder_of(study_of(limits=text))
    times = {"best": 1.01, "second": 0.9, "third": 1.0, "slow": 4.0, "slower": 5.0}
    for number, (name, time_s) in enumerate(times.items()):
        _run(record, name, val_rmse=0.1 * number, training_time_s=time_s)
    assert record.study.best_score() == best


def test_record_knows_how_each_trial_ended(tmp_path):
    """By itself, by Tune, by an error, which it keeps, or not at all when the time was up; also if it never began."""
    record, error_file = recorder_of(study_of()), tmp_path / "error.txt"
    error_file.write_text(ERROR)
    _run(record, "itself", val_rmse=0.9)
    _run(record, "limits", "KILLED", tags=BY_TIME)
    _run(record, "a person", None)
    _run(record, "failed", None, end="on_trial_error", error_file=error_file)
    record.on_trial_error(0, [], _trial("failed while it was set up"))
    before = record.study.last_end
    _run(record, "cut off", None, end="", val_rmse=0.1)
    record.on_trial_start(0, [], _trial("without a result"))
    record.on_experiment_end([])
    assert record.study.last_end > before
    trials = record.study.trials
    assert {name: (each.status, each.stopped_by, each.error) for name, each in trials.items()} == {
        "itself": ("FINISHED", None, None),
        "limits": ("KILLED", "limits", None),
        "a person": ("KILLED", BY_PERSON, None),
        "failed": ("FAILED", None, "ValueError: no such alpha"),
        "failed while it was set up": ("FAILED", None, "unknown error"),
        "cut off": ("KILLED", BY_TIME_LIMIT, None),
        "without a result": ("KILLED", BY_TIME_LIMIT, None),
    }
    assert trials["cut off"].figures == {"val_rmse": 0.1}


def test_search_of_which_no_trial_began_took_no_time():
    """All failed while they were set up."""
    record = recorder_of(study_of())
    record.on_trial_error(0, [], _trial("failed while it was set up"))
    assert record.study.search_s == 0


def test_who_ended_a_trial_from_outside_is_known_after_the_search(client):
    """A person, which only its run says, or else the time limit, of which its run is told."""
    by_person, in_time = trials = [made(number, by=BY_TIME_LIMIT) for number in (1, 2)]
    study = study_of(trials, settings=study_settings(time_limit_s=15.0))
    study.run = RecordedRun.of(client, client.create_run(client.get_experiment_by_name("studies").experiment_id))
    for each in trials:
        store(client, study.run.run_id, each)
    client.set_tag(by_person.run_id, STOPPED_BY, BY_PERSON)
    tell_of_outside(study)
    assert [each.stopped_by for each in trials] == [BY_PERSON, BY_TIME_LIMIT]
    assert client.get_run(str(in_time.run_id)).data.tags[STOP_REASON] == "time_limit_s=15 of the study"


def test_record_of_a_trial_that_began_again_is_that_of_its_last_attempt():
    """The death is counted, the trial once. The search begins with the first trial alone."""
    begun = []
    record = recorder_of(study_of(), begins=lambda: begun.append("first"))
    study = record.study
    _run(record, "a", None, end="", tags={DIVERGED: "true"}, val_rmse=0.5)
    first = study.first_start
    record.on_trial_recover(0, [], _trial("a"))
    again = _run(record, "a", val_rmse=0.9)
    assert (study.restarts, list(study.trials), again.status, again.diverged) == (1, ["a"], "FINISHED", False)
    assert (study.first_start, begun) == (first, ["first"])


EXPECTED = {"training_time_s": 9.0}


@cases(
    "trial, end, counted",
    {
        "stopped": (made(1, ending=BY_TIME, expected=EXPECTED), "stopped", 9.0),
        "skipped": (made(1, ending=ended_by(TIME, "skipped"), expected=EXPECTED), "skipped", 9.0),
        "repeated": (made(1, configuration=replace(configured(), repeat=1)), "finished", None),
        "diverged and ended by that": (made(1, diverged=True, ending=BY_TIME), "diverged", None),
        "failed": (made(1, status="FAILED"), "stopped", None),
    },
)  # fmt: skip
def test_relative_limits_are_taken_of_what_a_trial_cost_or_would_have(trial, end, counted):
    """A stopped one is counted with its end, if that is known; repetitions are no trials of their own."""
    assert trial.end == end
    assert [each["training_time_s"] for each in study_of([trial]).costs] == ([] if counted is None else [counted])


def test_record_is_the_frame_that_its_runs_are_read_as(client):
    """Whatever became of a trial: what a study says at its end is what a report says of it."""
    trials = [*of_every_end(), made(11, 0.5, configuration=replace(configured(batch_size=2), repeat=1))]
    host = {"cpu_model": "A CPU", "usable_cores": "2", "os": "Linux"}
    trials[0].tags |= {f"sysmetrics.host_{fact}": text for fact, text in host.items()}
    found = study_of(trials, TIME)
    score = {"score": "val_rmse", "higher_is_better": False, "baseline": found.baseline, "planned": found.size}
    tags = {SEARCHED: json.dumps(searched(found.configurations)), STUDY_LIMITS: TIME, SCORE: json.dumps(score)}
    tags |= {DATASET: "red_wine", STUDY_KEY: found.key}
    params = {name: getattr(found.settings, name) for name in ("choose", "search", "seed")}
    study = store_run(client, "red_wine", {KIND: "study", **tags}, params, {}, "RUNNING")
    run = client.get_run(study)
    found.run = RecordedRun.of(client, run)
    for each, is_feasible in zip(trials, found.frame.trials["feasible"], strict=True):
        known = {} if is_feasible is None else {FEASIBLE: str(is_feasible).lower()}
        store(client, study, each, found.names[each.configuration.id], **known)
    rows = [{"trial_id": each.trial_id, **fold} for each in trials for fold in each.folds]
    log_tables(client, study, {"folds.json": rows})
    frame, read_back = found.frame, read(client, [client.get_run(study)])
    of_input = ["digest"]
    assert frame.studies.drop(columns=of_input).to_dict() == read_back.studies.drop(columns=of_input).to_dict()
    assert frame.hyperparameters == read_back.hyperparameters == ("batch_size",)
    ours, theirs = (each.trials.astype(object).where(each.trials.notna(), None) for each in (frame, read_back))
    pd.testing.assert_frame_equal(ours, theirs, check_like=True, check_dtype=False)
    first, _, stopped, *_ = ours[["host", "stopped_by", "stop_how", "stop_metric"]].to_numpy().tolist()
    assert first == ["A CPU, usable_cores 2", None, None, None]
    assert stopped == [None, "limits", "crossed", "training_time_s"]
    outside = [None] * 3
    assert ours["feasible"].tolist() == [True, True, False, False, *outside, False, False, None, False]
