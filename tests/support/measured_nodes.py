"""What is seen of trials on two nodes: `python tests/support/measured_nodes.py DB`.

In two cases the package is on every node, and in the second of them one dies; in the other only this process has it.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import ray
from observations import Observed, tell
from ray import tune
from ray_nodes import Nodes, ray_nodes
from tune_sweeps import AtResult, Place, fit, tuner

import mlflow_sysmetrics
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.tags import HOST_PREFIX


class Warnings(logging.Handler):
    """What is warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def actors() -> int:
    """The processes that measure others."""
    lines = (" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"]))
    return sum("NodeMeasurements" in line for line in lines)


def with_the_package(nodes: Nodes, here: Place) -> Observed:
    """A trial on each node. The other node dies in the course of it."""
    return _measured(nodes, here, {"py_modules": [mlflow_sysmetrics]}, dies=True)


def with_the_package_to_the_end(nodes: Nodes, here: Place) -> Observed:
    """The same without a death: afterwards nothing is left on the other node, though the callback is."""
    return _measured(nodes, here, {"py_modules": [mlflow_sysmetrics]})


def without_the_package(nodes: Nodes, here: Place) -> Observed:
    """The trial here is measured."""
    return _measured(nodes, here, {})


def _measured(nodes: Nodes, here: Place, runtime_env: dict[str, Any], *, dies: bool = False) -> Observed:
    logging.disable(logging.NOTSET)
    seen, logger = Warnings(), logging.getLogger("mlflow_sysmetrics.ray_tune.measuring")
    logger.addHandler(seen)
    counts: list[int] = []
    ray.init(nodes.address, runtime_env=runtime_env, log_to_driver=False, logging_level=logging.ERROR)
    (other,) = nodes.ask("others")

    def train(config: dict[str, Any]) -> None:
        import time

        for _ in range(40):
            time.sleep(0.3)
            tune.report({"loss": 1.0, "node": ray.get_runtime_context().get_node_id()})

    def act() -> None:
        counts.append(actors())
        if dies:
            nodes.ask("kill", other)

    kept = SystemMetricsCallback(here.uri, experiment_name="x")
    error = fit(tuner([kept, AtResult(25, act, here.folder / "acted")], [{}, {}], trainable=train))
    counts.append(actors())
    ray.shutdown()
    logger.removeHandler(seen)
    runs = {"there" if run.info.status == "FAILED" else "here": run for run in here.trials()} if dies else {}
    runs = runs or {run.info.run_id: run for run in here.trials()}
    return {
        "error": error,
        "runs": {
            key: {
                "points": len(here.history(run, "system/process_memory_mb")),
                "summary": sorted(name for name in run.data.metrics if name in ("elapsed_s", "peak_memory_mb")),
                "facts": {name: tag for name, tag in run.data.tags.items() if name.startswith(HOST_PREFIX)},
                "has_host": {"sysmetrics.node", "sysmetrics.pid"} <= run.data.tags.keys(),
            }
            for key, run in runs.items()
        },
        "warnings": seen.said,
        "actors": counts,
    }


if __name__ == "__main__":
    cases = [with_the_package_to_the_end, without_the_package, with_the_package]  # whose node does not come back
    with tempfile.TemporaryDirectory() as folder, ray_nodes(Path(folder), [1, 1]) as nodes:
        tell(cases, sys.argv[1], nodes, without_ray=[case.__name__ for case in cases])
