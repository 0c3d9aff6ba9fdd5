"""What the trials' processes use, measured from outside on their nodes: training need not cooperate, or slow down."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mlflow_sysmetrics.delivery.operations import Point, window_points
from mlflow_sysmetrics.delivery.store import one_line
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.limits import MemoryKills
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.metrics import combined_in_turn
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION
from mlflow_sysmetrics.tags import HOST_PREFIX, NODE, PID
from mlflow_sysmetrics.tags import MEMORY_DEFINITION as DEFINED_AS

logger = get_logger(__name__)
DRAIN_EVERY_S = 1.0
_NO_PACKAGE = "install mlflow_sysmetrics there, or use ray.init(runtime_env={'py_modules': [mlflow_sysmetrics]})"

Log = Callable[[list[Point], Mapping[str, str]], None]  # takes a trial's series and tags
Then = Callable[[dict[str, float], Mapping[str, str], Any], None]  # takes its summary, how it died, and an answer


class Used(NamedTuple):
    """What a process used until it was let go."""

    windows: list[Window]  # the last ones
    summary: dict[str, float]
    death: Mapping[str, str]  # tags that say how it died; {} if it lives


class NodeMeasurements:
    """The measured processes of one node, by number. For one thread; nothing raises."""

    def __init__(self, groups: Collection[str]) -> None:
        self._groups, self._host = groups, Host().tags()
        self._measured: dict[int, tuple[Measurement, MemoryKills]] = {}

    def start(self, number: int, pid: int) -> dict[str, str]:
        """Measure this process, if it is there; return what is known of its node."""
        with suppress(ValueError):
            self._measured[number] = Measurement(pid, self._groups).start(), MemoryKills(pid)
        return {DEFINED_AS: MEMORY_DEFINITION} | self._host

    def drain(self) -> dict[int, list[Window]]:
        """The windows of each process that have closed since the last call."""
        for _, kills in self._measured.values():
            kills.look()
        return {number: measurement.drain() for number, (measurement, _) in self._measured.items()}

    def stop(self, number: int) -> Used | None:
        """Let a process go; None if it was gone before."""
        if number not in self._measured:
            return None
        measurement, kills = self._measured.pop(number)
        is_gone = not measurement.interval()  # where its memory can be read, this holds it
        summary = measurement.stop()
        death = kills.death(summary, kills.happened(), "its process was gone") if is_gone else {}
        return Used(measurement.drain(), summary, death)


class Nodes:
    """The measurements on all nodes, and the thread that asks them. Only `close` waits; nothing raises.

    Other nodes than this have an actor each, until `close`.
    """

    def __init__(self, groups: Collection[str]) -> None:
        self._groups = tuple(groups)
        self.loop, self._closing, self._last_answers_s = asyncio.new_event_loop(), asyncio.Event(), 0.0
        self.numbers = itertools.count()  # of processes
        self.logs: dict[int, Log] = {}  # of those that are measured
        self._nodes: dict[str, Any] = {}  # by Ray's id: a node that comes back has another
        self._complained: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="mlflow-sysmetrics-measuring", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Let all go, and end the thread and what runs on other nodes, within this time."""
        self._last_answers_s = timeout_s / 2  # the rest is for what waits for them
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(timeout_s)

    async def ask(self, node_id: str, method: str, *args: Any) -> Any:
        """The answer of a node's measurements; None if there is none."""
        try:
            if node_id not in self._nodes:
                self._nodes[node_id] = self._measurements_on(node_id)
                asyncio.run_coroutine_threadsafe(self._drain(node_id), self.loop)
            asked = getattr(self._nodes[node_id], method)
            is_here = isinstance(self._nodes[node_id], NodeMeasurements)
            return asked(*args) if is_here else await asyncio.wrap_future(asked.remote(*args).future())
        except Exception as error:
            if node_id not in self._complained:
                self._complained.add(node_id)
                why = _NO_PACKAGE if "No module named" in str(error) else "it does not answer"
                said = f"{type(error).__name__}: {one_line(error)}"
                logger.warning("processes on node %s are not measured any more; %s. %s", node_id, why, said)
            return None

    def _run(self) -> None:
        self.loop.run_until_complete(self._until_closed())
        self.loop.close()

    async def _until_closed(self) -> None:
        await self._closing.wait()
        if work := asyncio.all_tasks() - {asyncio.current_task()}:
            _, late = await asyncio.wait(work, timeout=self._last_answers_s)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for node in self._nodes.values():
            with suppress(Exception):  # this node's is not an actor, and Ray may have ended before
                ray.kill(node)  # else it lives until Python's collector finds it

    async def _drain(self, node_id: str) -> None:
        while not self._closing.is_set():
            for number, windows in (await self.ask(node_id, "drain") or {}).items():
                if log := self.logs.get(number):
                    log(window_points(windows), {})
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closing.wait(), DRAIN_EVERY_S)

    def _measurements_on(self, node_id: str) -> Any:
        if node_id == ray.get_runtime_context().get_node_id():
            return NodeMeasurements(self._groups)
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        return ray.remote(num_cpus=0, scheduling_strategy=there)(NodeMeasurements).remote(self._groups)


class TrialProcesses:
    """What the processes of one trial use, which it has one after the other, on any node. Nothing waits."""

    def __init__(self, nodes: Nodes, log: Log) -> None:
        self._nodes, self._log = nodes, log
        self._let_go: asyncio.Event | None = None  # of the process that is measured now
        self._used: list[Future[Used | None]] = []
        self._facts: set[str] = set()  # the names of the tags of its nodes

    def measure(self, located: Future[tuple[str, str, int]]) -> None:
        """Measure this process from now on: its node's id and name, and its pid."""
        self.let_go()
        self._let_go = asyncio.Event()
        self._used.append(asyncio.run_coroutine_threadsafe(self._follow(located, self._let_go), self._nodes.loop))

    def let_go(self) -> None:
        """Measure its process no more: another trial may get it."""
        if self._let_go is not None:
            self._nodes.loop.call_soon_threadsafe(self._let_go.set)
            self._let_go = None

    def end(self, then: Then, answer: Future[Any] | None) -> None:
        """Let its process go, and call `then`.

        It gets the summary of all processes of the trial; tags that say how the last one died, {} where it lives; and
        what its trainable answers, None where it does not.
        """
        self.let_go()
        asyncio.run_coroutine_threadsafe(self._end(then, answer), self._nodes.loop)

    async def _follow(self, located: Future[tuple[str, str, int]], let_go: asyncio.Event) -> Used | None:
        node_id, host, pid = await asyncio.wrap_future(located)  # raises if the trial failed before it began
        number = next(self._nodes.numbers)
        self._nodes.logs[number] = self._log
        known = await self._nodes.ask(node_id, "start", number, pid) or {}
        facts = {name for name in known if name.startswith(HOST_PREFIX)}
        gone = dict.fromkeys(self._facts - facts, "unknown")  # those of the node before are not of this one
        self._facts |= facts
        self._log([], {NODE: host, PID: str(pid)} | gone | known)
        await let_go.wait()
        used: Used | None = await self._nodes.ask(node_id, "stop", number)  # if the node has died, that may take time
        del self._nodes.logs[number]
        if used is not None:
            self._log(window_points(used.windows), {})
        return used

    async def _end(self, then: Then, answer: Future[Any] | None) -> None:
        summary: dict[str, float] = {}
        death: Mapping[str, str] = {}
        said = None
        try:
            each = await asyncio.gather(*map(asyncio.wrap_future, self._used), return_exceptions=True)
            used = [it for it in each if not isinstance(it, BaseException)]
            summary = combined_in_turn(it and it.summary for it in used)
            death = used[-1].death if used and used[-1] else {}
            with suppress(Exception):  # its process may be gone
                said = answer and await asyncio.wrap_future(answer)
        finally:  # also where time is up
            then(summary, death, said)
