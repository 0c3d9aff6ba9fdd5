"""A Ray Tune script: each trial is an MLflow run with what its own process used; one that takes too much is ended."""

import time

from ray import tune

from mlflow_sysmetrics import SystemMetricsCallback


def train(config):
    kept = []
    for step in range(20):
        kept.append(bytearray(config["megabytes"] * 1_000_000))
        time.sleep(0.1)
        tune.report({"loss": 1 / (step + 1)})


results = tune.Tuner(
    train,
    param_space={"megabytes": tune.grid_search([1, 30])},
    run_config=tune.RunConfig(
        callbacks=[SystemMetricsCallback(limits="memory_growth_mb<=200")],
        verbose=0,
    ),
).fit()
print({result.config["megabytes"]: result.metrics["training_iteration"] for result in results})
