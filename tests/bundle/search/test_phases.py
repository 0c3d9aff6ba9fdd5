"""What a study's run says of its phases."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from mlflow import MlflowClient

from entrypoints.runs import RecordedRun
from entrypoints.search.phases import PREPARE, SUMMARY, Phases

EACH_S = 0.1  # of processor time


def _use_the_processor() -> None:
    until = time.process_time() + EACH_S
    while time.process_time() < until:
        pass


def _costs(client: MlflowClient, error: type[BaseException] | None) -> dict[str, float]:
    """What the run of a study holds that has something before its phases, and one of them twice."""
    run = client.create_run("1")
    with contextlib.suppress(ValueError, KeyboardInterrupt), Phases(RecordedRun.of(client, run)) as phases:
        _use_the_processor()
        for name in (SUMMARY, PREPARE, SUMMARY):
            phases.begin(name)
            _use_the_processor()
        if error:
            raise error
    return dict(client.get_run(run.info.run_id).data.metrics)


@pytest.mark.parametrize("error", [pytest.param(None, id="complete"), pytest.param(ValueError, id="failed")])
def test_run_has_the_costs_of_each_phase(
    error: type[Exception] | None, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """A phase that comes twice counts with both times, what is before the first not at all.

    The terminal has the times of a study that is complete, with what came before.
    """
    costs = _costs(client, error)
    units = ("elapsed_s", "cpu_seconds", "peak_memory_mb")
    assert costs.keys() == {f"phase/{name}/{unit}" for name in (PREPARE, SUMMARY) for unit in units}
    assert costs[f"phase/{PREPARE}/cpu_seconds"] == pytest.approx(EACH_S, abs=0.05)
    assert costs[f"phase/{SUMMARY}/cpu_seconds"] == pytest.approx(2 * EACH_S, abs=0.05)
    assert costs[f"phase/{SUMMARY}/peak_memory_mb"] > 10
    said = r"Time since the command's run was created: start \d\.\d s, summary \d\.\d s, prepare \d\.\d s\n"
    assert re.fullmatch("" if error else said, capsys.readouterr().out)


def test_interrupted_study_does_not_wait_for_its_store(client: MlflowClient) -> None:
    """Time is short after Ctrl-C."""
    assert _costs(client, KeyboardInterrupt) == {}
