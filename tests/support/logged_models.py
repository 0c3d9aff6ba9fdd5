"""What a study's logged model predicts."""

import mlflow
import numpy as np
import pytest
from commands import in_use
from mlflow.artifacts import load_dict

from entrypoints.datasets import known


def check_logged_model(study):
    """It takes the dataset's own columns, and on the test part it has the RMSE that the study states."""
    table = known.load("red_wine")
    (model_id,) = (model.model_id for model in study.run.outputs.model_outputs)
    with in_use(study.folder):
        split = load_dict(f"{study.run.info.artifact_uri}/split.json")
        model = mlflow.pyfunc.load_model(f"models:/{model_id}")
    test = table.frame.iloc[split["test"]]
    assert f'Load it with mlflow.pyfunc.load_model("models:/{model_id}").\n' in study.command.stdout
    error = model.predict(test[list(table.feature_names)]) - test[table.target]
    assert np.sqrt(np.mean(np.square(error))) == pytest.approx(study.run.data.metrics["test_rmse"])
