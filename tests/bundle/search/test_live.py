"""A long trial is live: its points are in the store within seconds, at little cost, while it trains."""

import time

import pytest
from commands import children, copy_store, runs_of_kind, store_uri, wait_until
from mlflow import MlflowClient

SEEN_WITHIN_S = 5.0
WATCHED_S = 8.0
LONG = {
    "space": "{batch_size: 256, learning_rate: 0.001, alpha: 0.001}",
    "folds": "3",
    "length": "60000 steps",  # a point of its curves every few seconds, for a minute or two
    "cpus": "1",
    "served": "none",
}


@pytest.mark.slow
@pytest.mark.alone  # it watches one trial for ten seconds
def test_each_point_is_in_the_store_within_seconds_of_being_measured(study, start_project, tmp_path):
    """While the trial trains: those of a curve, and those that the thread reads, one for each half second."""
    client = MlflowClient(store_uri(copy_store(study.folder, tmp_path)))
    command = start_project("tune", tmp_path, **LONG)

    def trials():
        newest = runs_of_kind(client, "study")[0]
        own = children(client, newest, "trial") if newest.info.run_id != study.run.info.run_id else []
        return [run.info.run_id for run in own]

    def times_ms(name):
        return {point.timestamp for point in client.get_metric_history(run_id, name)}

    wait_until(trials, 600, "the trial's run in the store")
    (run_id,) = trials()
    wait_until(lambda: times_ms("val_rmse"), 600, "the first point in the store")

    def is_live():
        known = {name: times_ms(name) for name in ("val_rmse", "system/process_memory_mb")}
        delays_s = {name: [] for name in known}
        began = time.time()
        while time.time() < began + WATCHED_S:
            for name, before in known.items():
                known[name] = times_ms(name)
                new = known[name] - before
                delays_s[name] += [time.time() - time_ms / 1000 for time_ms in new]
            time.sleep(0.2)
        of_curve, of_series = delays_s.values()
        within = max(of_curve + of_series, default=SEEN_WITHIN_S) < SEEN_WITHIN_S
        return within and len(of_curve) > 0 and len(of_series) > WATCHED_S

    assert any(is_live() for _ in range(3))  # a machine may stand still for seconds
    assert client.get_run(run_id).info.status == "RUNNING"
    command.kill()
