"""What the trials' processes use, measured from outside on their nodes: training need not cooperate, or slow down."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.delivery import Run, window_points
from mlflow_sysmetrics.limits import Limits, MemoryKills, Stop
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.ray_tune.inside import ProcessPlace
from mlflow_sysmetrics.recording.host import Host
from mlflow_sysmetrics.recording.outcome import Outcome
from mlflow_sysmetrics.recording.tags import MEMORY_DEFINITION as DEFINED_AS
from mlflow_sysmetrics.recording.tags import NODE, PID
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION

_PACKAGE = "mlflow_sysmetrics (installed, or by ray.init(runtime_env={'py_modules': [mlflow_sysmetrics]}))"


class Reading(NamedTuple):
    """What was read of a process since the last time, and at the end what it used in all."""

    windows: list[Window]
    tags: Mapping[str, str]  # of its node, in the first one
    broken: Outcome | None = None  # of a trial whose process has broken a limit
    summary: dict[str, float] | None = None
    death: Mapping[str, str] = {}  # tags that say how it died, if it did


class MeasuredProcess:
    """A process of this node, whose limits are judged at each reading. ValueError where it is gone."""

    def __init__(self, pid: int, limits: Limits) -> None:
        self.measurement = Measurement(pid)
        self.kills = MemoryKills(pid)
        self.broken: Outcome | None = None
        self.measurement.limit(limits, self._note).start()

    def _note(self, stop: Stop) -> None:
        self.broken = stop.outcome(f"after {self.measurement.elapsed_s:.1f} s")


class NodeMeasurements:
    """The measured processes of one node, by number; None for one that was gone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tags = {DEFINED_AS: MEMORY_DEFINITION, **Host().tags()}
        self._processes: dict[int, MeasuredProcess | None] = {}

    def read(self, number: int, pid: int, is_last: bool) -> Reading:
        """What was read of a process since the last call. The first call begins to measure it, the last one ends it."""
        tags: Mapping[str, str] = {}
        if number not in self._processes:
            tags = self._tags
            self._processes[number] = self._measured(pid)
        process = self._processes[number]
        if process is None:
            return Reading([], tags)
        if not is_last:
            process.kills.look()
            return Reading(process.measurement.drain(), tags, process.broken)
        del self._processes[number]
        is_gone = not process.measurement.interval()  # where its memory can be read, this holds it
        summary = process.measurement.stop()
        death = {}
        if is_gone:
            death = process.kills.death(summary, process.kills.happened(), "its process was gone")
        return Reading(process.measurement.drain(), tags, process.broken, summary, death)

    def _measured(self, pid: int) -> MeasuredProcess | None:
        with suppress(ValueError):
            return MeasuredProcess(pid, self._limits)
        return None


class Nodes:
    """The measurements on all nodes. Other nodes than this have an actor each, until `close`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nodes: dict[str, Any] = {}  # by Ray's id: a node that comes back has another

    def read(self, node_id: str, *arguments: Any) -> Future[Reading]:
        """Ask a node as `NodeMeasurements.read`, without waiting for it: one that has died answers late."""
        if node_id not in self._nodes:
            self._nodes[node_id] = self._measurements_on(node_id)
        node = self._nodes[node_id]
        if not isinstance(node, NodeMeasurements):
            return node.read.remote(*arguments).future()  # type: ignore[no-any-return]
        answer = Future[Reading]()
        try:
            answer.set_result(node.read(*arguments))
        except Exception as error:
            answer.set_exception(error)
        return answer

    def close(self) -> None:
        """End what runs on other nodes; else it lives until Python's collector finds it."""
        for node in self._nodes.values():
            with suppress(Exception):  # this node's is not an actor, and Ray may have ended before
                ray.kill(node)

    def _measurements_on(self, node_id: str) -> Any:
        if node_id == ray.get_runtime_context().get_node_id():
            return NodeMeasurements(self._limits)
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        return ray.remote(num_cpus=0, scheduling_strategy=there)(NodeMeasurements).remote(self._limits)


class TrialProcess:
    """A process that a trial has, until it is released: another trial may get it.

    Attributes:
        has_begun: whether it is, or was, measured: else the trial failed before it had a process.
        is_over: whether its last reading is there.
        reading: the last one; None if its node has not answered.
    """

    _numbers = itertools.count()

    def __init__(self, place: Future[ProcessPlace], nodes: Nodes, run: Run) -> None:
        self.has_begun = False
        self.is_released = False
        self.is_over = False
        self.reading: Reading | None = None
        self._number = next(self._numbers)
        self._place = place
        self._nodes = nodes
        self._run = run
        self._answer: Future[Reading] | None = None
        self._is_last = False  # the answer

    def update(self) -> None:
        """Log what its node has answered, and ask it again. Does not wait."""
        if self.is_over or not self._place.done():
            return
        if self._place.exception() is not None:
            self.is_over = True
            return
        node_id, host, pid = self._place.result()
        if not self.has_begun:
            self.has_begun = True
            self._run.log(tags={NODE: host, PID: str(pid)})
        with never_raises(f"measuring the processes of node {node_id}, which needs the package {_PACKAGE},"):
            if self._answer is None:
                self._is_last = self.is_released
                self._answer = self._nodes.read(node_id, self._number, pid, self._is_last)
            if self._answer.done():
                self._log(self._answer)

    def _log(self, answer: Future[Reading]) -> None:
        self._answer = None
        self.reading = None
        self.is_over = self._is_last
        self.reading = answer.result()
        self._run.log(window_points(self.reading.windows), tags=self.reading.tags)
