"""What is read of an interrupted study in a real store: which trials are done, and which go on in which run."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from records import ended_by
from reference import MLP_REGRESSOR, configured
from study_settings import study_settings

from entrypoints.models.configuration import Configuration
from entrypoints.search import earlier
from entrypoints.search.record import TrialRecord
from entrypoints.search.trial_end import TrialEnd
from entrypoints.tags import END
from mlflow_sysmetrics.tags import BY_CRITERIA, BY_EXPERIMENT_END, BY_PERSON, BY_TUNE, STOPPED_BY

FOLDS = [{"fold": 0, "val_rmse": 2 / 3, "training_time_s": 0.1}, {"fold": 1, "val_rmse": 1 / 3, "training_time_s": 0.2}]
FIGURES = {"val_rmse": 0.5, "training_time_s": 0.15, "elapsed_s": 3.0}
ENDED, STOPPED = TrialEnd(FOLDS), TrialEnd([], {"elapsed_s": 9.0})
LONG = TrialEnd(FOLDS * 45, {"val_loss": math.inf})
STOP = ended_by("training_time_s<=0.1").tags
TRIALS = [
    replace(configured(MLP_REGRESSOR, hidden_layer_sizes=sizes, alpha=alpha), place=place)
    for place, (sizes, alpha) in enumerate(product([[8], [8, 4]], [1 / 3, 1e-7, 3]), 1)
]


@pytest.fixture
def study(client: MlflowClient) -> Run:
    """The run of a study that was interrupted."""
    return client.create_run(client.get_experiment_by_name("studies").experiment_id, tags={"sysmetrics.kind": "study"})


def _trial(
    client: MlflowClient,
    study: Run,
    configuration: Configuration,
    status: str = "RUNNING",
    end: TrialEnd | None = None,
    *,
    figures: dict[str, float] = FIGURES,
    stop: Mapping[str, str] | None = None,
    **tags: str,
) -> str:
    """A run of a trial, as the callback leaves it; its id."""
    about = {"mlflow.parentRunId": study.info.run_id, "sysmetrics.kind": "trial"}
    run_id = str(client.create_run(study.info.experiment_id, tags=about).info.run_id)
    now_ms = int(time.time() * 1000)
    points = [Metric(name, value, now_ms, 0) for name, value in {**figures, "system/process_cpu_percent": 9.0}.items()]
    params = [Param(name, str(value)) for name, value in (configuration.searched | study_settings().shared).items()]
    own = {"sysmetrics.trial_id": f"t-{run_id}", **{f"sysmetrics.{name}": tag for name, tag in tags.items()}}
    own |= (end.tags if end else {}) | (stop or {})
    client.log_batch(run_id, points, params, [RunTag(name, tag) for name, tag in own.items()])
    if status != "RUNNING":
        client.set_terminated(run_id, status)
    return run_id


def _read(client: MlflowClient, study: Run, trials: list[Configuration] = TRIALS) -> earlier.Earlier:
    return earlier.read(earlier.children_of(client, study), trials)


def _settle(client: MlflowClient, study: Run) -> None:
    earlier.settle(client, study, earlier.children_of(client, study))


def _places(trials: Any) -> list[int]:
    return [trial.place for trial in trials]


@pytest.mark.parametrize(
    ("status", "end", "tags", "how"),
    [
        pytest.param("FINISHED", ENDED, {}, "finished", id="finished"),
        pytest.param("FINISHED", TrialEnd([]), {"diverged": "true"}, "diverged", id="diverged"),
        pytest.param("FINISHED", LONG, {}, "finished", id="with an end in several tags"),
        pytest.param("KILLED", STOPPED, {"stop": STOP}, "stopped", id="stopped by its limits"),
    ],
)
@pytest.mark.parametrize("is_said", [True, False], ids=["", "its status is missing"])
def test_trial_that_is_done_is_read_as_the_search_would_know_it(
    client: MlflowClient, study: Run, status: str, end: TrialEnd, tags: dict[str, Any], how: str, is_said: bool
) -> None:
    """Status, figures, folds and tags of its end, to the last digit. A status that the driver left out is set."""
    said = status if is_said else "RUNNING"
    run_id = _trial(client, study, TRIALS[1], said, end, **tags)
    found, before = _read(client, study), client.get_run(run_id)
    of_run = before.data.tags
    assert found.done == (TrialRecord(f"t-{run_id}", TRIALS[1], status, FIGURES, of_run, run_id),)
    assert found.done[0].end == end
    assert found.left(TRIALS) == [TRIALS[0], *TRIALS[2:]]
    assert found.open_runs == {}
    assert found.known == ([(TRIALS[1], FIGURES, end.expected, how)] if end.expected else [])
    _settle(client, study)
    after = client.get_run(run_id)
    assert after.info.status == status
    assert after.to_dictionary() == before.to_dictionary() or not is_said


@pytest.mark.parametrize(
    ("end", "stop", "by"), [(ENDED, {}, None), (STOPPED, STOP, BY_CRITERIA)], ids=["ran", "limits"]
)
def test_trial_that_had_ended_was_not_ended_by_the_end_of_the_search(
    client: MlflowClient, study: Run, end: TrialEnd, stop: Mapping[str, str], by: str | None
) -> None:
    """Whose last act it was to mark what it took for running: what the trial itself left counts."""
    _trial(client, study, TRIALS[0], "KILLED", end, stop={**stop, STOPPED_BY: BY_EXPERIMENT_END})
    (trial,) = _read(client, study).done
    assert (trial.status, trial.stopped_by) == ("KILLED" if by else "FINISHED", by)


@pytest.mark.parametrize("stopped_by", [pytest.param(BY_TUNE, id="scheduler"), pytest.param(BY_PERSON, id="person")])
def test_trial_that_tune_or_a_person_stopped_is_done(client: MlflowClient, study: Run, stopped_by: str) -> None:
    """It has no figures of an end, and would be stopped again, whatever the words for it."""
    said = {"stopped_by": stopped_by, "stop_reason": "in other words"}
    _trial(client, study, TRIALS[0], "KILLED", figures={"val_rmse": 1.0}, **said)
    (trial,) = _read(client, study).done
    assert (trial.status, trial.stopped_by, trial.figures) == ("KILLED", stopped_by, {"val_rmse": 1.0})


@pytest.mark.parametrize(
    ("status", "tags"),
    [
        pytest.param("RUNNING", {}, id="driver-killed"),
        pytest.param("KILLED", {}, id="interrupted"),
        pytest.param("KILLED", {"stopped_by": BY_EXPERIMENT_END}, id="swept"),
        pytest.param("KILLED", {"stopped_by": "time_limit", "stop_reason": "time_limit_s=15"}, id="time-limit"),
        pytest.param("FAILED", {"error": "MemoryError"}, id="failed"),
        pytest.param("RUNNING", {"end": ENDED}, id="its last figures are missing"),
        pytest.param("RUNNING", {"figures": FIGURES, "stop": {END: LONG.tags[END]}}, id="a part of its end is missing"),
    ],
)
def test_trial_that_is_not_done_goes_on_in_its_own_run(
    client: MlflowClient, study: Run, status: str, tags: dict[str, Any]
) -> None:
    """Whatever ended it. What its run says of that end is taken back, and it is not left RUNNING meanwhile."""
    run_id = _trial(client, study, TRIALS[4], status, **{"figures": {"val_rmse": 1.0}, "diverged": "false"} | tags)
    found = _read(client, study)
    assert (found.done, found.left(TRIALS), found.open_runs) == ((), TRIALS, {TRIALS[4].place: run_id})
    _settle(client, study)
    run = client.get_run(run_id)
    assert run.info.status == ("FAILED" if status == "FAILED" else "KILLED")
    left = {name for name in run.data.tags if name.startswith("sysmetrics.")}
    assert left == {"sysmetrics.kind", "sysmetrics.trial_id"}


def test_other_runs_are_settled(client: MlflowClient, study: Run) -> None:
    """Of data, of a command that was killed while it continued the study, and one that was made for an unknown trial.

    The driver was killed before it said for which: another run will be made.
    """
    tags = {"mlflow.parentRunId": study.info.run_id}
    kinds = ("prepare", "resume", "trial")
    prepare, resume, empty = (
        client.create_run(study.info.experiment_id, tags=tags | {"sysmetrics.kind": kind}).info.run_id for kind in kinds
    )
    client.set_terminated(prepare, "FINISHED")
    client.set_tag(resume, "sysmetrics.error", "why")
    assert _read(client, study) == earlier.NOTHING
    _settle(client, study)
    assert [client.get_run(run_id).info.status for run_id in (prepare, resume)] == ["FINISHED", "KILLED"]
    assert client.get_run(resume).data.tags["sysmetrics.error"] == "why"
    assert client.get_run(empty).info.lifecycle_stage == "deleted"


def test_study_forgets_how_it_ended(client: MlflowClient, study: Run) -> None:
    """Its error, its best trial, which another may become, and who stopped it, or it would be again; nothing else."""
    ended = {"error": "no model", "best_alpha": "3", "stop": "enough", "stopped_by": "person"}
    for name, value in {**ended, "dataset": "red_wine"}.items():
        client.set_tag(study.info.run_id, f"sysmetrics.{name}", value)
    _settle(client, client.get_run(study.info.run_id))
    left = {name for name in client.get_run(study.info.run_id).data.tags if name.startswith("sysmetrics.")}
    assert left == {"sysmetrics.kind", "sysmetrics.dataset"}


def test_of_two_runs_of_a_trial_the_done_one_counts(client: MlflowClient, study: Run) -> None:
    """In whatever order they were made. Runs of other studies are none of this one."""
    done = [_trial(client, study, TRIALS[0], "FINISHED", ENDED)]
    for trial in TRIALS[:2]:
        _trial(client, study, trial, "KILLED")
    done.append(_trial(client, study, TRIALS[1], "FINISHED", ENDED))
    _trial(client, client.create_run(study.info.experiment_id), TRIALS[2], "FINISHED", ENDED)
    assert [trial.run_id for trial in _read(client, study).done] == done


@pytest.mark.parametrize("values", [("1", "2"), ("None", "x"), (True, False), ("1_000", "1000"), (None, 0.5), (1, 1.5)])
def test_trial_is_recognised_whatever_its_values_are(client: MlflowClient, study: Run, values: tuple[Any, Any]) -> None:
    """Texts that look like a number or None, too."""
    trials = [
        replace(configured(MLP_REGRESSOR, solver=value), place=place) for place, value in enumerate(values, start=1)
    ]
    _trial(client, study, trials[1], "FINISHED", ENDED)
    assert _places(_read(client, study, trials).left(trials)) == [1]


def test_repetitions_of_a_configuration_are_told_apart(client: MlflowClient, study: Run) -> None:
    """Each is done, goes on or is left by itself, by the tag that its run has from the beginning."""
    trials = [replace(TRIALS[0], repeat=repeat, place=repeat + 1) for repeat in range(4)]
    _trial(client, study, trials[0], "FINISHED", ENDED)
    begun = _trial(client, study, trials[1], repeat="1")
    _trial(client, study, trials[2], "FINISHED", ENDED, repeat="2")
    found = _read(client, study, trials)
    assert [record.configuration.repeat for record in found.done] == [0, 2]
    assert [each.repeat for each in found.left(trials)] == [1, 3]
    assert found.open_runs == {2: begun}


def test_time_of_the_search_is_that_in_which_trials_ran(client: MlflowClient, study: Run) -> None:
    """Side by side or one after the other; not the time in between."""
    for trial, end_ms in zip(TRIALS, [1_000_000, 1_001_000, 9_000_000], strict=False):
        run_id = _trial(client, study, trial, end=ENDED)
        client.set_terminated(run_id, "FINISHED", end_ms)
    assert _read(client, study).search_s == pytest.approx(4.0 + 3.0)
