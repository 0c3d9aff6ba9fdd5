"""Outages of a real server, as a training sees them: every reading arrives once, and nobody waits."""

import mlflow
import pytest
from commands import wait_until
from fault_proxy import FAULTS, FaultProxy
from outages import log_through
from tracking_server import tracking_server

from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.delivery.writer import Writer


@pytest.fixture(scope="module")
def proxy(module_store):
    """A proxy before a server of its own; MLflow's current store is as before afterwards."""
    before = mlflow.get_tracking_uri()
    with tracking_server(module_store) as port, FaultProxy(port) as proxy:
        yield proxy
    mlflow.set_tracking_uri(before)


FIRST = ("hang", 0.0)
OTHERS = [(fault, recovered_s) for fault in FAULTS for recovered_s in (3.0, 0.0) if (fault, recovered_s) != FIRST]


@pytest.mark.parametrize(
    ("fault", "recovered_s"), [FIRST, *(pytest.param(*other, marks=pytest.mark.slow) for other in OTHERS)]
)
def test_every_reading_arrives_once_and_training_is_not_held(fault, recovered_s, proxy, tmp_path, monkeypatch):
    """The store fails and recovers, or the run ends meanwhile and `sync` delivers; twice, as people do."""
    if not recovered_s:
        monkeypatch.setattr("mlflow_sysmetrics.logger.DELIVER_S", 1.0)
    outcome = log_through(proxy, fault, tmp_path / "journals", healthy_s=0.5, failing_s=1.0, recovered_s=recovered_s)
    print(outcome)
    assert outcome.is_whole
    assert outcome.taken > 20
    assert fault == "refuse" or outcome.requests_failed > 0
    assert outcome.longest_hold_ms < 1500  # who waits for the store waits for two seconds at least
    assert outcome.stop_s < 30  # a store that hangs would hold it for good


@pytest.mark.parametrize("fault", ["die", "empty"])
def test_run_whose_creation_was_answered_in_vain_is_made_once(fault, proxy):
    """The answer is cut off or empty: the run is found by its key, and gets what waits for it."""
    failed_before = proxy.failed
    proxy.fault = fault
    writer = Writer(Store(proxy.uri))
    run = writer.create("0")
    wait_until(lambda: proxy.failed > failed_before, 20.0, "the creation")
    proxy.fault = None
    assert run.close(20.0)
    found = mlflow.MlflowClient(proxy.uri).search_runs(["0"], f"tags.`sysmetrics.run_key` = '{run.key}'")
    assert [stored.info.run_id for stored in found] == [run.run_id]
