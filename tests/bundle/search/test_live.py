"""A long trial is live: its points are in the store within seconds, at little cost, while it trains."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field

import pytest
from commands import StartProject, Study, children, copy_store, runs_of_kind, store_uri, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = [pytest.mark.slow, pytest.mark.alone]  # it watches one trial for most of a minute

SEEN_WITHIN_S = 5.0
WATCHED_S = 8.0
ENDED_WITHIN_S = 10.0
LONG = {
    "space": "{batch_size: 256, learning_rate: 0.001, alpha: 0.001}",
    "folds": "3",
    "max_steps": "100000",
    "cpus": "1",
    "report_every": "100",  # else a point each 5,000 steps
}


@dataclass
class Watched:
    """What was seen of a long trial's run by looking into the store every 0.2 s."""

    seconds: float = 0.0
    curve_delays_s: list[float] = field(default_factory=list)
    series_delays_s: list[float] = field(default_factory=list)
    arrivals: int = 0
    status: str = ""
    ended_in_s: float = 0.0
    exit_code: int | None = None


def _trial(client: MlflowClient) -> Run | None:
    """The one trial of the study with these tests' parameters."""
    studies = [run for run in runs_of_kind(client, "study") if run.data.params.get("max_steps") == LONG["max_steps"]]
    trials = children(client, studies[0], "trial") if studies else []
    return trials[0] if trials else None


@pytest.fixture(scope="module")
def watched(study: Study, start_project: StartProject, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Start a study of one long trial, watch its run for a while, and end it as Ctrl-C would."""
    folder = copy_store(study.folder, tmp_path_factory.mktemp("live"))
    client = MlflowClient(store_uri(folder))
    command = start_project("tune", folder, **LONG)
    wait_until(lambda: _trial(client), 120, "the trial's run in the store")
    trial = _trial(client)
    assert trial
    run_id, seen = trial.info.run_id, Watched()
    wait_until(lambda: client.get_metric_history(run_id, "val_rmse"), 30, "the first point in the store")
    known = {name: _times(client, run_id, name) for name in ("val_rmse", "system/process_memory_mb")}
    delays = {"val_rmse": seen.curve_delays_s, "system/process_memory_mb": seen.series_delays_s}
    began = time.time()
    while time.time() < began + WATCHED_S:
        for name, before in known.items():
            after = _times(client, run_id, name)
            looked = time.time()
            if after - before:
                delays[name] += [looked - time_ms / 1000 for time_ms in after - before]
                seen.arrivals += name == "val_rmse"
            known[name] = after
        time.sleep(0.2)
    seen.seconds = time.time() - began
    seen.status = client.get_run(run_id).info.status
    sent = time.monotonic()
    command.signal(signal.SIGINT, group=True)
    seen.exit_code = command.process.wait(3 * ENDED_WITHIN_S)
    seen.ended_in_s = time.monotonic() - sent
    return seen


def _times(client: MlflowClient, run_id: str, name: str) -> set[int]:
    return {point.timestamp for point in client.get_metric_history(run_id, name)}


def test_each_point_is_in_the_store_within_seconds_of_being_measured(watched: Watched) -> None:
    """While the trial trains: those of a curve, and those that the thread reads, one for each half second."""
    assert watched.status == "RUNNING"
    assert len(watched.curve_delays_s) > 5
    assert len(watched.series_delays_s) > WATCHED_S
    assert max(watched.curve_delays_s + watched.series_delays_s) < SEEN_WITHIN_S


def test_points_arrive_in_batches_of_a_second_or_more(watched: Watched) -> None:
    """Far more points than writes: the store sees about one write a second, and it goes on seeing them."""
    assert 3 <= watched.arrivals <= watched.seconds + 2
    assert watched.arrivals < len(watched.curve_delays_s)


def test_interrupt_ends_the_long_trial(watched: Watched) -> None:
    """Nobody has to wait for a hundred thousand steps."""
    assert watched.ended_in_s < ENDED_WITHIN_S
    assert watched.exit_code != 0
