"""The thread that writes what waits in the queues of runs to one store, again and again until the store has it."""

from __future__ import annotations

import contextvars
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping

from mlflow_sysmetrics.delivery.backlog import Backlog, Memory
from mlflow_sysmetrics.delivery.batch import param_texts, send, tag_texts
from mlflow_sysmetrics.delivery.points import Point, now_ms
from mlflow_sysmetrics.delivery.retries import Outages, pause_after, timeout_after
from mlflow_sysmetrics.delivery.run_queue import End, RunQueue, State
from mlflow_sysmetrics.delivery.spool import Header
from mlflow_sysmetrics.delivery.store import DeletedRunError, NoSuchRunError, Store, StoredRun
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import OF_AN_END

logger = get_logger(__name__)


def write(queue: RunQueue, store: Store) -> None:
    """Write everything that waits for a run: create it first, end it last. Errors of the store pass through.

    Written data is dropped at once; after an error, call this again. Nothing is lost or stored twice: the store ignores
    points that it has, and a run that was created although the answer was lost is found.
    """
    run_id = _opened(queue, store)
    end = queue.end  # before the batches, so that what was added before the end is written before it
    while any(batch := queue.next_batch()):
        queue.forget(batch, send(store, run_id, batch))
    if end is not None:
        store.set_status(run_id, end.status, end.end_ms)
        queue.ended(end)


def _opened(queue: RunQueue, store: Store) -> str:
    """The id of a run that exists and takes what waits."""
    if queue.run_id is None:
        asked, tags = queue.state is State.ASKED, queue.ask()
        found = store.created_run(queue.experiment_id, queue.start_ms, tags) if asked else None
        queue.created(found or store.create_run(queue.experiment_id, queue.start_ms, tags, queue.name))
    elif queue.state in (State.UNREAD, State.ENDED):
        before = store.run(queue.run_id) if queue.state is State.UNREAD else StoredRun(queue.run_id)
        for name in before.tags:
            if name.startswith(OF_AN_END):
                store.delete_tag(queue.run_id, name)
        store.set_status(queue.run_id, "RUNNING", None)
        queue.goes_on(before.steps)
    return str(queue.run_id)


class Writer:
    """Create, fill and end MLflow runs without making the caller wait. Only `close` does.

    The thread writes the points of a live run every `every_s` seconds, and the creation and the end of a run at once.
    After a failure the run's queue pauses, see `retries`, and keeps its data. The queue of a deleted run pauses too,
    since the run may be restored; other runs and `close` do not wait for it. No error reaches the thread that starts or
    closes the writer.

    Args:
        store: where the runs are. Its `timeout_s` is set before each attempt.
        every_s: seconds between two writes to one live run, > 0.
        capacity: points of all runs created here that wait in memory. The oldest of a run that adds more are given up,
            and counted in `lost`.
        clock: seconds that never go back.
        jitter: a number between two others, at random.
    """

    def __init__(
        self,
        store: Store,
        *,
        every_s: float = 2.0,
        capacity: int = 1_000_000,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        if not every_s > 0:
            raise ValueError(f"every_s={every_s!r}: give a number of seconds above 0")
        self.refused = 0
        self._store, self._every_s, self._clock, self._jitter = store, every_s, clock, jitter
        self._memory, self._outages = Memory(capacity), Outages(clock)
        self._queues: dict[Hashable, RunQueue] = {}  # the last of each key
        self._unfinished: list[RunQueue] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._deadline: float | None = None
        run = contextvars.copy_context().run  # MLflow keeps its workspace there
        self._thread = threading.Thread(target=run, args=(self._work,), name="mlflow-sysmetrics-writer", daemon=True)

    @property
    def lost(self) -> int:
        """Points that were given up."""
        return self._memory.lost

    @property
    def away_s(self) -> float:
        """Seconds in which the store took nothing, of all times when it was away."""
        return self._outages.total_s

    @property
    def is_away(self) -> bool:
        """Whether the store did not take what it was sent last."""
        return self._outages.is_away

    def start(self) -> None:
        """Start the thread."""
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            logger.warning("points are kept, and not delivered by this process. %s", error)

    def attach(self, queue: RunQueue) -> None:
        """Write what waits in this queue, too: for the first time after `every_s`."""
        queue.due_at = self._clock() + self._every_s
        with self._lock:
            self._unfinished.append(queue)

    def create(
        self,
        key: Hashable,
        *,
        experiment_id: str,
        name: str | None = None,
        tags: Mapping[str, object] | None = None,
        run_id: str | None = None,
        parent: Hashable | None = None,
    ) -> None:
        """Create a run that starts now and is known by `key`. No-op if that run is open.

        It is nested under the run with the key `parent`, which is created first.

        With `run_id`, or a key whose run has ended, that run goes on: it is RUNNING again, gets these tags, and its
        series continue, see `Steps`.
        """
        texts = tag_texts(tags)
        with self._lock:
            last = self._queues.get(key)
            if last is not None and (last.is_open or last.reopen(texts)):
                self._wake.set()
                return
            run_id = run_id or (last.run_id if last is not None else None)
            queue = RunQueue(
                Backlog(memory=self._memory),
                state=State.TO_CREATE if run_id is None else State.UNREAD,
                run_id=run_id,
                experiment_id=experiment_id,
                start_ms=now_ms(),
                name=name,
                first_tags=texts,
                parent=None if parent is None else self._queues[parent],
                tags={} if run_id is None else texts,
            )
            self._queues[key] = queue
            self._unfinished.append(queue)
        self._wake.set()

    def repeat(self, key: Hashable) -> None:
        """The work of an open run begins again, from an earlier step. KeyError if the run is not open."""
        with self._lock:
            self._open(key).repeat()

    def log(
        self,
        key: Hashable,
        points: Iterable[Point] = (),
        *,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        figures: Iterable[Point] = (),
    ) -> None:
        """Queue points, parameters and tags of an open run. KeyError if the run is not open.

        `figures` are points at step 0 of what has one value for the whole run: they take the place of earlier ones.
        """
        with self._lock:
            self._open(key).add(points, param_texts(params), tag_texts(tags), figures)

    def end(self, key: Hashable, status: str, *, tags: Mapping[str, object] | None = None) -> None:
        """Queue the end of an open run: FINISHED, KILLED or FAILED, now. KeyError if the run is not open."""
        with self._lock:
            queue = self._open(key)
            queue.add(tags=tag_texts(tags))
            queue.end = End(status, now_ms())
        self._wake.set()

    def is_open(self, key: Hashable) -> bool:
        """Whether a run was created and not ended since."""
        with self._lock:
            return key in self._queues and self._queues[key].is_open

    def open_keys(self) -> list[Hashable]:
        """The runs that were created and not ended since, in the order of their creation."""
        with self._lock:
            return [key for key, queue in self._queues.items() if queue.is_open]

    def run_id(self, key: Hashable) -> str | None:
        """MLflow's id of the last run with this key; None while the store has not created it."""
        with self._lock:
            return self._queues[key].run_id if key in self._queues else None

    def close(self, timeout_s: float = 10.0) -> bool:
        """Write what is left, for at most `timeout_s`, and stop; say whether nothing is left. Idempotent.

        What waits for a deleted run is given up. A request that hangs goes on alone.
        """
        timeout_s = min(timeout_s, threading.TIMEOUT_MAX)
        self._deadline = self._clock() + timeout_s
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._left()

    def left(
        self, tracking_uri: str, tags: Mapping[Hashable, Mapping[str, str]] | None = None
    ) -> list[tuple[Header, list[Point]]]:
        """What `close` could not write: for each run the header of a spool for this store, and the points.

        `tags` are by key: more tags of runs that are left.
        """
        queues = self._left()
        with self._lock:
            for key, more in (tags or {}).items():
                if key in self._queues and self._queues[key] in queues:
                    self._queues[key].add(tags=tag_texts(more))
        return [(queue.header(tracking_uri), queue.points.in_memory()) for queue in queues]

    def _open(self, key: Hashable) -> RunQueue:
        queue = self._queues[key]
        if not queue.is_open:
            raise KeyError(key)
        return queue

    def _left(self) -> list[RunQueue]:
        with self._lock:
            waiting = [queue for queue in self._unfinished if queue.has_something]
        return [queue for queue in waiting if not isinstance(queue.gone, DeletedRunError)]

    def _work(self) -> None:
        closing = False
        while True:
            self._wake.wait(self._idle_s())
            self._wake.clear()
            with self._lock:
                queues = list(self._unfinished)
            if self._deadline is not None and not closing:
                closing = True
                for queue in queues:  # a pause may be longer than the time that is left
                    queue.failures, queue.due_at = 0, 0.0
            for queue in queues:
                if self._deadline is not None and self._clock() >= self._deadline:
                    return
                if self._clock() >= self._due_at(queue):
                    self._attempt(queue)
            if closing and all(queue.gone for queue in self._left()):
                return

    def _idle_s(self) -> float:
        """Seconds until something is due."""
        with self._lock:
            due_at = min(map(self._due_at, self._unfinished), default=float("inf"))
        return max(0.0, min(due_at - self._clock(), self._every_s, threading.TIMEOUT_MAX))

    def _due_at(self, queue: RunQueue) -> float:
        if queue.waits_for_parent:
            return float("inf")
        is_urgent = queue.is_urgent or (self._deadline is not None and queue.has_something)
        return 0.0 if is_urgent and not queue.failures else queue.due_at

    def _attempt(self, queue: RunQueue) -> None:
        """Write what waits in a queue, and say when it is due again."""
        closing, refused = self._deadline is not None, queue.refused
        try:
            if queue.has_something:
                self._store.timeout_s = timeout_after(queue.failures, closing=closing)
                write(queue, self._store)
                self._outages.succeeded(queue.title)
        except NoSuchRunError as error:
            self._outages.answered()
            if queue.gone is None:
                logger.warning("nothing more is written to run %r, unless it is restored: %s", queue.title, error)
            queue.gone = error
            self._put_off(queue)
        except Exception as error:
            self._put_off(queue)
            self._outages.failed(queue.title, queue.failures, error)
        else:
            queue.failures, queue.gone = 0, None
            queue.due_at = self._clock() + self._every_s
            if queue.state is State.DONE:
                with self._lock:
                    self._unfinished.remove(queue)
        self.refused += queue.refused - refused

    def _put_off(self, queue: RunQueue) -> None:
        queue.failures += 1
        pause_s = pause_after(queue.failures, closing=self._deadline is not None, jitter=self._jitter)
        queue.due_at = self._clock() + pause_s
