"""A scikit-learn script: where its time and its memory go."""

import mlflow
import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import SGDClassifier

from mlflow_sysmetrics import SystemMetricsLogger

with mlflow.start_run(run_name="sklearn script"), SystemMetricsLogger() as logger:
    with logger.phase("load"):
        X, y = make_classification(n_samples=100_000, n_features=50, random_state=0)
    model = SGDClassifier(random_state=0)
    with logger.phase("train"):
        for batch in logger.timed(np.array_split(np.arange(len(X)), 200)):  # each turn is a step
            model.partial_fit(X[batch], y[batch], classes=[0, 1])
    with logger.phase("score"):
        accuracy = model.score(X, y)
    mlflow.log_metric("accuracy", accuracy)
    print(f"accuracy {accuracy:.3f}")
