"""The earlier study that savings are counted against, found in a real store."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from reference import bundled, configured
from study_settings import study_settings

from entrypoints.datasets.prepared import Prepared
from entrypoints.mlflow_io import log_tables
from entrypoints.models.configuration import Configuration
from entrypoints.search.budget import Spending
from entrypoints.search.full_study import FullStudy, find, hosts_of, study_key
from entrypoints.tags import CRITERIA, SEARCHED, STUDY_KEY
from mlflow_sysmetrics.tags import HOST_PREFIX, KIND

HERE = {"usable_cores": frozenset({"2"})}
WANTED = [configured(batch_size=size, alpha=0.123456789012) for size in (8, 16)]


def _experiment(client: MlflowClient) -> str:
    return client.get_experiment_by_name("studies").experiment_id


def _study(
    client: MlflowClient,
    rows: list[dict[str, Any]] | None = None,
    *,
    status: str = "FINISHED",
    tags: dict[str, str] | None = None,
    **host: str,
) -> str:
    """A study of the wanted configurations that has run, unless it is said otherwise; its run's id."""
    run = client.create_run(_experiment(client), tags={STUDY_KEY: "this", **(tags or {})})
    if rows is None:
        rows = [_row(configuration) for configuration in WANTED]
    log_tables(client, run.info.run_id, {"trials.json": rows})
    facts = {f"{HOST_PREFIX}{fact}": value for fact, value in {"usable_cores": "2", **host}.items()}
    of_trial = {"mlflow.parentRunId": run.info.run_id, KIND: "trial", **facts}
    client.create_run(_experiment(client), tags=of_trial)
    client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def _row(configuration: Configuration, **changes: Any) -> dict[str, Any]:
    figures = {"elapsed_s": float(configuration.batch_size), "cpu_seconds": configuration.batch_size / 2}
    return {"run_id": "r", "status": "FINISHED", **configuration.searched, **figures, **changes}


def _found(client: MlflowClient, wanted: list[Configuration] = WANTED) -> str | None:
    found = find(client, _experiment(client), "this", wanted, HERE)
    return found and found.run_id


def test_full_study_says_what_each_configuration_cost(client: MlflowClient) -> None:
    """By its values, to the last digit."""
    run_id = _study(client)
    costs = {each.key: Spending(each.batch_size / 2, each.batch_size) for each in WANTED}
    assert find(client, _experiment(client), "this", WANTED, HERE) == FullStudy(run_id, costs, "")


def test_full_study_that_does_not_say_what_a_trial_cost_is_none_to_count_against(client: MlflowClient) -> None:
    """It would count as if that trial had cost nothing."""
    _study(client, [{"status": "FINISHED", **each.searched} for each in WANTED])
    assert _found(client) is None


def test_newest_study_wins(client: MlflowClient) -> None:
    """The machine is most likely in the state of today."""
    _study(client)
    newest = _study(client)
    assert _found(client) == newest


def test_study_on_another_host_is_found_only_where_there_is_no_other_and_says_so(client: MlflowClient) -> None:
    """What it cost there does not measure what limits save here."""
    _study(client, usable_cores="4")
    elsewhere = _study(client, usable_cores="8")
    found = find(client, _experiment(client), "this", WANTED, HERE)
    assert found
    assert str(found) == (
        f"the study without limits in run {elsewhere}, on another host (usable_cores 8, not 2): part of it may be the "
        "host's"
    )
    here = _study(client)
    assert hosts_of(client, _experiment(client), here) == HERE
    _study(client, usable_cores="8")
    assert _found(client) == here


@pytest.mark.parametrize(
    ("ours", "theirs", "differ"),
    [
        pytest.param({"cpu_model": "A"}, {"cpu_model": "B"}, "cpu_model B, not A", id="processor"),
        pytest.param({"memory_limit_mb": "8"}, {"memory_limit_mb": "4"}, "memory_limit_mb 4, not 8", id="memory"),
        pytest.param({"gpus": "H100"}, {"gpus": "A100"}, "gpus A100, not H100", id="GPUs"),
        pytest.param({"gpus": "H100"}, {}, "", id="GPUs unknown there"),
        pytest.param({}, {"gpus": "H100"}, "", id="GPUs unknown here"),
        pytest.param({"os": "Linux 6.1", "python": "3.11.1"}, {"os": "Linux 6.2", "python": "3.11.2"}, "", id="update"),
    ],
)
def test_host_is_another_where_known_hardware_differs(
    client: MlflowClient, ours: dict[str, str], theirs: dict[str, str], differ: str
) -> None:
    """Not where its system was updated, or one side could not tell."""
    _study(client, **theirs)
    hosts = HERE | {fact: frozenset({value}) for fact, value in ours.items()}
    found = find(client, _experiment(client), "this", WANTED, hosts)
    assert found
    assert found.other_hosts == differ


def test_study_that_shares_a_host_of_several_ran_here(client: MlflowClient) -> None:
    """One of its trials says where."""
    _study(client)
    found = find(client, _experiment(client), "this", WANTED, {"usable_cores": frozenset({"2", "4"})})
    assert found
    assert found.other_hosts == ""


@pytest.mark.parametrize(
    ("rows", "values"),
    [
        pytest.param(None, {"tags": {CRITERIA: "training_time_s<=1"}}, id="limits"),
        pytest.param(None, {"tags": {STUDY_KEY: "other"}}, id="another key"),
        pytest.param(None, {"status": "FAILED"}, id="failed"),
        pytest.param(None, {"status": "KILLED"}, id="killed"),
        pytest.param(None, {"status": "RUNNING"}, id="still running"),
        pytest.param([_row(WANTED[0])], {}, id="a configuration is missing"),
        pytest.param([_row(WANTED[0]), _row(WANTED[1], status="KILLED")], {}, id="a trial was stopped"),
        pytest.param([_row(WANTED[0]), _row(WANTED[1], alpha=0.5)], {}, id="another alpha"),
    ],
)
def test_other_studies_are_passed_over(
    client: MlflowClient, rows: list[dict[str, Any]] | None, values: dict[str, Any]
) -> None:
    """An older one that fits is found behind them."""
    fits = _study(client)
    _study(client, rows, **values)
    assert _found(client) == fits


def test_study_whose_artifacts_are_gone_is_passed_over(client: MlflowClient, empty_store: Path) -> None:
    """So is one that never had any."""
    fits = _study(client)
    gone = _study(client)
    shutil.rmtree(empty_store / "artifacts" / gone)
    without = client.create_run(_experiment(client), tags={STUDY_KEY: "this"})
    client.set_terminated(without.info.run_id, "FINISHED")
    assert _found(client) == fits


def test_no_study_is_found_where_there_is_none(client: MlflowClient) -> None:
    """The forecast has to do."""
    assert _found(client) is None


def test_larger_study_serves_a_part_of_it(client: MlflowClient) -> None:
    """All that is wanted is there, and hyperparameters of another algorithm do not matter."""
    run_id = _study(client, [*(_row(each) for each in WANTED), _row(configured("svm"), momentum=0.9, tol=None)])
    assert _found(client, WANTED[:1]) == run_id


@pytest.mark.parametrize(("searched", "found"), [("null", True), ('["momentum"]', False)], ids=["once", "and searched"])
def test_configurations_differ_by_what_the_earlier_study_searched(
    client: MlflowClient, searched: str, found: bool
) -> None:
    """With a momentum of its own each of its trials is another configuration than the one that is wanted."""
    names = json.loads(searched) and [*WANTED[0].searched, "momentum"]
    rows = [_row(each, momentum=momentum) for each in WANTED for momentum in (0.5, 0.9)]
    _study(client, rows, tags={SEARCHED: json.dumps(names)})
    assert (_found(client) is not None) is found


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
