"""What is seen of processes on two nodes, one of which dies: `python tests/support/watched_nodes.py CLASS DB`.

One case has the package on every node, in the other only this process has it. CLASS and DB, which every script of
cases is given, are not used.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import ray
from commands import wait_until
from observations import Observed, tell
from ray_nodes import ray_nodes
from tune_sweeps import CallbackClass, Place

import mlflow_sysmetrics
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.ray_tune import trial_watches
from mlflow_sysmetrics.tags import HOST_PREFIX

WITHIN_S = 60.0


class Seen(logging.Handler):
    """What the watching thread logs and warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.points: Counter[str] = Counter()
        self.tags: dict[str, dict[str, str]] = {}
        self.figures: dict[str, dict[str, float]] = {}
        self.warnings: list[str] = []

    def log(self, key: str, points: list[Point], tags: Mapping[str, str]) -> None:
        self.points[key] += len(points)
        self.tags.setdefault(key, {}).update(tags)

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(record.getMessage())


def nodes_with_the_package(callback: CallbackClass, here: Place) -> Observed:
    """Both processes are read until the other node dies, and then the one here alone."""
    return _watched(here, {"py_modules": [mlflow_sysmetrics]})


def nodes_without_the_package(callback: CallbackClass, here: Place) -> Observed:
    """The one here is read."""
    return _watched(here, {})


def _watched(here: Place, runtime_env: dict[str, Any]) -> Observed:
    logging.disable(logging.NOTSET)
    seen = Seen()
    trial_watches.logger.addHandler(seen)
    with ray_nodes(here.folder, [1, 1]) as nodes:
        ray.init(nodes.address, runtime_env=runtime_env, log_to_driver=False, logging_level=logging.ERROR)

        @ray.remote(num_cpus=1)
        class Trial:
            def node(self) -> str:
                return str(ray.get_runtime_context().get_node_id())

        trials = [Trial.remote() for _ in range(2)]  # type: ignore[attr-defined]
        by_node = {ray.get(trial.node.remote()): trial for trial in trials}
        (other,) = nodes.ask("others")
        watched = trial_watches.TrialWatches(("process",), 0.1, seen.log)
        watched.start()
        for node_id, trial in by_node.items():
            watched.watch("there" if node_id == other else "here", trial)
        wait_until(lambda: seen.points["here"] and (seen.points["there"] or seen.warnings), WITHIN_S, "readings")
        before = Counter(seen.points)
        nodes.ask("kill", other)
        wait_until(lambda: seen.points["here"] > before["here"] and seen.warnings, WITHIN_S, "news of the death")

        def release(key: str) -> threading.Event:
            ended = threading.Event()

            def end(figures: dict[str, float], death: Mapping[str, str]) -> None:
                seen.figures[key] = figures
                ended.set()

            watched.release(key, end)
            return ended

        ended = {key: release(key) for key in ("here", "there")}
        in_time = {key: event.wait(WITHIN_S) for key, event in ended.items()}
        watched.close(WITHIN_S)
        ray.shutdown()
    trial_watches.logger.removeHandler(seen)
    return {
        "nodes": len(by_node),
        "points": before,
        "hosts": {key: {"sysmetrics.node", "sysmetrics.pid"} <= tags.keys() for key, tags in seen.tags.items()},
        "facts": {
            key: {name: value for name, value in tags.items() if name.startswith(HOST_PREFIX)}
            for key, tags in seen.tags.items()
        },
        "figures": seen.figures,
        "ended": in_time,
        "warnings": seen.warnings,
    }


if __name__ == "__main__":
    cases = [nodes_with_the_package, nodes_without_the_package]
    tell(cases, sys.argv[1], sys.argv[2], without_ray=[case.__name__ for case in cases])
