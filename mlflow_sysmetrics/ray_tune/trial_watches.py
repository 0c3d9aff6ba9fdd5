"""Which process each trial has, on which node, and who watches it there: this process, or an actor on that node."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mlflow_sysmetrics.delivery.points import Point, window_points
from mlflow_sysmetrics.ranks import figures_in_turn
from mlflow_sysmetrics.ray_tune.node_watches import NOTHING, LetGo, NodeWatches
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import HOST_PREFIX, NODE, PID

logger = get_logger(__name__)

DRAIN_EVERY_S = 1.0
_NO_PACKAGE = (
    "the package mlflow_sysmetrics has to be there: install it, or send it with "
    "ray.init(runtime_env={'py_modules': [mlflow_sysmetrics]})"
)
LAST_ANSWERS_S = 5.0  # of other nodes, when all is over

Ask = Callable[..., "Future[Any]"]  # a method of one machine's `NodeWatches`, and its arguments -> its answer
Then = Callable[[dict[str, float], Mapping[str, str]], None]  # takes a trial's figures, and how its process died
Log = Callable[[str, list[Point], Mapping[str, str]], None]  # takes a trial's series and tags


@dataclass(eq=False)
class _Trial:
    """A trial, and what its processes used, which it has one after the other."""

    node_id: str | None = None  # where its process is watched now, by Ray's id: a node that comes back has another
    stretches: list[Mapping[str, float] | None] = field(default_factory=list)  # of processes that were let go
    asked: int = 0  # how many more are to come
    death: Mapping[str, str] = field(default_factory=dict)  # of the last one
    facts: set[str] = field(default_factory=set)  # the names of the tags of its host
    then: Then | None = None  # what waits for all


class TrialWatches:
    """Follow trials' processes from outside, so that their training is not disturbed and need not cooperate.

    One thread of this process does it for all trials, and never waits for another node. Nothing raises; only ``close``
    waits.

    Args:
        groups: what is read, see `sampling`.
        interval_s: seconds between two readings.
        log: where the series and tags go; called in the watching thread.
        ask: of a node's id, groups and an interval: how that node's `NodeWatches` are asked.
    """

    def __init__(
        self, groups: Collection[str], interval_s: float, log: Log, ask: Callable[..., Ask] | None = None
    ) -> None:
        self._groups, self._interval_s, self._log = tuple(groups), interval_s, log
        self._ask_node = ask or _ask_here_or_there
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow-sysmetrics-watching", daemon=True)
        self._last_answers_s = LAST_ANSWERS_S
        # All that follows is the thread's own.
        self._nodes: dict[str, Ask] = {}  # by Ray's id
        self._trials: dict[str, _Trial] = {}  # by key
        self._ending: dict[str, _Trial] = {}  # those that wait for a node's last answer, by key
        self._asked = 0
        self._complained: set[str] = set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def watch(self, key: str, actor: Any) -> None:
        """Measurement the process of this trial's actor, from when it is set up."""
        # A lambda travels whole: other nodes may be without this package, and are told so where that matters.
        located = actor.__ray_call__.remote(
            lambda trainable: (ray.get_runtime_context().get_node_id(), socket.gethostname(), os.getpid())
        ).future()
        located.add_done_callback(lambda future: self._todo.put(partial(self._begin, key, future)))

    def pause(self, key: str) -> None:
        """Let a trial's process go, which may be given to another, until the trial is watched again."""
        self._todo.put(partial(self._pause, key))

    def release(self, key: str, then: Then) -> None:
        """Let a trial's process go; afterwards `then` is called in the watching thread.

        It gets the figures of all processes that the trial has had, see `figures_in_turn`, and the tags that say how
        the last one died: empty where it is still there. No-op for a trial that is released already.
        """
        self._todo.put(partial(self._end, key, then))

    def close(self, timeout_s: float) -> None:
        """Let all go and end the thread, within this time."""
        self._last_answers_s = min(LAST_ANSWERS_S, timeout_s / 2)  # the rest is for what waits for them
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
        for key in list(self._trials):
            self._try(partial(self._end, key, _nothing))
        deadline = time.monotonic() + self._last_answers_s
        while self._asked and time.monotonic() < deadline:
            self._try(self._next(deadline) or _nothing)
        for trial in self._ending.values():
            self._try(partial(trial.then or _nothing, {}, {}))

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
        self._pause(key)  # the trial goes on in another process
        trial = self._trials.setdefault(key, _Trial())
        trial.node_id = node_id

        def started(known: dict[str, str] | None) -> None:
            if trial.node_id not in (node_id, None):  # meanwhile it goes on elsewhere
                return
            facts = {name for name in known or () if name.startswith(HOST_PREFIX)}
            gone = dict.fromkeys(trial.facts - facts, "unknown")  # those of the node before are not of this one
            trial.facts |= facts
            self._log(key, [], {NODE: host, PID: str(pid)} | gone | (known or {}))

        self._ask(node_id, started, "start", key, pid)

    def _drain(self) -> None:
        def drained(windows_by_key: dict[str, Any] | None) -> None:
            for key, windows in (windows_by_key or {}).items():
                self._log(key, window_points(windows), {})

        for node_id in {trial.node_id for trial in self._trials.values()} - {None}:
            self._ask(str(node_id), drained, "drain")

    def _pause(self, key: str) -> None:
        if key in self._trials:
            self._let_go(key, self._trials[key])

    def _end(self, key: str, then: Then) -> None:
        if key in self._ending:
            return
        trial = self._ending[key] = self._trials.pop(key, _Trial())
        trial.then = then
        self._let_go(key, trial)
        self._finish(key, trial)

    def _let_go(self, key: str, trial: _Trial) -> None:
        node_id, trial.node_id = trial.node_id, None
        if node_id is None:
            return
        trial.asked += 1

        def stopped(answer: LetGo | None) -> None:
            trial.asked -= 1
            windows, figures, trial.death = answer or NOTHING
            self._log(key, window_points(windows), {})
            if figures or answer is None:  # else it was gone before it could be watched
                trial.stretches.append(figures or None)
            self._finish(key, trial)

        self._ask(node_id, stopped, "stop", key)

    def _finish(self, key: str, trial: _Trial) -> None:
        """Tell whoever waits for the end of this trial, once nothing more is to come."""
        if trial.then is not None and not trial.asked:
            del self._ending[key]
            trial.then(figures_in_turn(trial.stretches), trial.death)

    def _ask(self, node_id: str, then: Callable[[Any], None], method: str, *args: Any) -> None:
        """Ask a node's `NodeWatches`; `then` gets the answer, or None if there is none, in this thread."""

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
            self._nodes[node_id] = self._ask_node(node_id, self._groups, self._interval_s)
        asked = self._nodes[node_id](method, *args)
        self._asked += 1
        asked.add_done_callback(lambda done: self._todo.put(partial(answered, done)))


def _nothing(*answer: object) -> None:
    """Do nothing."""


def _ask_here_or_there(node_id: str, groups: tuple[str, ...], interval_s: float) -> Ask:
    if node_id == ray.get_runtime_context().get_node_id():
        watches = NodeWatches(groups, interval_s)
        return partial(_answer, watches)
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    actor = ray.remote(num_cpus=0, scheduling_strategy=there)(NodeWatches).remote(groups, interval_s)
    return lambda method, *args: getattr(actor, method).remote(*args).future()


def _answer(watches: NodeWatches, method: str, *args: Any) -> Future[Any]:
    answer: Future[Any] = Future()
    answer.set_result(getattr(watches, method)(*args))
    return answer
