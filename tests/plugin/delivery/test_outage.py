"""Outages of a real ``mlflow server``: nothing is lost or doubled, and the training is never held."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from fault_proxy import FAULTS, FaultProxy
from outages import log_through
from tracking_server import tracking_server

HOLD_MS = 20.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def proxy(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """A proxy before a real server on an empty store; MLflow's address is set back at last."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(new_store / "mlflow.db", folder)
    before = mlflow.get_tracking_uri()
    with tracking_server(folder) as port, FaultProxy(port) as proxy:
        yield proxy
    mlflow.set_tracking_uri(before)


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
