"""Tests of delivery.retries. A real ``mlflow server`` that fails: nothing is lost or doubled, no training is held."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from fault_proxy import FAULTS, FaultProxy
from outages import log_through
from tracking_server import tracking_server

from mlflow_sysmetrics.delivery.retries import Outages, pause_after, timeout_after

HOLD_MS = 100.0  # a failing request takes seconds; benchmarks/outage.py says how long training is held


@pytest.mark.parametrize(
    ("failures", "longest_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 16.0), (7, 30.0), (10_000, 30.0)]
)
def test_pause_grows_to_half_a_minute_and_differs_between_clients(failures: int, longest_s: float) -> None:
    """Between half of it and all of it, at random. While a program ends, it does not grow."""
    pauses = [pause_after(failures) for _ in range(200)]
    assert longest_s / 2 <= min(pauses) < longest_s * 0.6
    assert longest_s * 0.9 < max(pauses) <= longest_s
    assert 0.25 <= pause_after(failures, closing=True) <= 0.5


def test_time_for_an_answer_grows_to_half_a_minute() -> None:
    """So that a slow server can answer; while a program ends, it does not grow."""
    assert [timeout_after(failures) for failures in (0, 1, 2, 3, 10_000)] == [5.0, 10.0, 20.0, 30.0, 30.0]
    assert timeout_after(3, closing=True) == 5.0


def test_one_outage_is_told_once_whatever_runs_it_hits(caplog: pytest.LogCaptureFixture) -> None:
    """Two runs fail, a third is written. The run that was told is told again when it is written; all is added up."""
    clock = SimpleNamespace(now=0.0)
    outages, error = Outages(lambda: clock.now), ConnectionError("away")
    for now, call in [
        (10.0, lambda: outages.failed("a", 1, error)),
        (11.0, lambda: outages.failed("b", 1, error)),
        (12.0, lambda: outages.failed("a", 2, error)),
        (15.0, lambda: outages.succeeded("c")),
        (20.0, lambda: outages.failed("b", 2, error)),
        (21.0, lambda: outages.succeeded("a")),
        (22.0, lambda: outages.succeeded("a")),
        (30.0, lambda: outages.failed("c", 1, error)),
        (32.0, outages.answered),
    ]:
        clock.now = now
        call()
    clock.now = 40.0
    assert outages.total_s == 5.0 + 1.0 + 2.0
    assert [record.getMessage() for record in caplog.records] == [
        "MLflow does not take the data of run 'a'; it waits. away",
        "MLflow takes the data of run 'a' again",
        "MLflow does not take the data of run 'c'; it waits. away",
    ]


@pytest.fixture(scope="module")
def proxy(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """A proxy before a real server on an empty store; MLflow's address is set back at last."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(new_store / "mlflow.db", folder)
    before = mlflow.get_tracking_uri()
    with tracking_server(folder) as port, FaultProxy(port) as proxy:
        yield proxy
    mlflow.set_tracking_uri(before)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("recovered_s", [3.0, 0.0], ids=["recovers", "ends_and_syncs"])
def test_every_sample_arrives_once_and_training_is_not_held(
    fault: str, recovered_s: float, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Through an outage in mid-run, and through one at its end with two syncs after it."""
    outcome = log_through(proxy, fault, tmp_path, healthy_s=1.2, failing_s=2.5, recovered_s=recovered_s)
    print(outcome)
    assert outcome.is_whole, outcome
    assert outcome.requests_failed > 0 or fault == "refuse"  # which nobody is there to count
    assert outcome.taken > 50
    assert outcome.longest_hold_ms < HOLD_MS
    assert outcome.stop_s < 2.0 + 1.0
