"""Knows nothing of system metrics: the backend watches it from outside."""

import sys

import mlflow
import numpy as np

rows = int(float(sys.argv[1]))
X = np.random.default_rng(0).normal(size=(rows, 50))
with mlflow.start_run():
    mlflow.log_metric("singular_value", float(np.linalg.svd(X, compute_uv=False)[0]))
