"""Deliver the spools of processes that ended while their store was away. Repeating it stores no point twice."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.delivery.backlog import Backlog
from mlflow_sysmetrics.delivery.points import SYSTEM_PREFIX, Point
from mlflow_sysmetrics.delivery.run_queue import End, RunQueue, State
from mlflow_sysmetrics.delivery.spool import SUFFIX, ForeignSpoolError, Header, SpoolFile, SpoolInUseError, spool_folder
from mlflow_sysmetrics.delivery.store import Store, StoredRun, one_line
from mlflow_sysmetrics.delivery.writer import write
from mlflow_sysmetrics.redact import redacted_text, with_login
from mlflow_sysmetrics.tags import BY_EXPERIMENT_END, OF_AN_END, STOPPED_BY, STUDY_ID

_ANSWER_S = 60.0  # long: no training waits


@dataclass(frozen=True)
class Delivered:
    """The result of a delivery. `str` is for the user.

    `runs` counts the runs with a spool that was delivered completely and removed, and `points` its points, including
    those that an earlier attempt had stored. `refused` counts points whose content MLflow refuses, `skipped` lines that
    are broken, cut off or foreign, `in_use` spools of loggers that still run. For each other spool that stays, `left`
    has a sentence that says why.
    """

    runs: int = 0
    points: int = 0
    refused: int = 0
    skipped: int = 0
    in_use: int = 0
    left: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = [f"Delivered {_count(self.points, 'point')} of {_count(self.runs, 'run')}."]
        if self.refused:
            counts.append(f"MLflow refused {_count(self.refused, 'point')}.")
        if self.skipped:
            counts.append(f"Skipped {_count(self.skipped, 'unreadable line')}.")
        if self.in_use:
            counts.append(f"Left alone {_count(self.in_use, 'file')} of loggers that are still running.")
        return "\n".join([*counts, *self.left])


def deliver(folder: Path | None, tracking_uri: str | None = None) -> Delivered:
    """Deliver every spool in a folder, for None the loggers', to its store or to the given one.

    Never raises for what is in a spool or what a store answers: see `Delivered.left`. Spools hold no login: that of
    MLflow's settings is used, or of the current tracking URI if it has the same address. A trial that went on since, in
    an experiment that Tune restored, gets only the points and tags that it lacks.
    """
    total, nested, runs = Delivered(), list[Path](), set[str]()
    for path in sorted(spool_folder(folder).glob(f"*{SUFFIX}")):
        total = _sum(total, _deliver_one(path, tracking_uri, runs, nested.append))
    for path in nested:  # after the runs around them
        total = _sum(total, _deliver_one(path, tracking_uri, runs, in_use=total.in_use))
    return total


def _deliver_one(
    path: Path,
    tracking_uri: str | None,
    runs: set[str],
    put_off: Callable[[Path], None] | None = None,
    in_use: int = 0,
) -> Delivered:
    """Deliver a spool, or put it off if its run is nested.

    `runs`: the ids of those that have had one, to which its own is added. `in_use`: spools that other processes deliver
    now.
    """
    try:
        if not path.lstat().st_size:  # its logger ended before the first line
            return Delivered()
        spool = SpoolFile.open(path)
    except SpoolInUseError:
        return Delivered(in_use=1)
    except FileNotFoundError:  # another sync was faster
        return Delivered()
    except (OSError, ForeignSpoolError) as error:
        return Delivered(left=(f"{path.name} is not a spool: {error}",))
    header = spool.header
    if header.parent is not None and put_off is not None:
        spool.close(keep=True)
        put_off(path)
        return Delivered()
    try:
        address = tracking_uri or with_login(header.tracking_uri, mlflow.get_tracking_uri())
        queue = _write(spool, Store(address, _ANSWER_S), in_use)
    except Exception as error:
        spool.close(keep=True)
        run = f"run {header.run_id}" if header.run_id else f"run {header.name!r}, which is still to be created"
        return Delivered(skipped=spool.skipped, left=(f"{path.name} waits: {run}: {redacted_text(one_line(error))}",))
    spool.close()
    is_new, run_id = queue.run_id not in runs, str(queue.run_id)
    runs.add(run_id)
    return Delivered(int(is_new), queue.sent - queue.refused, queue.refused, spool.skipped)


def _write(spool: SpoolFile, store: Store, in_use: int) -> RunQueue:
    """Write everything in a spool to its run, which is created if necessary. Errors of the store pass through."""
    header, run_id = spool.header, _find(spool.header, store)
    queue = RunQueue(
        Backlog(spool, raises=True),
        run_id=run_id or _create(header, store, in_use),
        params=header.params,
        tags=header.tags | header.new_tags,
        end=None if header.status is None else End(header.status, header.end_ms),
    )
    if run_id is not None and header.status is not None and header.end_ms is not None:
        run = store.run(run_id)
        if STUDY_ID in run.tags:  # Tune may have restored its experiment
            _without_what_is_older(queue, run, header.end_ms, _Missing(spool, store, run_id))
    write(queue, store)
    if spool.last_words:  # its process was killed
        times_ms = store.run(str(queue.run_id)).times_ms  # a name that the program has logged itself is left alone
        queue.add(point for point in spool.last_words if times_ms.get(point.name, -1) < header.start_ms)
        write(queue, store)
    return queue


def _without_what_is_older(queue: RunQueue, run: StoredRun, end_ms: int, missing: Backlog) -> None:
    """Leave out what is older than what a run has that ended at another time than this one."""
    if _went_on(run, end_ms):
        queue.points, queue.end = missing, None
        queue.tags = {
            name: text for name, text in queue.tags.items() if name not in run.tags and not name.startswith(OF_AN_END)
        }
    elif run.end_ms not in (None, end_ms):
        queue.state = State.UNREAD  # so that the other end is forgotten


def _went_on(run: StoredRun, end_ms: int) -> bool:
    """Whether a run went on after this end.

    A restored experiment also ends runs that do not go on, since it takes them for open: they have nothing later.
    """
    if run.end_ms is not None and run.end_ms <= end_ms:
        return False
    ended_itself = run.end_ms is not None and run.tags.get(STOPPED_BY) != BY_EXPERIMENT_END
    return ended_itself or max(run.times_ms.values(), default=0) > end_ms


class _Missing(Backlog):
    """The points of a spool at steps that its run does not have; of ``system/``, whose steps count samples, all."""

    def __init__(self, spool: SpoolFile, store: Store, run_id: str) -> None:
        super().__init__(spool, raises=True)
        self._steps = functools.cache(functools.partial(store.steps, run_id))

    def peek(self, limit: int) -> list[Point]:
        while points := super().peek(limit):
            missing = [
                point
                for point in points
                if point.name.startswith(SYSTEM_PREFIX) or point.step not in self._steps(point.name)
            ]
            if missing:
                return missing
            self.forget()
        return []


def _find(header: Header, store: Store) -> str | None:
    """MLflow's id of a run that has one, or that an earlier attempt has created."""
    return header.run_id or store.created_run(header.experiment_id, header.start_ms, header.tags)


def _create(header: Header, store: Store, in_use: int) -> str:
    tags = dict(header.tags)
    if header.parent is not None:
        tags[MLFLOW_PARENT_RUN_ID] = _find(header.parent, store) or _create_lost(header.parent, store, in_use)
    return store.create_run(header.experiment_id, header.start_ms, tags, header.name)


def _create_lost(header: Header, store: Store, in_use: int) -> str:
    """Create and end a run whose own spool is not there to do so. OSError if another sync may have that spool."""
    if in_use:
        raise BlockingIOError("another sync may be creating the run around it; run sync again")
    run_id = _create(header, store, in_use)
    if header.status is not None:
        store.set_status(run_id, header.status, header.end_ms)
    return run_id


def _sum(one: Delivered, other: Delivered) -> Delivered:
    return Delivered(*(getattr(one, name) + getattr(other, name) for name in Delivered.__dataclass_fields__))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
