"""A model that predicts 0 for each row: a request to it takes what MLflow's server takes. MLflow runs this file."""

from __future__ import annotations

from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Nothing(PythonModel):
    def predict(self, context: Any, model_input: Any, params: Any = None) -> list[float]:
        return [0.0] * len(model_input)


set_model(Nothing())
