"""Deliver the journals of processes that ended while their store was away. Repeating it stores no point twice."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow

from mlflow_sysmetrics.delivery.journal import SUFFIX, InUseError, Journal, journal_folder
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.replay import MAX_ENTRIES, NoParentError, drop_end, replay
from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store, one_line
from mlflow_sysmetrics.redact import redacted_text, with_login
from mlflow_sysmetrics.tags import BY_EXPERIMENT_END, STOPPED_BY

_ANSWER_S = 60.0  # long: no training waits
_WORDS = {  # of each count: the sentence, and what is counted
    "refused": ("MLflow refused {}.", "value"),
    "skipped": ("Skipped {}.", "unreadable line"),
    "in_use": ("Left alone {} of loggers that are still running.", "file"),
    "discarded": ("Discarded {} of runs that do not exist.", "file"),
}


@dataclass
class Delivered:
    """The result of a delivery. `str` is for the user.

    Attributes:
        counts: `points` (including those that an earlier attempt had stored), entries that MLflow `refused`,
            `skipped` lines that cannot be read, journals `in_use` and `discarded`.
        runs: the ids of the runs of which everything was delivered.
        left: a sentence for each other journal that stays.
    """

    counts: Counter[str] = field(default_factory=Counter)
    runs: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = [f"Delivered {_number(self.counts['points'], 'point')} of {_number(len(self.runs), 'run')}."]
        said += [text.format(_number(self.counts[it], what)) for it, (text, what) in _WORDS.items() if self.counts[it]]
        return "\n".join([*said, *self.left])


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
        delivered.counts["in_use"] += 1
        return
    except (OSError, ValueError) as error:
        if path.lstat().st_size:  # else its logger ended before the first line
            delivered.left.append(f"{path.name} is not a journal: {error}")
        return
    run_id, is_done, wanted = journal.run.get("run_id"), True, dict[str, Any]()
    title = f"run {run_id}"
    try:
        if run_id is None:
            wanted = next(journal.read()).data
            title = f"run {wanted['name']!r}, which is still to be created"
        uri = tracking_uri or with_login(journal.run["tracking_uri"], mlflow.get_tracking_uri())
        store = connect(uri, _ANSWER_S)
        outbox = Outbox(run_id or store.run_with_key(wanted["experiment_id"], wanted["key"]), title)
        outbox.stored, outbox.max_waiting = {}, math.inf
        _compare_ends(outbox, journal, store)
        operations = journal.read()
        while part := list(itertools.islice(operations, MAX_ENTRIES)):  # it may be long
            outbox.add(part)
            replay(outbox, store, lambda key: store.run_with_key(wanted["experiment_id"], key))
        delivered.runs.add(str(outbox.run_id))
        delivered.counts.update(points=outbox.sent, refused=outbox.refused, skipped=journal.skipped)
    except Exception as error:
        is_gone = isinstance(error, (NoSuchRunError, NoParentError))  # the run around it comes first in the folder
        is_done = is_gone and discard
        delivered.counts["discarded"] += is_done
        if not is_done:
            hint = " (`mlflow-sysmetrics sync --discard` removes it)" if is_gone else ""
            delivered.left.append(f"{path.name} waits: {title}: {redacted_text(one_line(error))}{hint}")
    journal.close(remove=is_done)


def _compare_ends(outbox: Outbox, journal: Journal, store: Store) -> None:
    """Find out whether the run has ended later, or has later points, than it ends by a journal; else drop its end.

    An end that only swept up what was still open says nothing about the run.
    """
    ends = [operation.data[1] for operation in journal.read() if operation.kind == "end"]
    if outbox.run_id is not None and ends:
        run = store.run(outbox.run_id)
        ended_ms = 0 if run.tags.get(STOPPED_BY) == BY_EXPERIMENT_END else run.end_ms or 0
        outbox.is_superseded = max([ended_ms, *run.times_ms.values()]) > ends[-1]
        if not outbox.is_superseded:
            drop_end(outbox.run_id, store)


def _number(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
