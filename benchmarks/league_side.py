"""What runs in an opponent's own environment, for `league.py`: train and log a model, or predict with a logged one.

    python league_side.py train SIDE JOB.json
    python league_side.py predict JOB.json

A job names the files, the store, the score, and the columns of dates. The last line of `train` is the model's address.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

MIN_ROWS = 5  # of a value that gets a column of its own
FLAML_METRICS = {"rmse": "rmse", "error rate": "accuracy", "log loss": "log_loss"}
texts = make_column_selector(dtype_exclude="number")
numbers = make_column_selector(dtype_include="number")


def main(what, *arguments):
    """Do one of the two."""
    job = json.loads(Path(arguments[-1]).read_text())
    if what == "train":
        print(train(arguments[0], job))
    else:
        predict(job)


def train(side, job):
    """Train what somebody would write by hand, log it, and return its address."""
    rows = read(job["train"], job)
    X, y = rows.drop(columns=job["target"]), rows[job["target"]]
    made = {"forest": forest, "boosting": boosting, "FLAML": flaml}[side](job)
    made.fit(X, y)
    mlflow.set_tracking_uri(job["store"])
    logged = mlflow.sklearn.log_model(
        made,
        name="model",
        serialization_format="cloudpickle",
        signature=mlflow.models.infer_signature(X, y),
        input_example=X.head(),
        pip_requirements=["flaml[automl]" if side == "FLAML" else "scikit-learn"],  # to find them out takes long
    )
    return f"models:/{logged.model_id}"


def predict(job: dict[str, Any]) -> None:
    """What a logged model says of the rows that it has not seen: probabilities where the score needs them."""
    mlflow.set_tracking_uri(job["store"])
    if job["kind"] == "ours":
        found = _by_ours(job)
    else:
        X = read(job["test"], job).drop(columns=job["target"])
        model = mlflow.sklearn.load_model(job["model"])
        if job["score"] == "log loss":
            found = model.predict_proba(X)[:, list(model.classes_).index(job["positive"])]
        else:
            found = model.predict(X)
    Path(job["predicted"]).write_text(json.dumps(np.asarray(found).ravel().tolist()))


def _by_ours(job):
    """Ours takes rows as the file has them."""
    model = mlflow.pyfunc.load_model(job["model"])
    rows = pd.read_csv(job["test"]).drop(columns=job["target"])
    if job["score"] == "log loss":
        return model.predict(rows, params={"predict_method": "predict_proba"})[job["positive"]]
    return model.predict(rows)


def read(file, job):
    """A file with its dates as dates, its text as objects, and all features as numbers with room for gaps."""
    rows = pd.read_csv(file, parse_dates=job["dates"])
    for column in rows.columns.drop(job["target"]):
        if pd.api.types.is_numeric_dtype(rows[column]):
            rows[column] = rows[column].astype(float)
        elif column not in job["dates"]:
            rows[column] = rows[column].astype(object)
    return rows


def with_days(X):
    """Dates as days and months."""
    found = X.copy()
    for column in X.select_dtypes("datetime"):
        found[column] = (X[column] - pd.Timestamp(2000, 1, 1)).dt.days.astype(float)
        found[f"{column}_month"] = X[column].dt.month.astype(float)
    return found


def forest(job):
    """A forest with its defaults."""
    encoded = make_column_transformer(
        (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=MIN_ROWS, sparse_output=False), texts),
        (SimpleImputer(), numbers),
    )
    made = RandomForestRegressor if job["score"] == "rmse" else RandomForestClassifier
    return make_pipeline(FunctionTransformer(with_days), encoded, made(random_state=0))


def boosting(job):
    """Boosting with its defaults, which knows gaps and categories."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, min_frequency=MIN_ROWS)
    encoded = make_column_transformer(
        (encoder, texts), ("passthrough", numbers), verbose_feature_names_out=False
    ).set_output(transform="pandas")
    made = HistGradientBoostingRegressor if job["score"] == "rmse" else HistGradientBoostingClassifier
    model = made(categorical_features=job["texts"], random_state=0)
    return make_pipeline(FunctionTransformer(with_days), encoded, model)


def flaml(job):
    """FLAML with a time budget; it reads dates, text and gaps itself."""
    from flaml import AutoML

    return AutoML(
        task="regression" if job["score"] == "rmse" else "classification",
        metric=FLAML_METRICS[job["score"]],
        time_budget=job["seconds"],
        seed=0,
        verbose=0,
        log_file_name="",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
