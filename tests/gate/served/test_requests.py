"""Which columns of a user's rows a model is asked for."""

import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema

from mlflow_gate.served import ServedModel, table_of


def test_rows_may_lack_a_column_that_the_signature_calls_optional():
    takes = Schema([ColSpec("double", "a"), ColSpec("double", "b", required=False)])
    model = ServedModel("models:/m/1", "", Model(signature=ModelSignature(takes)))
    rows = pd.DataFrame({"a": [1.0], "c": [2.0]})
    assert list(table_of(model, rows)) == ["a"]
