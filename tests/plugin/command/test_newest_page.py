"""Which page is opened first: the newest study's trials, else the newest runs."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote

import pytest
from mlflow import MlflowClient

from mlflow_sysmetrics.command.newest_page import NoExperimentError, newest_run, page_of

STUDY, TRIAL = {"sysmetrics.kind": "study"}, {"sysmetrics.kind": "trial"}


def add(client: MlflowClient, when: int, parent: str | None = None, *, where: str = "0", **run: object) -> str:
    """A run that began at a time, with tags and whether it has figures; its id."""
    tags = dict(run.get("tags", {})) | ({"mlflow.parentRunId": parent} if parent else {})  # type: ignore[call-overload]
    run_id = str(client.create_run(where, start_time=when, tags=tags).info.run_id)
    if run.get("figures"):
        client.log_metric(run_id, "elapsed_s", 1.0)
    return run_id


def newest_page(client: MlflowClient, experiment_name: str | None = None) -> str:
    """The page of the newest run."""
    return page_of(client, newest_run(client, experiment_name))


def filter_of(page: str) -> str:
    """The search filter of a page of runs, which opens in the right mode."""
    query = parse_qs(page.partition("?")[2])
    assert query["workflowType"] == ["machine_learning"]
    return query.get("searchFilter", [""])[0]


def test_newest_study_wins(client: MlflowClient) -> None:
    """Over an older one, and over any run after it: its trials are listed, in its experiment."""
    other = client.get_experiment_by_name("studies").experiment_id
    add(client, 1, tags=STUDY)
    study = add(client, 2, where=other, tags=STUDY)
    add(client, 3, study, where=other, tags=TRIAL, figures=True)
    add(client, 4, figures=True)
    page = newest_page(client)
    assert page.startswith(f"#/experiments/{other}/runs?")
    assert filter_of(page) == f"tags.mlflow.parentRunId = '{study}' and tags.`sysmetrics.kind` = 'trial'"
    assert len(client.search_runs([other], filter_of(page))) == 1
    assert filter_of(newest_page(client, "Default")) != filter_of(page)


def test_run_with_figures_comes_before_one_without(client: MlflowClient) -> None:
    """Nested ones are shown with those beside them, others in their experiment."""
    other = client.get_experiment_by_name("studies").experiment_id
    parent = add(client, 1)
    add(client, 2, parent, figures=True)
    add(client, 3, where=other)
    assert filter_of(newest_page(client)) == f"tags.mlflow.parentRunId = '{parent}'"
    assert newest_page(client, "studies") == f"#/experiments/{other}/runs?workflowType=machine_learning"
    add(client, 4, figures=True)
    assert newest_page(client) == "#/experiments/0/runs?workflowType=machine_learning"


def test_store_without_runs_shows_its_experiments(client: MlflowClient) -> None:
    """There is nothing else to show."""
    assert newest_page(client) == "#/experiments"


def test_deleted_experiment_is_not_shown_and_not_named(client: MlflowClient) -> None:
    """Nor can it be asked for; the error says which can."""
    gone = client.create_experiment("gone")
    add(client, 5, where=gone, tags=STUDY)
    assert gone in unquote(newest_page(client))
    client.delete_experiment(gone)
    assert newest_page(client) == "#/experiments"
    with pytest.raises(NoExperimentError, match="no experiment 'gone'; there are studies, Default"):
        newest_page(client, "gone")
