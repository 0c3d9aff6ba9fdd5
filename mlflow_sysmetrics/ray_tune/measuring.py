"""What the trials' processes use, measured from outside on their nodes: training need not cooperate, or slow down."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mlflow_sysmetrics.delivery.operations import Point, window_points
from mlflow_sysmetrics.delivery.store import one_line
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.limits import MemoryKills
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.ranks import summary_in_turn
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION
from mlflow_sysmetrics.tags import HOST_PREFIX, NODE, PID
from mlflow_sysmetrics.tags import MEMORY_DEFINITION as DEFINED_AS

logger = get_logger(__name__)
DRAIN_EVERY_S = 1.0
LAST_ANSWERS_S = 5.0  # of other nodes, when all is over
_NO_PACKAGE = "install mlflow_sysmetrics there, or use ray.init(runtime_env={'py_modules': [mlflow_sysmetrics]})"

Log = Callable[[str, list[Point], Mapping[str, str]], None]  # takes a trial's series and tags
Then = Callable[[dict[str, float], Mapping[str, str], Any], None]  # takes its summary, how it died, and an answer


class Used(NamedTuple):
    """What a process used until it was let go."""

    windows: list[Window]  # the last ones
    summary: dict[str, float]
    death: Mapping[str, str]  # tags that say how it died; {} if it lives


class NodeMeasurements:
    """The measured processes of one node, by trial. For one thread; nothing raises."""

    def __init__(self, groups: Collection[str], interval_s: float) -> None:
        self._groups, self._interval_s, self._host = groups, interval_s, Host().tags()
        self._measured: dict[str, tuple[psutil.Process, Measurement, MemoryKills, dict[str, float]]] = {}

    def start(self, key: str, pid: int) -> dict[str, str]:
        """Measure this process, if it is there; return what is known of its node."""
        last: dict[str, float] = {}  # the summary at the last reading at which the process was there
        with suppress(ValueError, psutil.Error):
            process, measurement = psutil.Process(pid), Measurement(pid, self._groups, self._interval_s)
            measurement.tell(lambda summary: last.update(summary) if "memory_mb" in summary else None)
            self._measured[key] = process, measurement.start(), MemoryKills(pid), last
        return {DEFINED_AS: MEMORY_DEFINITION} | self._host

    def drain(self) -> dict[str, list[Window]]:
        """The windows of each process that have closed since the last call."""
        for _, _, kills, _ in self._measured.values():
            kills.look()
        return {key: measurement.drain() for key, (_, measurement, _, _) in self._measured.items()}

    def stop(self, key: str) -> Used | None:
        """Let a process go; None if it was gone before. The time of one that is gone is that up to its last reading."""
        if key not in self._measured:
            return None
        process, measurement, kills, last = self._measured.pop(key)
        runs, death = _runs(process), {}
        summary = measurement.stop()
        if not runs:
            summary = summary_in_turn([summary | {"elapsed_s": last.get("elapsed_s", summary["elapsed_s"])}])
            death = kills.death(summary, kills.happened(), "its process was gone")
        return Used(measurement.drain(), summary, death)


@dataclass(eq=False)
class _Trial:
    """A trial, and what its processes used, which it has one after the other."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    node_id: str | None = None  # where its process is measured now
    used: list[asyncio.Task[Used | None]] = field(default_factory=list)  # of the processes that were let go
    facts: set[str] = field(default_factory=set)  # the names of the tags of its nodes
    ends: bool = False


class TrialMeasurements:
    """Follows each trial from process to process and from node to node, in one thread. Only `close` waits.

    The thread calls `log` with trials' series and tags. Other nodes have an actor each, until `close`. Nothing raises.
    """

    def __init__(self, groups: Collection[str], interval_s: float, log: Log) -> None:
        self._groups, self._interval_s, self._log = tuple(groups), interval_s, log
        self._loop, self._closing, self._last_answers_s = asyncio.new_event_loop(), asyncio.Event(), LAST_ANSWERS_S
        self._nodes: dict[str, Any] = {}  # by Ray's id: a node that comes back has another
        self._trials: dict[str, _Trial] = {}
        self._complained: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="mlflow-sysmetrics-measuring", daemon=True)

    def start(self) -> TrialMeasurements:
        self._thread.start()
        return self

    def measure(self, key: str, located: Future[tuple[str, str, int]] | None) -> None:
        """Measure this process of a trial from now on: its node's id and name, and its pid; None: it has none now.

        The one before is let go: another trial may get it.
        """
        self._do(self._measure(key, located))

    def end(self, key: str, then: Then, answer: Future[Any] | None = None) -> None:
        """Let a trial's process go, and call `then`, once for each trial.

        It gets the summary of all processes of the trial; tags that say how the last one died, {} where it lives; and
        what its trainable answers, None where it does not.
        """
        self._do(self._end(key, then, answer))

    def close(self, timeout_s: float) -> None:
        """Let all go, and end the thread and what runs on other nodes, within this time."""
        self._last_answers_s = min(LAST_ANSWERS_S, timeout_s / 2)  # the rest is for what waits for them
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(timeout_s)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception:
                logger.warning("a trial's system metrics are incomplete", exc_info=True)

        asyncio.run_coroutine_threadsafe(guarded(), self._loop)

    def _run(self) -> None:
        self._loop.run_until_complete(self._until_closed())
        self._loop.close()

    async def _until_closed(self) -> None:
        await self._closing.wait()
        if work := asyncio.all_tasks() - {asyncio.current_task()}:
            _, late = await asyncio.wait(work, timeout=self._last_answers_s)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for node in self._nodes.values():
            if not isinstance(node, NodeMeasurements):
                with suppress(Exception):  # Ray may have ended before
                    ray.kill(node)  # else it lives until Python's collector finds it

    async def _measure(self, key: str, located: Future[tuple[str, str, int]] | None) -> None:
        trial = self._trials.setdefault(key, _Trial())
        async with trial.turn:
            self._let_go(key, trial)
            if located is None:
                return
            try:  # meanwhile, its process before has been asked for
                node_id, host, pid = await asyncio.wrap_future(located)
            except Exception:  # the trial failed before it began
                return
            trial.node_id = node_id
            known = await self._ask(node_id, "start", key, pid) or {}
            facts = {name for name in known if name.startswith(HOST_PREFIX)}
            gone = dict.fromkeys(trial.facts - facts, "unknown")  # those of the node before are not of this one
            trial.facts |= facts
            self._log(key, [], {NODE: host, PID: str(pid)} | gone | known)

    async def _end(self, key: str, then: Then, answer: Future[Any] | None) -> None:
        trial = self._trials.setdefault(key, _Trial())
        if trial.ends:
            return
        summary: dict[str, float] = {}
        death: Mapping[str, str] = {}
        trial.ends, said = True, None
        try:
            async with trial.turn:
                self._let_go(key, trial)
            used = await asyncio.gather(*trial.used)
            summary = summary_in_turn(each and each.summary for each in used)
            death = used[-1].death if used and used[-1] else {}
            with suppress(Exception):  # its process may be gone
                said = answer and await asyncio.wrap_future(answer)
        finally:  # also where time is up
            self._trials.pop(key, None)
            then(summary, death, said)

    def _let_go(self, key: str, trial: _Trial) -> None:
        if trial.node_id is not None:  # which may have died, and take its time to say so: the trial goes on elsewhere
            trial.used.append(self._loop.create_task(self._stop(trial.node_id, key)))
            trial.node_id = None

    async def _stop(self, node_id: str, key: str) -> Used | None:
        used: Used | None = await self._ask(node_id, "stop", key)
        if used is not None:
            self._log(key, window_points(used.windows), {})
        return used

    async def _drain(self, node_id: str) -> None:
        while not self._closing.is_set():
            for key, windows in (await self._ask(node_id, "drain") or {}).items():
                self._log(key, window_points(windows), {})
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closing.wait(), DRAIN_EVERY_S)

    async def _ask(self, node_id: str, method: str, *args: Any) -> Any:
        """The answer of a node's measurements; None if there is none."""
        try:
            if node_id not in self._nodes:
                self._nodes[node_id] = self._measurements_on(node_id)
                self._do(self._drain(node_id))
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

    def _measurements_on(self, node_id: str) -> Any:
        if node_id == ray.get_runtime_context().get_node_id():
            return NodeMeasurements(self._groups, self._interval_s)
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor = ray.remote(num_cpus=0, scheduling_strategy=there)(NodeMeasurements)
        return actor.remote(self._groups, self._interval_s)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
