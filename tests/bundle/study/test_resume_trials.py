"""What is read of an interrupted study in a real store: which trials are done, and which go on in which run."""

import math
from dataclasses import replace

import pytest
from cases import cases, tables
from records import experiment_id, store, study_of, study_settings
from reference import MLP_REGRESSOR, configured

from entrypoints.runs.tags import AXIS, BEST_TRIAL_RUN_ID, DATASET, DIVERGED, END, NUMBER, ROLE
from entrypoints.study.resume import children_of, earlier_trials, settle
from entrypoints.trials.trial import Trial, end_tags
from mlflow_sysmetrics.recording.tags import ERROR, KIND, STOP_REQUEST, STOPPED_BY, TRIAL_ID

TABLES = tables(__file__, "study.yaml")
FOLDS = [{"fold": 0, "val_rmse": 2 / 3, "training_time_s": 0.1}, {"fold": 1, "val_rmse": 1 / 3, "training_time_s": 0.2}]
FIGURES = {"val_rmse": 0.5, "training_time_s": 0.15, "elapsed_s": 3.0}
ENDED = end_tags(FOLDS)
LONG = end_tags(FOLDS * 45, {"val_loss": math.inf})
LEFT = {  # at its end
    "nothing": {},
    "no folds": end_tags([]),
    "folds": ENDED,
    "costs": end_tags([], {"elapsed_s": 9.0}),
    "several tags": LONG,
    "the first of several": {END: LONG[END]},
}
SPACES = [
    {
        "algorithm": [MLP_REGRESSOR],
        "batch_size": [16, 64],
        "hidden_layer_sizes": [[8, 4], "8"],
        "alpha": {"loguniform": [1e-9, 9.0]},
        "n_iter_no_change": {"integers": [2, 9]},
        "activation": ["tanh"],
        "early_stopping": [True, None],
    },
    {"algorithm": ["forest"], "max_depth": [None]},
]
STUDY = study_of(settings=study_settings(search="tpe"), spaces=SPACES)
STUDY.configurations = []
OF_MLP = {name: values[0] for name, values in SPACES[0].items() if isinstance(values, list)} | {"n_iter_no_change": 3}
TRIALS = [STUDY.configuration(OF_MLP | {"alpha": alpha}, number) for number, alpha in enumerate([1 / 3, 1e-7, 3.0], 1)]


@pytest.fixture
def interrupted(client):
    """The run of a study that was interrupted."""
    return client.create_run(experiment_id(client), tags={KIND: "study"})


def _trial(client, study, configuration, status="RUNNING", tags=(), figures=FIGURES):
    """A trial whose run is in the store."""
    made = Trial(f"t{configuration.number}", configuration, status, figures, dict(tags))
    store(client, study.info.run_id, made)
    return made


def _read(client, study):
    """The trials as they are known to a command that continues the study."""
    return earlier_trials(children_of(client, study), STUDY)


def _settle(client, study):
    settle(client, study, children_of(client, study))


@cases("said, left, tags, status, by", TABLES["trials that are done"])
def test_trial_that_is_done_is_read_as_the_search_would_know_it(client, interrupted, said, left, tags, status, by):
    """Status, figures, folds and tags of its end, to the last digit. A status that the driver left out is set."""
    made = _trial(client, interrupted, TRIALS[1], said, LEFT[left] | tags)
    client.log_metric(made.run_id, "system/process_cpu_percent", 9.0)
    before = client.get_run(made.run_id).data
    (done,) = _read(client, interrupted)
    assert done == replace(made, status=status, tags=done.tags)
    assert done.stopped_by == by
    assert done.tags | {STOPPED_BY: by} == before.tags | {STOPPED_BY: by}
    _settle(client, interrupted)
    after = client.get_run(made.run_id)
    assert after.info.status == status
    assert after.data.to_dictionary() == before.to_dictionary()


@cases("status, left, figures, tags", TABLES["trials that are not done"])
def test_trial_that_is_not_done_goes_on_in_its_own_run(client, interrupted, status, left, figures, tags):
    """Whatever ended it. What its run says of that end is taken back, and it is not left RUNNING meanwhile."""
    tags = LEFT[left] | {DIVERGED: "false"} | tags
    run_id = _trial(client, interrupted, TRIALS[1], status, tags, figures).run_id
    (begun,) = _read(client, interrupted)
    assert (begun.status, begun.configuration, begun.run_id) == ("RUNNING", TRIALS[1], run_id)
    _settle(client, interrupted)
    run = client.get_run(run_id)
    assert run.info.status == status.replace("RUNNING", "KILLED")
    assert {name for name in run.data.tags if name.startswith("sysmetrics.")} == {AXIS, KIND, TRIAL_ID, NUMBER}


def test_other_runs_are_settled(client, interrupted):
    """Of a command that was killed while it continued the study, and one that was made for an unknown trial.

    The driver was killed before it said for which: another run will be made.
    """
    runs = []
    for kind in ("resume", "trial"):
        tags = {"mlflow.parentRunId": interrupted.info.run_id, KIND: kind}
        runs.append(client.create_run(interrupted.info.experiment_id, tags=tags).info.run_id)
    resume, empty = runs
    client.set_tag(resume, ERROR, "why")
    assert _read(client, interrupted) == []
    _settle(client, interrupted)
    run = client.get_run(resume)
    assert run.info.status == "KILLED"
    assert run.data.tags[ERROR] == "why"
    assert client.get_run(empty).info.lifecycle_stage == "deleted"


def test_study_forgets_how_it_ended(client, interrupted):
    """Its error, its best trial, which another may become, and who stopped it, or it would be again; nothing else."""
    run_id = interrupted.info.run_id
    for name in (ERROR, BEST_TRIAL_RUN_ID, STOP_REQUEST, STOPPED_BY, DATASET):
        client.set_tag(run_id, name, "known")
    _settle(client, client.get_run(run_id))
    left = client.get_run(run_id).data.tags
    assert {name for name in left if name.startswith("sysmetrics.")} == {KIND, DATASET}


def test_of_two_runs_of_a_trial_the_done_one_counts(client, interrupted):
    """In whatever order they were made. Runs of other studies are none of this one."""
    first = _trial(client, interrupted, TRIALS[0], "FINISHED", ENDED)
    for trial in TRIALS[:2]:
        _trial(client, interrupted, trial, "KILLED")
    second = _trial(client, interrupted, TRIALS[1], "FINISHED", ENDED)
    _trial(client, client.create_run(experiment_id(client)), TRIALS[2], "FINISHED", ENDED)
    done = _read(client, interrupted)
    assert [trial.run_id for trial in done] == [first.run_id, second.run_id]


def test_search_that_learns_knows_what_its_trials_tried(client, interrupted):
    """By the params of their runs: numbers that were drawn, to the last digit, and which of the values it was.

    What another search has tried is no trial of this one.
    """
    forest = {"algorithm": "forest", "max_depth": None}
    choices = [OF_MLP | {"alpha": 1 / 3, "hidden_layer_sizes": "8", "early_stopping": None}, forest]
    made = [STUDY.configuration(choice, number) for number, choice in enumerate(choices, 1)]
    for each in reversed([*made, configured("linear")]):
        _trial(client, interrupted, each, "FINISHED", ENDED)
    found = [trial.configuration for trial in _read(client, interrupted)]
    assert found == made
    assert [each.number for each in found] == [1, 2]


def test_reference_is_not_taken_for_a_trial_of_the_same_values(client, interrupted):
    """A search may try what a reference is; each has its own run."""
    forest = STUDY.configuration({"algorithm": "forest"}, 1)
    reference = replace(forest, role="reference")
    STUDY.references = {"forest": reference}
    done = _trial(client, interrupted, reference, "FINISHED", ENDED | {ROLE: "reference"})
    (found,) = _read(client, interrupted)
    assert found.run_id == done.run_id
    assert found.configuration == reference
