"""Runs that measure themselves: each `mlflow.start_run()` of a process after `autolog()`, and none before."""

import os
import threading

import mlflow
import pytest
from cases import cases
from machines import use_cpu

from mlflow_sysmetrics import autolog

LIMIT_S = 300.0


@pytest.fixture
def autolog_client(store_in_use, monkeypatch):
    """The store in use, with autolog on."""
    monkeypatch.delenv("MLFLOW_SYSMETRICS_EVENT_FILE", raising=False)
    autolog()
    yield store_in_use
    autolog(disable=True)


def ended(client, run):
    """The metrics of a run that has ended."""
    stored = client.get_run(run.info.run_id)
    assert stored.info.status != "RUNNING"
    return stored.data.metrics


def test_each_run_has_its_own_costs_and_series(autolog_client):
    """Nested, and in a thread, where one is taken up again by its id; also where autolog was called twice."""
    autolog()
    with mlflow.start_run() as outer:
        use_cpu(0.2)
        with mlflow.start_run(nested=True) as inner:
            use_cpu(0.2)
    inner_costs = ended(autolog_client, inner)
    assert ended(autolog_client, outer)["cpu_seconds"] > inner_costs["cpu_seconds"] + 0.15
    assert inner_costs["cpu_seconds"] > 0.15
    assert "system/process_memory_mb" in inner_costs
    in_thread = []

    def train():
        with mlflow.start_run(run_id=autolog_client.create_run("0").info.run_id) as run:
            in_thread.append(run)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join(LIMIT_S)
    assert "elapsed_s" in ended(autolog_client, in_thread[0])


def test_peak_of_a_short_run_is_its_own(autolog_client):
    """It is over before a reading; the kernel has it, also where an earlier cell of a notebook took more."""
    len(os.urandom(1) * 400_000_000)
    peaks_mb = []
    for megabytes in (1, 200):
        with mlflow.start_run() as run:
            len(os.urandom(1) * (megabytes * 1_000_000))
        peaks_mb.append(ended(autolog_client, run)["peak_rss_mb"])
    assert peaks_mb[1] - peaks_mb[0] == pytest.approx(200, abs=10)


@cases("how, status", [("function", "FINISHED"), ("client", "KILLED"), ("error", "FAILED")])
def test_however_a_run_ends_its_measurement_ends_before(autolog_client, how, status):
    """By a function that was imported before autolog, by a client, by an error in the block."""
    run = mlflow.start_run()
    if how == "function":
        mlflow.end_run()
    elif how == "client":
        autolog_client.set_terminated(run.info.run_id, "KILLED")
        mlflow.end_run("KILLED")
    else:
        with pytest.raises(RuntimeError), run:
            raise RuntimeError("no")
    assert "elapsed_s" in ended(autolog_client, run)
    assert autolog_client.get_run(run.info.run_id).info.status == status


def test_disabled_it_measures_later_runs_no_more(autolog_client, monkeypatch):
    """One that is open is recorded to its end. MLFLOW_SYSMETRICS=0 needs no change to a program that calls it."""
    with mlflow.start_run() as first:
        autolog(disable=True)
    with mlflow.start_run() as second:
        pass
    monkeypatch.setenv("MLFLOW_SYSMETRICS", "0")
    autolog()
    with mlflow.start_run() as third:
        pass
    assert "elapsed_s" in ended(autolog_client, first)
    assert ended(autolog_client, second) == ended(autolog_client, third) == {}


def test_run_that_began_before_is_named(store_in_use, caplog):
    """It has no metrics, which would be found out at its end."""
    with mlflow.start_run(run_name="early"):
        autolog()
    autolog(disable=True)
    assert "run 'early' is not measured: call autolog() before mlflow.start_run()" in caplog.text
