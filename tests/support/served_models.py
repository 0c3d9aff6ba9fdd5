"""Models of a few lines, logged in a store: what tests of served models serve."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import mlflow
import pandas as pd
from commands import in_use
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

ROWS = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]})
TAKES = ModelSignature(Schema([ColSpec("double", "a"), ColSpec("double", "b")]), Schema([ColSpec("double")]))

HOW = ParamSchema([ParamSpec("predict_method", "string", "predict")])
ASKED_HOW = ModelSignature(TAKES.inputs, Schema([ColSpec("string")]), HOW)


class Sum(mlflow.pyfunc.PythonModel):
    """Adds the columns, and something to each sum; with a price in CPU time and memory."""

    def __init__(self, plus=0.0, loops=0, megabytes=0):
        self._plus = plus
        self._loops = loops
        self._kept = bytes(megabytes * 1_000_000)

    def predict(self, context, model_input):
        sum(range(self._loops))
        return model_input.sum(axis=1) + self._plus


class Chance(Sum):
    """Says yes where the sum is large, or with `predict_method` how likely that is."""

    def predict(self, context, model_input, params=None):
        p = (model_input.sum(axis=1) / 2).clip(0.01, 0.99) ** (1 + self._plus)
        if params and params["predict_method"] == "predict_proba":
            return pd.DataFrame({"yes": p, "no": 1 - p})
        return (p > 0.5).map({True: "yes", False: "no"})


class LacksPackage(Sum):
    def load_context(self, context):
        import no_such_package  # noqa: F401


class Hangs(Sum):
    def predict(self, context, model_input):
        time.sleep(3600)


@dataclass
class Models:
    """Addresses of models by name, and the store that has them."""

    folder: Path
    client: MlflowClient
    uris: dict


def log_models(folder):
    """Log them in the store of a folder; version 1 of the registered model `sum` is its champion."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no server can import this module
    made = {
        "sum": (Sum(), {"input_example": ROWS, "registered_model_name": "sum"}),
        "copy": (Sum(), {"signature": TAKES}),
        "worse": (Sum(plus=0.1, megabytes=20), {"signature": TAKES}),
        "chance": (Chance(), {"signature": ASKED_HOW}),
        "other chance": (Chance(plus=1.0), {"signature": ASKED_HOW}),
        "lacks package": (LacksPackage(), {"signature": TAKES}),
        "hangs": (Hangs(), {"signature": TAKES}),
        "no table": (Sum(), {"input_example": {"question": "why?"}}),
    }
    uris = {}
    with in_use(folder) as client:
        for name, (model, options) in made.items():
            info = mlflow.pyfunc.log_model(name=name, python_model=model, pip_requirements=[], **options)
            uris[name] = f"models:/{info.model_id}"
        client.set_registered_model_alias("sum", "champion", "1")
    return Models(folder, client, uris)
