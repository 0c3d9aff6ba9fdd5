"""What goes into MLflow as a table and comes back: a real store."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from server_here import server_here

from entrypoints import mlflow_io
from entrypoints.mlflow_io import load_json, load_rows, log_tables, runs_with_points


def test_table_comes_back_to_the_last_digit(client: MlflowClient) -> None:
    """Rows of other names, numpy's numbers, lists; what is not finite or not there is null; the UI is told of it."""
    run_id = client.create_run(client.get_experiment_by_name("studies").experiment_id).info.run_id
    rows = [
        {"name": "a", "alpha": 1.2345678901234567e-12, "layers": [8, 4], "loss": float("nan")},
        {"name": "b", "alpha": np.float64(0.1), "count": np.int64(3), "loss": float("inf")},
    ]
    for written in ([{"name": "earlier"}], rows):
        log_tables(client, run_id, {"trials.json": written})
    assert load_json(client, run_id, "trials.json") == {
        "columns": ["name", "alpha", "layers", "loss", "count"],
        "data": [["a", 1.2345678901234567e-12, [8, 4], None, None], ["b", 0.1, None, None, 3]],
    }
    second = {"name": "b", "alpha": 0.1, "layers": None, "loss": None, "count": 3}
    assert load_rows(client, run_id, "trials.json")[1] == second
    shown = json.loads(client.get_run(run_id).data.tags["mlflow.loggedArtifacts"])
    assert shown == [{"path": "trials.json", "type": "table"}]


@pytest.mark.parametrize("served", [False, True], ids=["database", "server"])
def test_points_of_many_runs_come_with_their_runs(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    """In the order that was asked for, whichever way the store gives them; also of a run that was deleted."""
    monkeypatch.setattr(mlflow_io, "CHUNK", 2)
    ids = [client.create_run("1").info.run_id for _ in range(5)]
    for number, run_id in enumerate(ids):
        points = [Metric(name, 10.0 * number + step, 5, step) for name in ("loss", "other") for step in range(number)]
        client.log_batch(run_id, points)
    client.delete_run(ids[3])
    order = [ids[4], ids[1], ids[3], ids[0], ids[2]]

    def told(asked: MlflowClient) -> list[tuple[str, dict[str, list[float]]]]:
        return [
            (run.info.run_id, {name: sorted(each.value for each in found) for name, found in points.items()})
            for run, points in runs_with_points(asked, order, ["loss", "none"])
        ]

    expected = [(run_id, [10.0 * ids.index(run_id) + step for step in range(ids.index(run_id))]) for run_id in order]
    wanted = [(run_id, {"loss": values} if values else {}) for run_id, values in expected]
    if not served:
        assert told(client) == wanted
        return
    with server_here(client.tracking_uri) as address:
        assert told(MlflowClient(address)) == wanted
