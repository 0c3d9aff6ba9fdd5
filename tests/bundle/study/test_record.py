"""What the driver keeps of each trial: its last figures, the best so far, and the frame that comes of them."""

import io
import json
from types import SimpleNamespace

import pandas as pd
from cases import cases, tables
from records import (
    BY_TIME,
    TIME,
    experiment_id,
    of_every_end,
    read,
    recorder_of,
    store,
    store_run,
    study_of,
    study_settings,
)
from records import SCORE as OF_SCORE
from records import trial as made
from reference import configured

from entrypoints.runs.recorded import RecordedRun
from entrypoints.runs.tags import BY_TIME_LIMIT, DATASET, DIVERGED, FEASIBLE, SCORE, SEARCHED, STUDY_KEY, STUDY_LIMITS
from entrypoints.search.run_names import searched
from entrypoints.study.running import tell_of_outside
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY
from mlflow_sysmetrics.recording.tags import BY_PERSON, HOST_PREFIX, KIND, STOP_REASON, STOPPED_BY

TABLES = tables(__file__, "study.yaml")
FEASIBLE_TRIALS = TABLES["which trials of every end are feasible, and one more"]
ERROR = "Traceback (most recent call last):\n  ...\nValueError: no such alpha\n"


def _trial(trial_id, error_file=None):
    """What the record reads of one of Tune's trials, which keeps its errors in a file."""
    return SimpleNamespace(trial_id=trial_id, config={"configuration": configured()}, error_file=error_file)


def _run(recorder, trial_id, status="FINISHED", *, end="on_trial_complete", tags=None, error_file=None, **figures):
    """Have a trial hand over one result, and end or not."""
    trial = _trial(trial_id, error_file)
    recorder.on_trial_start(0, [], trial)
    recorder.on_trial_result(0, [], trial, {"figures": figures, PAYLOAD_KEY: {"status": status, "tags": tags or {}}})
    if end:
        getattr(recorder, end)(0, [], trial)
    return recorder.study.trials[trial_id]


@cases(
    "dataset, algorithm, score, best",
    {"lowest": ("red_wine", "linear", "val_rmse", "0.6"), "highest": ("diabetes", "logistic", "val_accuracy", "0.8")},
)
def test_best_so_far_follows_the_direction_of_the_score(dataset, algorithm, score, best):
    """Trials that diverged, failed or were ended are not among them, however good they look; all count as done."""
    stream = io.StringIO()
    record = recorder_of(study_of(dataset=dataset, configurations=[configured(algorithm)]), stream=stream)
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
    for number, time_s in enumerate([1.01, 0.9, 1.0, 4.0, 5.0]):
        _run(record, str(number), val_rmse=0.1 * number, training_time_s=time_s)
    assert record.study.best_score() == best


def test_record_knows_how_each_trial_ended(tmp_path):
    """By itself, by Tune, by an error, which it keeps, or not at all when the time was up; also if it never began."""
    record = recorder_of(study_of())
    error_file = tmp_path / "error.txt"
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
    ends = {name: [trial.status, trial.stopped_by, trial.error] for name, trial in trials.items()}
    assert ends == TABLES["how trials ended"]
    assert trials["cut off"].figures == {"val_rmse": 0.1}


def test_search_of_which_no_trial_began_took_no_time():
    """All failed while they were set up."""
    record = recorder_of(study_of())
    record.on_trial_error(0, [], _trial("failed while it was set up"))
    assert record.study.search_s == 0


def test_who_ended_a_trial_from_outside_is_known_after_the_search(client):
    """A person, which only its run says, or else the time limit, of which its run is told."""
    by_person = made(1, by=BY_TIME_LIMIT)
    in_time = made(2, by=BY_TIME_LIMIT)
    trials = [by_person, in_time]
    study = study_of(trials, settings=study_settings(time_limit_s=15.0))
    study.run = RecordedRun.of(client, client.create_run(experiment_id(client)))
    for each in trials:
        store(client, study.run.run_id, each)
    client.set_tag(by_person.run_id, STOPPED_BY, BY_PERSON)
    tell_of_outside(study)
    assert by_person.stopped_by == BY_PERSON
    assert in_time.stopped_by == BY_TIME_LIMIT
    assert client.get_run(in_time.run_id).data.tags[STOP_REASON] == "time_limit_s=15 of the study"


def test_record_of_a_trial_that_began_again_is_that_of_its_last_attempt():
    """The death is counted, the trial once. The search begins with the first trial alone."""
    begun = []
    record = recorder_of(study_of(), begins=lambda: begun.append("first"))
    study = record.study
    _run(record, "a", None, end="", tags={DIVERGED: "true"}, val_rmse=0.5)
    first = study.first_start
    record.on_trial_recover(0, [], _trial("a"))
    again = _run(record, "a", val_rmse=0.9)
    assert study.restarts == 1
    assert list(study.trials) == ["a"]
    assert again.status == "FINISHED"
    assert not again.diverged
    assert study.first_start == first
    assert begun == ["first"]


@cases("values, counted", TABLES["what relative limits are taken of"])
def test_relative_limits_are_taken_of_what_a_trial_cost_or_would_have(values, counted):
    """A stopped one is counted with its end, if that is known."""
    trial = made(1, **values)
    assert [costs["training_time_s"] for costs in study_of([trial]).costs] == counted


def _plain(table):
    return table.astype(object).where(table.notna(), None)


def test_record_is_the_frame_that_its_runs_are_read_as(client):
    """Whatever became of a trial: what a study says at its end is what a report says of it."""
    trials = [*of_every_end(), made(11, 0.5, configuration=configured(batch_size=2))]
    for fact, text in {"cpu_model": "A CPU", "usable_cores": "2", "os": "Linux"}.items():
        trials[0].tags[HOST_PREFIX + fact] = text
    study = study_of(trials, TIME)
    tags = {KIND: "study", DATASET: "red_wine", STUDY_KEY: study.key, STUDY_LIMITS: TIME}
    tags[SEARCHED] = json.dumps(searched(study.spaces))
    tags[SCORE] = json.dumps(OF_SCORE | {"baseline": study.baseline, "planned": study.size})
    params = {name: getattr(study.settings, name) for name in ("choose", "search", "seed")}
    run_id = store_run(client, "red_wine", tags, params, {}, "RUNNING")
    study.run = RecordedRun.of(client, client.get_run(run_id))
    for each, feasible in zip(trials, FEASIBLE_TRIALS, strict=True):
        known = {} if feasible is None else {FEASIBLE: str(feasible).lower()}
        store(client, run_id, each, study.names.of(each.configuration), **known)
    frame = study.frame
    read_back = read(client, [client.get_run(run_id)])
    assert frame.studies.drop(columns="digest").to_dict() == read_back.studies.drop(columns="digest").to_dict()
    assert frame.hyperparameters == read_back.hyperparameters == ("batch_size",)
    found = _plain(frame.trials)
    pd.testing.assert_frame_equal(found, _plain(read_back.trials), check_like=True, check_dtype=False)
    assert found["host"][0] == "A CPU, usable_cores 2"
    assert found["stop_metric"][2] == "training_time_s"
