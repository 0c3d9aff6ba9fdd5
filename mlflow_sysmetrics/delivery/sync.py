"""Deliver the journals of processes that ended while their store was away. Repeating it stores no point twice."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mlflow

from mlflow_sysmetrics.delivery.journal import SUFFIX, InUseError, Journal, journal_folder
from mlflow_sysmetrics.delivery.operations import Create, End
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.replay import MAX_ENTRIES, NoParentError, drop_end, replay
from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store, one_line
from mlflow_sysmetrics.redact import redacted_text, with_login
from mlflow_sysmetrics.tags import BY_EXPERIMENT_END, STOPPED_BY

_ANSWER_S = 60.0  # long: no training waits


@dataclass
class Delivered:
    """The result of a delivery. `str` is for the user."""

    points: int = 0  # delivered, including those that an earlier attempt had stored
    runs: set[str] = field(default_factory=set)  # the ids of those of which everything was delivered
    refused: int = 0  # values, by MLflow
    skipped: int = 0  # lines that cannot be read
    in_use: int = 0  # journals
    discarded: int = 0  # journals
    left: list[str] = field(default_factory=list)  # a sentence for each other journal that stays

    def __str__(self) -> str:
        lines = [f"Delivered {_number(self.points, 'point')} of {_number(len(self.runs), 'run')}."]
        if self.refused:
            lines.append(f"MLflow refused {_number(self.refused, 'value')}.")
        if self.skipped:
            lines.append(f"Skipped {_number(self.skipped, 'unreadable line')}.")
        if self.in_use:
            lines.append(f"Left alone {_number(self.in_use, 'file')} of loggers that are still running.")
        if self.discarded:
            lines.append(f"Discarded {_number(self.discarded, 'file')} of runs that do not exist.")
        return "\n".join([*lines, *self.left])


def deliver(
    folder: Path | None = None,
    tracking_uri: str | None = None,
    *,
    discard: bool = False,
    connect: Callable[[str, float], Store] = Store,
) -> Delivered:
    """Deliver every journal in a folder, for None the loggers', to its store or to the given one.

    Never raises for what is in a journal or what a store answers: see `Delivered.left`. Journals hold no login: that of
    MLflow's settings is used, or of the current tracking URI if it has the same address. A trial that went on since, in
    an experiment that Tune restored, gets only the points and tags that it lacks. With `discard`, journals of runs that
    do not exist, or were deleted, are removed.
    """
    delivered = Delivered()
    for path in sorted((folder or journal_folder()).glob(f"*{SUFFIX}")):
        with contextlib.suppress(FileNotFoundError):  # another sync was faster
            _deliver_one(path, tracking_uri, delivered, discard, connect)
    return delivered


def _deliver_one(
    path: Path, tracking_uri: str | None, delivered: Delivered, discard: bool, connect: Callable[[str, float], Store]
) -> None:
    try:
        journal = Journal(path)
    except InUseError:
        delivered.in_use += 1
        return
    except (OSError, ValueError) as error:
        if path.lstat().st_size:  # else its logger ended before the first line
            delivered.left.append(f"{path.name} is not a journal: {error}")
        return
    outbox = Outbox(journal.run.get("run_id"))
    is_done = True
    try:
        uri = tracking_uri or with_login(journal.run["tracking_uri"], mlflow.get_tracking_uri())
        _replay_journal(journal, outbox, connect(uri, _ANSWER_S))
        delivered.runs.add(str(outbox.run_id))
        delivered.points += outbox.sent
        delivered.refused += outbox.refused
        delivered.skipped += journal.skipped
    except Exception as error:
        is_gone = _is_gone(error, path.parent)
        is_done = is_gone and discard
        if is_done:
            delivered.discarded += 1
        else:
            why = redacted_text(one_line(error))
            hint = " (`mlflow-sysmetrics sync --discard` removes it)" if is_gone else ""
            delivered.left.append(f"{path.name} waits: {_title(journal, outbox)}: {why}{hint}")
    journal.close(remove=is_done)


def _replay_journal(journal: Journal, outbox: Outbox, store: Store) -> None:
    experiment_id = journal.run.get("experiment_id", "")
    if outbox.run_id is None:  # it may have been created since
        outbox.run_id = store.run_with_key(experiment_id, journal.run["key"])
    outbox.stored = {}
    outbox.max_waiting = math.inf
    _compare_ends(outbox, journal, store)
    operations = journal.read()
    while part := list(itertools.islice(operations, MAX_ENTRIES)):  # it may be long
        if outbox.run_id is None and not isinstance(part[0], Create):
            raise NoSuchRunError("it was created, and is not there any more")
        outbox.add(part)
        replay(outbox, store, lambda key: store.run_with_key(experiment_id, key))


def _is_gone(error: Exception, folder: Path) -> bool:
    """Whether no store will ever take a journal that failed so: its run, or that around it, does not exist."""
    if isinstance(error, NoParentError):
        return error.key not in [_key_in(path) for path in folder.glob(f"*{SUFFIX}")]
    return isinstance(error, NoSuchRunError)


def _title(journal: Journal, outbox: Outbox) -> str:
    if outbox.run_id is not None:
        return f"run {outbox.run_id}"
    first = next(journal.read(), None)
    name = first.name if isinstance(first, Create) else journal.run.get("key")
    return f"run {name!r}, which is still to be created"


def _key_in(path: Path) -> str | None:
    """The key of the run that a journal creates."""
    with contextlib.suppress(OSError, ValueError, LookupError, AttributeError), path.open("rb") as file:
        return json.loads(file.readline())[1].get("key")  # type: ignore[no-any-return]
    return None


def _compare_ends(outbox: Outbox, journal: Journal, store: Store) -> None:
    """Find out whether the run has ended later, or has later points, than it ends by a journal; else drop its end.

    An end that only swept up what was still open says nothing about the run.
    """
    ends_ms = [operation.time_ms for operation in journal.read() if isinstance(operation, End)]
    if outbox.run_id is None or not ends_ms:
        return
    run = store.run(outbox.run_id)
    ended_ms = run.end_ms or 0
    if run.tags.get(STOPPED_BY) == BY_EXPERIMENT_END:
        ended_ms = 0
    outbox.is_superseded = max([ended_ms, *run.times_ms.values()]) > ends_ms[-1]
    if not outbox.is_superseded:
        drop_end(outbox.run_id, store)


def _number(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
