"""What a study's run says of its phases."""

from __future__ import annotations

import contextlib
import time

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from entrypoints.runs import RecordedRun
from entrypoints.search.study_phases import PREPARE, SUMMARY, StudyPhases

EACH_S = 0.1  # of processor time


def use_the_processor() -> None:
    """For a while."""
    until = time.process_time() + EACH_S
    while time.process_time() < until:
        pass


def study(client: MlflowClient, run: Run, error: type[BaseException] | None) -> None:
    """One with three phases, two of the same name, and something before the first."""
    with StudyPhases(RecordedRun.of(client, run)) as phases:
        use_the_processor()
        for name in (SUMMARY, PREPARE, SUMMARY):
            phases.begin(name)
            use_the_processor()
        if error:
            raise error


@pytest.mark.parametrize("error", [pytest.param(None, id="complete"), pytest.param(ValueError, id="failed")])
def test_run_has_the_costs_of_each_phase(error: type[Exception] | None, client: MlflowClient) -> None:
    """A phase that comes twice counts with both times, what is before the first not at all."""
    run, began = client.create_run("1"), time.monotonic()
    with contextlib.suppress(ValueError):
        study(client, run, error)
    took_s = time.monotonic() - began
    costs = client.get_run(run.info.run_id).data.metrics
    units = ("elapsed_s", "cpu_seconds", "peak_memory_mb")
    assert costs.keys() == {f"phase/{name}/{unit}" for name in (PREPARE, SUMMARY) for unit in units}
    assert costs[f"phase/{PREPARE}/cpu_seconds"] == pytest.approx(EACH_S, abs=0.03)
    assert costs[f"phase/{SUMMARY}/cpu_seconds"] == pytest.approx(2 * EACH_S, abs=0.03)
    assert costs[f"phase/{PREPARE}/elapsed_s"] + costs[f"phase/{SUMMARY}/elapsed_s"] < took_s - EACH_S
    assert costs[f"phase/{SUMMARY}/peak_memory_mb"] > 10


def test_interrupted_study_does_not_wait_for_its_store(client: MlflowClient) -> None:
    """Time is short after Ctrl-C."""
    run = client.create_run("1")
    with pytest.raises(KeyboardInterrupt):
        study(client, run, KeyboardInterrupt)
    assert client.get_run(run.info.run_id).data.metrics == {}
