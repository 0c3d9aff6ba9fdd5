"""What is read of an interrupted study in a real store: which trials are done, and which go on in which run."""

import math
from dataclasses import replace
from itertools import product

import pytest
from cases import cases
from records import ended_by, store
from reference import MLP_REGRESSOR, configured

from entrypoints.models.racing import Lost
from entrypoints.models.trial_record import Trial, end_tags
from entrypoints.search.resume import children_of, earlier_trials, settle
from entrypoints.tags import BY_RACE, DIVERGED, END
from mlflow_sysmetrics.tags import BY_EXPERIMENT_END, BY_LIMITS, BY_PERSON, ERROR, STOP_REASON, STOPPED_BY

FOLDS = [{"fold": 0, "val_rmse": 2 / 3, "training_time_s": 0.1}, {"fold": 1, "val_rmse": 1 / 3, "training_time_s": 0.2}]
FIGURES = {"val_rmse": 0.5, "training_time_s": 0.15, "elapsed_s": 3.0}
ENDED, STOPPED = end_tags(FOLDS), end_tags([], {"elapsed_s": 9.0})
LONG = end_tags(FOLDS * 45, {"val_loss": math.inf})
STOP = ended_by("training_time_s<=0.1")
RACE = Lost(0.9, "why").tags
TRIALS = [
    replace(configured(MLP_REGRESSOR, hidden_layer_sizes=sizes, alpha=alpha), number=number)
    for number, (sizes, alpha) in enumerate(product([[8], [8, 4]], [1 / 3, 1e-7, 3]), 1)
]


@pytest.fixture
def interrupted(client):
    """The run of a study that was interrupted."""
    return client.create_run(client.get_experiment_by_name("studies").experiment_id, tags={"sysmetrics.kind": "study"})


def _trial(client, study, configuration, status="RUNNING", end=None, tags=None, figures=FIGURES):
    """A trial whose run is in the store."""
    made = Trial(f"t{configuration.number}", configuration, status, figures, {**(end or {}), **(tags or {})})
    store(client, study.info.run_id, made)
    return made


def _read(client, study, trials=TRIALS):
    """Those that are done, and the runs of those that are not."""
    return earlier_trials(children_of(client, study), trials)


def _settle(client, study):
    settle(client, study, children_of(client, study))


AT_THE_END = {STOPPED_BY: BY_EXPERIMENT_END}  # what the search marked that it took for running
PERSON = {STOPPED_BY: BY_PERSON, STOP_REASON: "in other words"}


@cases(
    "said, end, tags, status, by",
    {
        "diverged": ("FINISHED", end_tags([]), {DIVERGED: "true"}, "FINISHED", None),
        "an end in several tags": ("FINISHED", LONG, {}, "FINISHED", None),
        "finished, the driver was killed": ("RUNNING", ENDED, {}, "FINISHED", None),
        "finished at the end of the search": ("KILLED", ENDED, AT_THE_END, "FINISHED", None),
        "stopped at that end": ("KILLED", STOPPED, STOP | AT_THE_END, "KILLED", BY_LIMITS),
        "raced at that end": ("KILLED", STOPPED, RACE | AT_THE_END, "KILLED", BY_RACE),
        "ended by a person": ("KILLED", {}, PERSON, "KILLED", BY_PERSON),
    },
)
def test_trial_that_is_done_is_read_as_the_search_would_know_it(client, interrupted, said, end, tags, status, by):
    """Status, figures, folds and tags of its end, to the last digit. A status that the driver left out is set."""
    made = _trial(client, interrupted, TRIALS[1], said, end, tags)
    client.log_metric(made.run_id, "system/process_cpu_percent", 9.0)
    before = client.get_run(made.run_id)
    (done,), open_runs = _read(client, interrupted)
    assert done == replace(made, status=status, tags=done.tags)
    assert done.stopped_by == by
    assert end_tags(done.folds, done.expected if done.was_judged else None) == (end or end_tags([]))
    assert done.tags.items() >= {name: tag for name, tag in made.tags.items() if name != STOPPED_BY}.items()
    assert open_runs == {}
    _settle(client, interrupted)
    after = client.get_run(made.run_id)
    assert (after.info.status, after.data.to_dictionary()) == (status, before.data.to_dictionary())


@cases(
    "status, end, tags",
    {
        "swept": ("KILLED", {}, AT_THE_END),
        "time-limit": ("KILLED", {}, {STOPPED_BY: "time_limit", STOP_REASON: "time_limit_s=15"}),
        "failed": ("FAILED", {}, {ERROR: "MemoryError"}),
        "its last figures are missing": ("RUNNING", ENDED, {}),
        "a part of its end is missing": ("RUNNING", {}, {END: LONG[END]}),
    },
)
def test_trial_that_is_not_done_goes_on_in_its_own_run(client, interrupted, status, end, tags):
    """Whatever ended it. What its run says of that end is taken back, and it is not left RUNNING meanwhile."""
    figures = {"val_rmse": 1.0} if END not in tags else FIGURES
    run_id = _trial(client, interrupted, TRIALS[4], status, end, {DIVERGED: "false", **tags}, figures).run_id
    assert _read(client, interrupted) == ([], {TRIALS[4].id: run_id})
    _settle(client, interrupted)
    run = client.get_run(str(run_id))
    assert run.info.status == ("FAILED" if status == "FAILED" else "KILLED")
    left = {name.removeprefix("sysmetrics.") for name in run.data.tags if name.startswith("sysmetrics.")}
    assert left == {"kind", "trial_id", "number"}


def test_other_runs_are_settled(client, interrupted):
    """Of a command that was killed while it continued the study, and one that was made for an unknown trial.

    The driver was killed before it said for which: another run will be made.
    """
    runs = []
    for kind in ("resume", "trial"):
        tags = {"mlflow.parentRunId": interrupted.info.run_id, "sysmetrics.kind": kind}
        runs.append(client.create_run(interrupted.info.experiment_id, tags=tags).info.run_id)
    resume, empty = runs
    client.set_tag(resume, "sysmetrics.error", "why")
    assert _read(client, interrupted) == ([], {})
    _settle(client, interrupted)
    assert client.get_run(resume).info.status == "KILLED"
    assert client.get_run(resume).data.tags["sysmetrics.error"] == "why"
    assert client.get_run(empty).info.lifecycle_stage == "deleted"


def test_study_forgets_how_it_ended(client, interrupted):
    """Its error, its best trial, which another may become, and who stopped it, or it would be again; nothing else."""
    ended = {"error": "no model", "best_trial_run_id": "3", "stop": "enough", "stopped_by": "person"}
    for name, value in {**ended, "dataset": "red_wine"}.items():
        client.set_tag(interrupted.info.run_id, f"sysmetrics.{name}", value)
    _settle(client, client.get_run(interrupted.info.run_id))
    left = {name for name in client.get_run(interrupted.info.run_id).data.tags if name.startswith("sysmetrics.")}
    assert left == {"sysmetrics.kind", "sysmetrics.dataset"}


def test_of_two_runs_of_a_trial_the_done_one_counts(client, interrupted):
    """In whatever order they were made. Runs of other studies are none of this one."""
    done = [_trial(client, interrupted, TRIALS[0], "FINISHED", ENDED)]
    for trial in TRIALS[:2]:
        _trial(client, interrupted, trial, "KILLED")
    done.append(_trial(client, interrupted, TRIALS[1], "FINISHED", ENDED))
    _trial(client, client.create_run(interrupted.info.experiment_id), TRIALS[2], "FINISHED", ENDED)
    assert [trial.run_id for trial in _read(client, interrupted)[0]] == [trial.run_id for trial in done]


def test_repetitions_of_a_configuration_are_told_apart(client, interrupted):
    """Each is done, goes on or is left by itself, by the tag that its run has from the beginning."""
    trials = [replace(TRIALS[0], repeat=repeat, number=repeat + 1) for repeat in range(4)]
    _trial(client, interrupted, trials[0], "FINISHED", ENDED)
    begun = _trial(client, interrupted, trials[1])
    _trial(client, interrupted, trials[2], "FINISHED", ENDED)
    done, open_runs = _read(client, interrupted, trials)
    assert [each.configuration.repeat for each in done] == [0, 2]
    assert open_runs == {trials[1].id: begun.run_id}


def test_reference_is_not_taken_for_a_trial_of_the_same_values(client, interrupted):
    """A search may try what a reference is; each has its own run."""
    tried = configured("forest", batch_size=None)
    reference = replace(tried, role="reference")
    done = _trial(client, interrupted, reference, "FINISHED", ENDED, {"sysmetrics.role": "reference"})
    (found,), _ = _read(client, interrupted, [tried, reference])
    assert (found.run_id, found.configuration) == (done.run_id, reference)
