"""The way from what waits to the store: in order, again and again until the store has taken it."""

from __future__ import annotations

import contextvars
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mlflow_sysmetrics.addresses import get_logger
from mlflow_sysmetrics.delivery.batch import BATCH_METRICS, Batch, BatchStore, send
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.store import one_line

logger = get_logger(__name__)

_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 30.0
_FIRST_TIMEOUT_S, _LAST_TIMEOUT_S = 5.0, 30.0


class Queue(Protocol):
    """Points that wait: `peek` the oldest, and `forget` them once they are delivered."""

    @property
    def is_empty(self) -> bool: ...

    def peek(self, limit: int) -> list[Point]: ...

    def forget(self) -> None: ...


class TimedStore(BatchStore, Protocol):
    """A store that is given so many seconds for an answer."""

    timeout_s: float


@dataclass(frozen=True)
class Sent:
    """What a store took, and what it refused for what it is, such as a name with forbidden characters."""

    points: int = 0
    refused: int = 0


def send_all(
    waiting: Queue,
    store: BatchStore,
    run_id: str,
    tags: Mapping[str, str],
    params: Mapping[str, str] | None = None,
) -> Sent:
    """Deliver what waits, and these tags and params. Raises what the store raises; what was taken is forgotten.

    A batch whose answer got lost is sent again: the store ignores a point that it has, so none is there twice.
    """
    sent, tags, params = Sent(), dict(tags), dict(params or {})
    while True:
        beside = Batch.of((), params, tags)
        # Room for those: a request holds 1000 entries in all.
        points = waiting.peek(BATCH_METRICS - len(beside.params) - len(beside.tags))
        if not any((points, beside.params, beside.tags)):
            return sent
        refused = send(store, run_id, beside._replace(points=points))
        if points:
            waiting.forget()
        for written, left in ((beside.params, params), (beside.tags, tags)):
            for name in written:
                del left[name]
        sent = Sent(sent.points + len(points) - refused, sent.refused + refused)


class Delivery:
    """Deliver what waits for one run from a thread: every `every_s` seconds, and after a failure with growing pauses.

    Nothing here raises after construction. `failures` counts the attempts in a row that the store did not take.

    Args:
        waiting: the run's points.
        store: where the run is.
        run_id: MLflow's id of it.
        tags: tags of the run, delivered with the first points.
        every_s: seconds from one delivery to the next.
    """

    def __init__(
        self,
        waiting: Queue,
        store: TimedStore,
        run_id: str,
        tags: Mapping[str, str],
        *,
        every_s: float,
    ) -> None:
        self.failures = 0
        self._waiting, self._store, self._run_id, self._tags = waiting, store, run_id, dict(tags)
        self._every_s = every_s
        self._stopping, self._given_up = threading.Event(), threading.Event()
        run = contextvars.copy_context().run  # MLflow keeps its workspace there
        self._thread = threading.Thread(target=run, args=(self._work,), name="mlflow-sysmetrics-delivery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending: what waits stays where it is
            logger.warning("system metrics are kept, and not delivered by this process. %s", error)

    def stop(self, timeout_s: float) -> bool:
        """Deliver what is left, for at most `timeout_s`; say whether nothing is left. A request may go on alone."""
        self._stopping.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        self._given_up.set()
        return not self._thread.is_alive() and self._waiting.is_empty

    def _work(self) -> None:
        pause_s = self._every_s
        while not self._stopping.wait(pause_s):
            pause_s = self._deliver()
        while not self._given_up.is_set():  # what is left, and what came since
            pause_s = self._deliver()
            if not self.failures:
                return
            self._given_up.wait(pause_s)

    def _deliver(self) -> float:
        """Deliver what waits; return the seconds until the next time."""
        try:
            # More time with each failure, so that a slow server gets there, and little at first, so that the news of a
            # server that is back comes soon.
            failures = 0 if self._stopping.is_set() else self.failures
            self._store.timeout_s = min(_FIRST_TIMEOUT_S * 2**failures, _LAST_TIMEOUT_S)
            if not self._waiting.is_empty or self._tags:
                send_all(self._waiting, self._store, self._run_id, self._tags)
                self._tags = {}
        except Exception as error:
            self.failures = min(self.failures + 1, 100)
            if self.failures == 1:
                logger.warning(
                    "MLflow does not take the system metrics of run %s; they wait. %s", self._run_id, one_line(error)
                )
            longest = _FIRST_RETRY_S if self._stopping.is_set() else _LAST_RETRY_S
            # At random, lest all that a server's end has stopped come back to it at once.
            return min(_FIRST_RETRY_S * 2.0 ** (self.failures - 1), longest) * random.uniform(0.5, 1.0)
        if self.failures:
            logger.warning("MLflow takes the system metrics of run %s again", self._run_id)
            self.failures = 0
        return self._every_s
