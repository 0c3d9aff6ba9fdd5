"""Models of a few lines, logged in a store: what tests of served models serve."""

import sys
import time
from types import SimpleNamespace

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
from commands import in_use
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

ROWS = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]})
TAKES = infer_signature(ROWS, ROWS["a"])
ASKED_HOW = infer_signature(ROWS, pd.Series(["yes"]), {"predict_method": "predict"})


class Sum(mlflow.pyfunc.PythonModel):
    """Adds the columns, and something to each sum; with a price in memory."""

    def __init__(self, plus=0.0, megabytes=0):
        self._plus = plus
        self._kept = bytes(megabytes * 1_000_000)

    def predict(self, context, model_input):
        return model_input.sum(axis=1) + self._plus


class Chance(Sum):
    """Says yes where the sum is large, or with `predict_method` how likely that is."""

    def predict(self, context, model_input, params=None):
        p = (model_input.sum(axis=1) / 2).clip(0.01, 0.99) ** (1 + self._plus)
        if params and params["predict_method"] == "predict_proba":
            return pd.DataFrame({"yes": p, "no": 1 - p})
        return (p > 0.5).map({True: "yes", False: "no"})


class Nameless(Chance):
    """The same, without the names of its two columns."""

    def predict(self, context, model_input, params=None):
        return super().predict(context, model_input, params).to_numpy()


def grades(sureness):
    """A scikit-learn model with the classes "10" and "2", in this order: "2" where the sum is large."""
    x = pd.DataFrame(np.random.default_rng(0).random((200, 2)), columns=["a", "b"])
    model = LogisticRegression().fit(x, np.where(x.sum(axis=1) > 1, "2", "10"))
    model.coef_ *= sureness
    model.intercept_ *= sureness
    return model


class LacksPackage(Sum):
    def load_context(self, context):
        import no_such_package  # noqa: F401


class Hangs(Sum):
    def predict(self, context, model_input):
        time.sleep(3600)


def log_models(folder):
    """Log them in the store of a folder; version 1 of the registered model `sum` is its champion.

    Return the addresses of the models by name, and the store that has them.
    """
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no server can import this module
    made = {
        "sum": (Sum(), {"input_example": ROWS, "registered_model_name": "sum"}),
        "copy": (Sum(), {"signature": TAKES}),
        "worse": (Sum(plus=0.1, megabytes=20), {"signature": TAKES}),
        "chance": (Chance(), {"signature": ASKED_HOW}),
        "other chance": (Chance(plus=1.0), {"signature": ASKED_HOW}),
        "nameless": (Nameless(), {"signature": ASKED_HOW}),
        "lacks package": (LacksPackage(), {"signature": TAKES}),
        "hangs": (Hangs(), {"signature": TAKES}),
        "no table": (Sum(), {"input_example": {"question": "why?"}}),
    }
    uris = {}
    with in_use(folder) as client:
        for name, (model, options) in made.items():
            info = mlflow.pyfunc.log_model(name=name, python_model=model, pip_requirements=[], **options)
            uris[name] = f"models:/{info.model_id}"
        for name, sureness in (("grades", 1.0), ("unsure grades", 0.2)):
            options = {"signature": TAKES, "pyfunc_predict_fn": "predict_proba", "pip_requirements": []}
            info = mlflow.sklearn.log_model(grades(sureness), name=name, **options)
            uris[name] = f"models:/{info.model_id}"
        client.set_registered_model_alias("sum", "champion", "1")
    return SimpleNamespace(folder=folder, client=client, uris=uris)
