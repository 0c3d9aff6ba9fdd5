"""Tables that the project does not know, from the command line to a model that predicts from raw columns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import Command, clean_environment, project_line, runs_of_kind, store_uri
from mlflow import MlflowClient

from entrypoints.datasets import openml_source

OPENML_ID = 61
SMALL = {"space": "{batch_size: 32, learning_rate: 0.01, alpha: 0.001}", "folds": "3", "max_steps": "300"}
PREDICT = """
import sys, mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
raw = pd.DataFrame({"size": [1.5, None], "colour": ["red", "ultraviolet"], "price": [3.0, 40.0]})
print(list(model.predict(raw)))
"""


def _orders() -> pd.DataFrame:
    """A table with missing numbers, missing and text categories, and a text target that the numbers decide."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.normal(size=400), "colour": random.choice(["red", "green", "blue"], 400)})
    frame["price"] = random.gamma(2.0, 10.0, 400)
    frame["returned"] = np.where(frame["price"] + 5 * frame["size"] > 20, "yes", "no")
    frame.loc[::7, "size"] = np.nan
    frame.loc[::11, "colour"] = None
    return frame


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["openml", "parquet"])
def test_any_table_ends_in_a_model_for_raw_columns(
    kind: str, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by id or as a file, searched and refitted, it predicts a row with gaps and a new category."""
    dataset = {"openml": f"openml:{OPENML_ID}", "parquet": "orders.parquet"}[kind]
    data = {"MLFLOW_SYSMETRICS_DATA": str(empty_store / "cache")}
    monkeypatch.setenv(*next(iter(data.items())))
    frame = _orders()
    if kind == "parquet":
        frame.to_parquet(empty_store / dataset, index=False)
    else:
        frame.attrs = {"name": "orders", "target": "returned", "licence": "CC0"}
        openml_source.keep(OPENML_ID, frame, pytest.fail)
    params = {"dataset": dataset, **SMALL} | ({} if kind == "openml" else {"target": "returned"})
    command = Command(
        project_line("tune", params),
        cwd=empty_store,
        output=empty_store / "output",
        env=clean_environment(**data),
        warm=True,
    ).wait()
    assert command.exit_code == 0, command.stderr
    client = MlflowClient(store_uri(empty_store))
    (study,) = runs_of_kind(client, "study")
    assert study.data.tags["sysmetrics.data_source"] == ("cache" if kind == "openml" else "file")
    assert study.data.metrics["best_val_accuracy"] > 0.9

    predicted = subprocess.run(
        [sys.executable, "-c", PREDICT, f"models:/{study.outputs.model_outputs[0].model_id}"],
        cwd=empty_store,
        env=clean_environment(MLFLOW_TRACKING_URI=store_uri(empty_store)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert predicted.stdout.strip().splitlines()[-1].replace("np.str_", "").translate(str.maketrans("", "", "()")) == (
        "['no', 'yes']"
    )
