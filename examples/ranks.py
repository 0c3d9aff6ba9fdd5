"""Four processes of one job in one run, with the variables that torchrun sets. Each has its figures, the run all."""

import multiprocessing
import os

import mlflow
import numpy as np

from mlflow_sysmetrics import SystemMetricsLogger

RANKS = 4


def work(rank: int, run_id: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS), MLFLOW_RUN_ID=run_id)
    with SystemMetricsLogger() as logger:
        with logger.phase("load"):
            X = np.random.default_rng(rank).normal(size=(200_000 * (rank + 1), 10))
        with logger.phase("train"):
            for _ in range(20):
                X @= np.eye(10)


if __name__ == "__main__":
    run_id = mlflow.MlflowClient().create_run("0", run_name="ranks").info.run_id
    processes = [
        multiprocessing.get_context("spawn").Process(target=work, args=(rank, run_id)) for rank in range(RANKS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    mlflow.MlflowClient().set_terminated(run_id)
    metrics = mlflow.get_run(run_id).data.metrics
    print(f"{metrics['ranks']:.0f} ranks, {metrics['peak_memory_mb']:.0f} MB together")
