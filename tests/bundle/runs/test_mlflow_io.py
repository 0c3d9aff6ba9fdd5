"""What goes into MLflow as a table and comes back: a real store."""

import json

import numpy as np

from entrypoints.runs.mlflow_io import load_json, load_rows, log_tables


def test_table_comes_back_to_the_last_digit(client):
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
    assert load_rows(client, run_id, "trials.json")[1]["layers"] is None
    shown = json.loads(client.get_run(run_id).data.tags["mlflow.loggedArtifacts"])
    assert shown == [{"path": "trials.json", "type": "table"}]
