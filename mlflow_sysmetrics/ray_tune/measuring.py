"""What the trials' processes use, measured from outside on their nodes: training need not cooperate, or slow down."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mlflow_sysmetrics.delivery import RunHandle, window_points
from mlflow_sysmetrics.guard import never_raises
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.limits import MemoryKills
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.ray_tune.inside import Located
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION
from mlflow_sysmetrics.tags import MEMORY_DEFINITION as DEFINED_AS
from mlflow_sysmetrics.tags import NODE, PID

DRAIN_EVERY_S = 1.0
_PACKAGE = "mlflow_sysmetrics (installed, or by ray.init(runtime_env={'py_modules': [mlflow_sysmetrics]}))"


class Used(NamedTuple):
    """What a process used until it was released."""

    windows: list[Window]  # the last ones
    summary: dict[str, float]
    death: Mapping[str, str]  # tags that say how it died; {} if it lives


class NodeMeasurements:
    """The measured processes of one node, by number. Nothing raises."""

    def __init__(self) -> None:
        self._host_tags = Host().tags()
        self._measured: dict[int, tuple[Measurement, MemoryKills]] = {}

    def start(self, number: int, pid: int) -> dict[str, str]:
        """Measure this process, if it is there; return tags that say what its node is."""
        with suppress(ValueError):
            self._measured[number] = Measurement(pid).start(), MemoryKills(pid)
        return {DEFINED_AS: MEMORY_DEFINITION, **self._host_tags}

    def drain(self, number: int) -> list[Window]:
        """The windows of a process that have closed since the last call."""
        if number not in self._measured:
            return []
        measurement, kills = self._measured[number]
        kills.look()
        return measurement.drain()

    def stop(self, number: int) -> Used | None:
        """Release a process; None if it was gone before."""
        if number not in self._measured:
            return None
        measurement, kills = self._measured.pop(number)
        is_gone = not measurement.interval()  # where its memory can be read, this holds it
        summary = measurement.stop()
        death = kills.death(summary, kills.happened(), "its process was gone") if is_gone else {}
        return Used(measurement.drain(), summary, death)


class Nodes:
    """The measurements on all nodes. Other nodes than this have an actor each, until `close`. Nothing raises."""

    def __init__(self) -> None:
        self._nodes: dict[str, Any] = {}  # by Ray's id: a node that comes back has another
        self._numbers = itertools.count()  # of processes
        self._lock = threading.Lock()

    def measure(self, located: Located, released: threading.Event, run: RunHandle) -> Used | None:
        """Log what a process uses until it is released, and on which node; return None if that is unknown."""
        node_id, host, pid = located.result()
        number = next(self._numbers)
        node_tags = self._ask(node_id, "start", number, pid) or {}
        run.log(tags={NODE: host, PID: str(pid), **node_tags})
        while not released.wait(DRAIN_EVERY_S):
            run.log(window_points(self._ask(node_id, "drain", number) or []))
        used: Used | None = self._ask(node_id, "stop", number)  # if the node has died, that may take time
        if used is not None:
            run.log(window_points(used.windows))
        return used

    def close(self) -> None:
        """End what runs on other nodes; else it lives until Python's collector finds it."""
        for node in self._nodes.values():
            with suppress(Exception):  # this node's is not an actor, and Ray may have ended before
                ray.kill(node)

    def _ask(self, node_id: str, method: str, *arguments: Any) -> Any:
        """Wait for the answer of a node's measurements; None if there is none."""
        with never_raises(f"measuring the processes of node {node_id}, which needs the package {_PACKAGE},"):
            with self._lock:
                if node_id not in self._nodes:
                    self._nodes[node_id] = self._measurements_on(node_id)
            node = self._nodes[node_id]
            call = getattr(node, method)
            return call(*arguments) if isinstance(node, NodeMeasurements) else ray.get(call.remote(*arguments))
        return None

    def _measurements_on(self, node_id: str) -> Any:
        if node_id == ray.get_runtime_context().get_node_id():
            return NodeMeasurements()
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        return ray.remote(num_cpus=0, scheduling_strategy=there)(NodeMeasurements).remote()
