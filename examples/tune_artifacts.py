"""A Ray Tune script whose trials log a file each into their own MLflow runs."""

import mlflow
from ray import tune

from mlflow_sysmetrics import SystemMetricsCallback
from mlflow_sysmetrics.ray_tune import trial_run


def train(config):
    for step in range(5):
        tune.report({"loss": config["rate"] / (step + 1)})
    with trial_run():  # the run goes on after it: the callback ends it
        mlflow.log_dict({"rate": config["rate"], "steps": 5}, "model.json")


tune.Tuner(
    train,
    param_space={"rate": tune.grid_search([0.1, 1.0])},
    run_config=tune.RunConfig(callbacks=[SystemMetricsCallback()], verbose=0),
).fit()
