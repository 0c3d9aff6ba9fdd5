"""The earlier study that savings are counted against, found in a real store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from mlflow import MlflowClient
from records import recorded, store, trial
from reference import bundled, configured
from study_settings import study_settings

from entrypoints.datasets.prepared import Prepared
from entrypoints.frame import Frame
from entrypoints.search.full_study import beside_full, other_hosts, study_key
from entrypoints.search.record import TrialRecord
from entrypoints.tags import CRITERIA, STUDY_KEY
from mlflow_sysmetrics.tags import HOST_PREFIX, KIND

WANTED = [configured(batch_size=size, alpha=0.123456789012) for size in (8, 16)]


def _host(cores: str) -> dict[str, str]:
    return {f"{HOST_PREFIX}usable_cores": cores}


def _trials(cores: str = "2") -> list[TrialRecord]:
    return [trial(place, configuration=each, host=_host(cores)) for place, each in enumerate(WANTED, 1)]


def _study(
    client: MlflowClient,
    trials: list[TrialRecord] | None = None,
    *,
    status: str = "FINISHED",
    tags: dict[str, str] | None = None,
) -> str:
    """A study of the wanted configurations that has run, unless it is said otherwise; its run's id."""
    experiment_id = client.get_experiment_by_name("studies").experiment_id
    run_id = client.create_run(experiment_id, tags={KIND: "study", STUDY_KEY: "this", **(tags or {})}).info.run_id
    for each in _trials() if trials is None else trials:
        store(client, run_id, each, "a trial")
    client.set_terminated(run_id, status)
    return str(run_id)


def _found(client: MlflowClient, trials: list[TrialRecord] | None = None) -> Frame | None:
    about = {"experiment_id": client.get_experiment_by_name("studies").experiment_id, "key": "this"}
    return beside_full(client, recorded(trials or _trials()).rows("own", about))


def _full(client: MlflowClient, trials: list[TrialRecord] | None = None) -> str | None:
    """The id of the one that is found."""
    frame = _found(client, trials)
    return None if frame is None else str(frame.studies.index[1])


def test_newest_study_wins(client: MlflowClient) -> None:
    """The machine is most likely in the state of today. Without any the forecast has to do."""
    assert _full(client) is None
    _study(client)
    newest = _study(client)
    assert _full(client) == newest


def test_study_on_another_host_is_found_only_where_there_is_no_other_and_says_so(client: MlflowClient) -> None:
    """What it cost there does not measure what limits save here."""
    elsewhere = _study(client, _trials("8"))
    frame = _found(client)
    assert frame is not None
    assert (frame.studies.index[1], other_hosts(frame)) == (elsewhere, "usable_cores 8, not usable_cores 2")
    here = _study(client)
    _study(client, _trials("8"))
    frame = _found(client)
    assert frame is not None
    assert (frame.studies.index[1], other_hosts(frame)) == (here, "")


@pytest.mark.parametrize(
    ("change", "values"),
    [
        pytest.param({}, {"tags": {CRITERIA: "training_time_s<=1"}}, id="limits"),
        pytest.param({}, {"tags": {STUDY_KEY: "other"}}, id="another key"),
        pytest.param({}, {"status": "FAILED"}, id="failed"),
        pytest.param({}, {"status": "RUNNING"}, id="still running"),
        pytest.param(None, {}, id="no trial"),
        pytest.param({"status": "KILLED"}, {}, id="a trial was stopped"),
        pytest.param({"figures": {"val_rmse": 0.7}}, {}, id="a cost is unknown"),
        pytest.param({"configuration": replace(WANTED[1], batch_size=32, place=2)}, {}, id="another batch size"),
    ],
)
def test_other_studies_are_passed_over(
    client: MlflowClient, change: dict[str, Any] | None, values: dict[str, Any]
) -> None:
    """An older one that fits is found behind them."""
    fits = _study(client)
    first, last = _trials()
    _study(client, [] if change is None else [first, replace(last, **change)], **values)
    assert _full(client) == fits


def test_larger_study_serves_a_part_of_it(client: MlflowClient) -> None:
    """All that is wanted is there, and hyperparameters of another algorithm do not matter."""
    run_id = _study(client, [*_trials(), trial(3, configuration=configured("svm", momentum=0.9))])
    assert _full(client, _trials()[:1]) == run_id


def test_value_that_a_study_did_not_vary_tells_configurations_apart(client: MlflowClient) -> None:
    """One that is the same in all trials of each study, and not in both."""
    _study(client, [trial(place, configuration=configured(batch_size=size)) for place, size in ((1, 8), (2, 16))])
    assert _full(client) is None


SETTINGS, DATA = study_settings(), bundled("red_wine")


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        pytest.param({"space": {"batch_size": [8]}}, True, id="space"),
        pytest.param({"search": "random"}, True, id="search"),
        pytest.param({"cpus": 1}, True, id="cores"),
        pytest.param({"time_limit_s": 9.0}, True, id="time limit"),
        pytest.param({"dataset": "/elsewhere/red_wine.csv"}, True, id="path"),
        pytest.param({"max_rows": 100}, False, id="rows"),
        pytest.param({"folds": 3}, False, id="folds"),
        pytest.param({"seed": 1}, False, id="seed"),
        pytest.param({"max_steps": 100}, False, id="steps"),
        pytest.param({"max_epochs": 1}, False, id="epochs"),
        pytest.param({"report_every": 10}, False, id="reports"),
    ],
)
def test_study_key_is_what_a_trial_of_one_configuration_depends_on(changes: dict[str, Any], same: bool) -> None:
    """Which configurations there are, and how they are handed out, is not part of it."""
    assert (study_key(SETTINGS, DATA) == study_key(study_settings(**changes), DATA)) is same


@pytest.mark.parametrize("other", [replace(DATA, digest="other"), replace(DATA, target="other")], ids=["content", "y"])
def test_study_key_changes_with_the_data(other: Prepared) -> None:
    """By content, and by the column that is predicted."""
    assert study_key(SETTINGS, DATA) != study_key(SETTINGS, other)
