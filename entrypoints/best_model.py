"""The study's result: the best configuration refitted on the whole training part, as a model for raw columns."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from entrypoints.cross_validation import Configuration, Fold
from entrypoints.errors import UserError
from entrypoints.learners import score_name
from entrypoints.prepared import Prepared
from entrypoints.preprocessing import Preprocessing, transformer
from entrypoints.runs import RecordedRun

MODEL_NAME = "model"
REQUIREMENTS = ("scikit-learn", "numpy", "scipy", "pandas", "cloudpickle")


@dataclass(frozen=True)
class BestModel:
    """A pipeline that takes a frame of the raw feature columns, and its one score on the test part."""

    pipeline: Pipeline
    figures: dict[str, float]


def refit(config: dict[str, Any], data: Prepared) -> BestModel:
    """Train a configuration on the whole training part for as long as a trial, and score it once on the test part.

    Raises:
        UserError: it diverges there, as it did on no fold.
    """
    configuration = Configuration.from_dict(config)
    train, preprocessing = data.split.train, data.fit_preprocessing(data.split.train)
    scaling = preprocessing.scaling
    fold = Fold(configuration, data, len(data.split.folds), train, data.split.test, preprocessing)
    try:
        for _ in range(configuration.steps(len(train))):
            fold.step()
    except FloatingPointError:
        raise UserError(
            f"learning_rate={configuration.learning_rate}: the best trial's model diverges when it is trained on the "
            "whole training part; leave this rate out of learning_rates"
        ) from None
    loss, score = fold.test()
    estimator = fold.learner.estimator
    if data.task == "regression":
        # A linear model's target scaling is part of its weights, so that it predicts in the target's own units.
        estimator.coef_ = estimator.coef_ * scaling.y_scale
        estimator.intercept_ = estimator.intercept_ * scaling.y_scale + scaling.y_mean
    else:
        estimator.classes_ = np.array(data.classes)
    pipeline = make_pipeline(_fitted_transformer(preprocessing, data), estimator)
    return BestModel(pipeline, {f"test_{score_name(data.task)}": score, "test_loss": loss})


def log(run: RecordedRun, best: BestModel, data: Prepared) -> None:
    """Log the pipeline to the study's run with signature and input example: ``mlflow.pyfunc.load_model`` serves it."""
    example = data.frame(data.split.train[:5])
    mlflow.sklearn.log_model(
        best.pipeline,
        name=MODEL_NAME,
        signature=infer_signature(example, best.pipeline.predict(example)),
        input_example=example,
        # Named here: inferring them starts a process that loads the model, which takes longer than the refit.
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        skops_trusted_types=["numpy.dtype"],  # what a fitted SimpleImputer holds
    )


def _fitted_transformer(preprocessing: Preprocessing, data: Prepared) -> StandardScaler | ColumnTransformer:
    """The preprocessing that was trained with, as scikit-learn's own."""
    if data.categories or preprocessing.has_missing:
        numeric = [name for name in data.feature_names if name not in data.categories]
        return transformer(numeric, list(data.categories)).fit(data.frame(data.split.train))
    # A large table of numbers is not copied to fit it again: what is known already is put in.
    scaler = StandardScaler()
    scaler.fit(data.frame(data.split.train[:2]))  # sets what scikit-learn checks: the names and number of columns
    scaling = preprocessing.scaling
    scaler.mean_, scaler.scale_, scaler.var_ = scaling.mean, scaling.scale, scaling.scale**2
    scaler.n_samples_seen_ = len(data.split.train)
    return scaler
