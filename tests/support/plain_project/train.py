"""Predict the progression of diabetes: a project as anyone may have it, with its metrics in MLflow."""

import argparse
import sys

import mlflow
from sklearn.datasets import load_diabetes
from sklearn.linear_model import SGDRegressor
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--note", default="a first try")
    parser.add_argument("--worst-r2", type=float, default=-100)
    options = parser.parse_args()

    inputs, target = load_diabetes(return_X_y=True, scaled=False)
    train, test, train_target, test_target = train_test_split(inputs, target, random_state=0)
    scaler = StandardScaler().fit(train)
    model = SGDRegressor(eta0=options.rate, random_state=0)
    with mlflow.start_run():
        mlflow.set_tag("note", options.note)
        for epoch in range(options.epochs):
            model.partial_fit(scaler.transform(train), train_target)
            score = model.score(scaler.transform(test), test_target)
            mlflow.log_metric("r2", score, step=epoch)
    print(f"r2 {score:.3f} ({options.note})")
    if score < options.worst_r2:
        sys.exit(f"r2 {score:.3f} is below {options.worst_r2:g}")


if __name__ == "__main__":
    main()
