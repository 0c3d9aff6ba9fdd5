"""Which process each trial has, on which node, and who watches it there: this process, or an actor on that node."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mlflow_sysmetrics.addresses import get_logger
from mlflow_sysmetrics.delivery.points import Point, window_points
from mlflow_sysmetrics.ray_tune.watches import NOTHING, LetGo, Watches
from mlflow_sysmetrics.tags import MEMORY_DEFINITION, NODE, PID

logger = get_logger(__name__)

DRAIN_EVERY_S = 1.0
_NO_PACKAGE = (
    "the package mlflow_sysmetrics has to be there: install it, or send it with "
    "ray.init(runtime_env={'py_modules': [mlflow_sysmetrics]})"
)
_LAST_ANSWERS_S = 5.0  # of other nodes, when all is over

Ask = Callable[..., "Future[Any]"]  # a method of one machine's `Watches`, and its arguments -> its answer
Then = Callable[[dict[str, float], Mapping[str, str]], None]  # takes a trial's figures, and how its process died
Log = Callable[[str, list[Point], Mapping[str, str]], None]  # takes a trial's series and tags


class Watching:
    """Follow trials' processes from outside, so that their training is not disturbed and need not cooperate.

    One thread of this process does it for all trials, and never waits for another node. Nothing raises; only ``close``
    waits.

    Args:
        groups: what is read, see `sources`.
        interval_s: seconds between two readings.
        log: where the series and tags go; called in the watching thread.
    """

    def __init__(self, groups: Collection[str], interval_s: float, log: Log) -> None:
        self._groups, self._interval_s, self._log = tuple(groups), interval_s, log
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow-sysmetrics-watching", daemon=True)
        # All that follows is the thread's own.
        self._nodes: dict[str, Ask] = {}  # by Ray's id: one that comes back under its address has another
        self._where: dict[str, str] = {}  # by key: the id of its node
        self._ends: dict[str, Then] = {}  # what waits for a node's last answer
        self._asked = 0
        self._complained: set[str] = set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def watch(self, key: str, actor: Any) -> None:
        """Watch the process of this trial's actor, from when it is set up."""
        # A lambda travels whole: other nodes may be without this package, and are told so where that matters.
        located = actor.__ray_call__.remote(
            lambda trainable: (ray.get_runtime_context().get_node_id(), socket.gethostname(), os.getpid())
        ).future()
        located.add_done_callback(lambda future: self._todo.put(partial(self._begin, key, future)))

    def release(self, key: str, then: Then) -> None:
        """Let a trial's process go; afterwards `then` is called in the watching thread.

        It gets the process's figures, and the tags that say how it died: empty where it is still there.
        """
        self._todo.put(partial(self._end, key, then))

    def close(self, timeout_s: float) -> None:
        """Let all go and end the thread, within this time."""
        self._todo.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _work(self) -> None:
        due = time.monotonic() + DRAIN_EVERY_S
        while (task := self._next(due)) is not None:
            self._try(task)
            if time.monotonic() >= due:
                self._try(self._drain)
                due = time.monotonic() + DRAIN_EVERY_S
        for key in list(self._where):
            self._try(partial(self._end, key, _nothing))
        deadline = time.monotonic() + _LAST_ANSWERS_S
        while self._asked and time.monotonic() < deadline:
            self._try(self._next(deadline) or _nothing)
        for then in self._ends.values():
            self._try(partial(then, {}, {}))

    def _next(self, until: float) -> Callable[[], None] | None:
        try:
            return self._todo.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return _nothing

    def _try(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception:
            logger.warning("a trial's system metrics are incomplete", exc_info=True)

    def _begin(self, key: str, located: Future[Any]) -> None:
        if located.exception() is not None:  # the trial failed before it began
            return
        node_id, host, pid = located.result()
        if key in self._where:  # the trial goes on in another process
            self._end(key, _nothing)
        self._where[key] = node_id
        tags = {NODE: host, PID: str(pid)}

        def started(definition: str | None) -> None:
            known = {} if definition is None else {MEMORY_DEFINITION: definition}
            self._log(key, [], tags | known)

        self._ask(node_id, started, "start", key, pid)

    def _drain(self) -> None:
        def drained(windows_by_key: dict[str, Any] | None) -> None:
            for key, windows in (windows_by_key or {}).items():
                self._log(key, window_points(windows), {})

        for node_id in set(self._where.values()):
            self._ask(node_id, drained, "drain")

    def _end(self, key: str, then: Then) -> None:
        node_id = self._where.pop(key, None)
        if node_id is None:
            then({}, {})
            return
        self._ends[key] = then

        def stopped(answer: LetGo | None) -> None:
            windows, figures, death = answer or NOTHING
            self._log(key, window_points(windows), {})
            if self._ends.get(key) is then:
                self._ends.pop(key)(figures, death)

        self._ask(node_id, stopped, "stop", key)

    def _ask(self, node_id: str, then: Callable[[Any], None], method: str, *args: Any) -> None:
        """Ask a node's `Watches`; `then` gets the answer, or None if there is none, in this thread."""

        def answered(done: Future[Any]) -> None:
            self._asked -= 1
            error = done.exception()
            if error is not None and node_id not in self._complained:
                self._complained.add(node_id)
                why = _NO_PACKAGE if "No module named" in str(error) else "it does not answer"
                said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
                logger.warning("processes on node %s are not watched any more; %s. %s", node_id, why, said)
            then(None if error is not None else done.result())

        if node_id not in self._nodes:
            self._nodes[node_id] = _ask_here_or_there(node_id, self._groups, self._interval_s)
        asked = self._nodes[node_id](method, *args)
        self._asked += 1
        asked.add_done_callback(lambda done: self._todo.put(partial(answered, done)))


def _nothing(*answer: object) -> None:
    """Do nothing."""


def _ask_here_or_there(node_id: str, groups: tuple[str, ...], interval_s: float) -> Ask:
    if node_id == ray.get_runtime_context().get_node_id():
        watches = Watches(groups, interval_s)
        return partial(_answer, watches)
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    actor = ray.remote(num_cpus=0, scheduling_strategy=there)(Watches).remote(groups, interval_s)
    return lambda method, *args: getattr(actor, method).remote(*args).future()


def _answer(watches: Watches, method: str, *args: Any) -> Future[Any]:
    answer: Future[Any] = Future()
    answer.set_result(getattr(watches, method)(*args))
    return answer
