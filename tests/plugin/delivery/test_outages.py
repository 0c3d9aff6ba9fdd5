"""Outages of a real server, as a training sees them: every reading arrives once, and nobody waits."""

import time
from functools import partial

import mlflow
import pytest
from cases import cases
from faults import FAULTS, FaultProxy
from machines import Ticks, covered
from servers import tracking_server

from mlflow_sysmetrics import Measurement, SystemMetricsLogger
from mlflow_sysmetrics.delivery.sync import deliver

NOT_HELD_S = 30.0  # who waits for a store that hangs, or tries again as MLflow does, waits for minutes
slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def proxy(module_store):
    """A proxy before a server of its own; MLflow's current store is as before afterwards."""
    before = mlflow.get_tracking_uri()
    with tracking_server(module_store) as port, FaultProxy(port) as proxy:
        yield proxy
    mlflow.set_tracking_uri(before)


def train(logger, ticks, readings):
    """Steps of about a millisecond while this number of readings is taken."""
    last = ticks.taken + readings
    while ticks.taken < last:
        with logger.step():
            sum(range(20_000))


@cases("fault", ["hang", *(slow(fault) for fault in FAULTS if fault != "hang")])
@cases("recovers", [False, slow(True)])
def test_every_reading_arrives_once_and_training_is_not_held(fault, recovers, proxy, journals, monkeypatch):
    """The store fails and recovers, or the run ends meanwhile and `sync` delivers; twice, as people do."""
    if not recovers:
        monkeypatch.setattr("mlflow_sysmetrics.recording.logger.DELIVER_S", 1.0)
    mlflow.set_tracking_uri(proxy.uri)
    ticks = Ticks()
    failed_before = proxy.failed
    with mlflow.start_run() as run:
        logger = SystemMetricsLogger(measurement=Measurement(sample=ticks, interval_s=0.05, window_s=0.2))
        logger.start()
        train(logger, ticks, 10)
        proxy.fault = fault
        began = time.monotonic()
        train(logger, ticks, 20)
        while fault != "refuse" and proxy.failed == failed_before:  # the machine stood still
            train(logger, ticks, 1)
        if recovers:
            proxy.fault = None
            train(logger, ticks, 60)
        logger.stop()
        took_s = time.monotonic() - began
        proxy.fault = None
    if not recovers:
        deliver(journals)
        deliver(journals)
    assert covered(run.info.run_id) == [*range(1, ticks.taken + 1)]
    assert list(journals.iterdir()) == []
    assert took_s < NOT_HELD_S
