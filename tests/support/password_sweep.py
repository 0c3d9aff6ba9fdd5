"""A Tune experiment whose driver is told its store's password: ``python password_sweep.py RESULTS [restore]``.

Each trial says that it has begun, waits for the file ``go`` and fails; a restored one does not.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import ray
from ray import tune

from mlflow_sysmetrics.ray_tune import SystemMetricsCallback

TOKEN = "token-7Wd1hush"


def main(results: Path, *, restored: bool) -> None:
    """Run the experiment, or what is left of it."""

    def train(config: dict[str, object]) -> dict[str, float]:
        (results / "begun").touch()
        while not (results / "go").exists():
            time.sleep(0.05)
        if not (results / "well").exists():
            raise RuntimeError("no data")
        return {"loss": 0.5}

    ray.init(num_cpus=1, include_dashboard=False)
    if restored:
        tune.Tuner.restore(str(results / "sweep"), tune.with_resources(train, {"cpu": 1}), restart_errored=True).fit()
        return
    callback = SystemMetricsCallback(os.environ["MLFLOW_TRACKING_URI"], tracking_token=TOKEN, close_timeout_s=3)
    tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"rate": tune.grid_search([0.1])},
        run_config=tune.RunConfig(name="sweep", storage_path=str(results), callbacks=[callback]),
    ).fit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), restored="restore" in sys.argv)
