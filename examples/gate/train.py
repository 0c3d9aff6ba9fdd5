"""Train a model and log how good it is; with `--champion` register it, and let the alias `champion` name it."""

import argparse

import mlflow
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--alpha", type=float, default=0.1)
parser.add_argument("--champion", action="store_true")
given = parser.parse_args()

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=given.seed)
with mlflow.start_run():
    model = Ridge(given.alpha).fit(X_train, y_train)
    mlflow.log_metric("rmse", ((model.predict(X_test) - y_test) ** 2).mean() ** 0.5)
    if given.champion:
        logged = mlflow.sklearn.log_model(model, name="model", registered_model_name="diabetes")
        client = mlflow.MlflowClient()
        client.set_registered_model_alias("diabetes", "champion", logged.registered_model_version)
