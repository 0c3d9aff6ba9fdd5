"""Deliver the journals of processes that ended while their store was away. Repeating it stores no point twice."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import mlflow

from mlflow_sysmetrics.common.redact import redacted_text, with_login
from mlflow_sysmetrics.common.time_limits import COMMAND_ANSWER_S
from mlflow_sysmetrics.delivery.journal import SUFFIX, InUseError, Journal, journal_folder
from mlflow_sysmetrics.delivery.operations import Create
from mlflow_sysmetrics.delivery.run import Run
from mlflow_sysmetrics.delivery.send import send
from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store, missing_database, one_line
from mlflow_sysmetrics.delivery.writer import Writer

_OPERATIONS = 1000  # in memory: a journal may be long


@dataclass
class Delivered:
    """The result of a delivery. `str` is for the user."""

    points: int = 0  # delivered, including those that an earlier attempt had stored
    runs: set[str] = field(default_factory=set)  # the ids of those of which everything was delivered
    skipped: int = 0  # lines that cannot be read
    in_use: int = 0  # journals
    left: list[str] = field(default_factory=list)  # a sentence for each other journal that stays

    def __str__(self) -> str:
        lines = [f"Delivered {_number(self.points, 'point')} of {_number(len(self.runs), 'run')}."]
        if self.skipped:
            lines.append(f"Skipped {_number(self.skipped, 'unreadable line')}.")
        if self.in_use:
            lines.append(f"Left alone {_number(self.in_use, 'file')} of loggers that are still running.")
        return "\n".join([*lines, *self.left])


def deliver(folder: Path | None = None, tracking_uri: str | None = None) -> Delivered:
    """Deliver every journal in a folder, for None the loggers', to its store or to the given one.

    Never raises for what is in a journal or what a store answers: see `Delivered.left`. Journals hold no login: that of
    MLflow's settings is used, or of the current tracking URI if it has the same address. A run that has gone on since,
    and ended, keeps its end.
    """
    delivered = Delivered()
    for path in sorted((folder or journal_folder()).glob(f"*{SUFFIX}")):
        with contextlib.suppress(FileNotFoundError):  # another sync was faster
            _deliver_one(path, tracking_uri, delivered)
    return delivered


def _deliver_one(path: Path, tracking_uri: str | None, delivered: Delivered) -> None:
    try:
        journal = Journal(path)
    except InUseError:
        delivered.in_use += 1
        return
    except (OSError, ValueError) as error:
        if path.lstat().st_size:  # else its logger ended before the first line
            delivered.left.append(f"{path} is not a journal: {error}")
        return
    is_delivered = False
    try:
        uri = tracking_uri or with_login(journal.run["tracking_uri"], mlflow.get_tracking_uri())
        if missing := missing_database(uri):
            raise FileNotFoundError(f"there is no {missing}")
        run = _send(journal, Store(uri, COMMAND_ANSWER_S))
        is_delivered = True
        delivered.runs.add(str(run.run_id))
        delivered.points += run.sent
        delivered.skipped += journal.skipped
    except Exception as error:
        delivered.left.append(f"{path} waits: {redacted_text(one_line(error))}")
    journal.close(remove=is_delivered)


def _send(journal: Journal, store: Store) -> Run:
    run_id = journal.run.get("run_id")
    if run_id is None:  # it may have been created since
        run_id = store.run_with_key(journal.run.get("experiment_id", ""), journal.run["key"])
    run = Run(Writer(store), run_id)
    operations = journal.read()
    while part := list(itertools.islice(operations, _OPERATIONS)):
        if run.run_id is None and not isinstance(part[0], Create):
            raise NoSuchRunError("its run was created, and is not there any more")
        run.add(part)
        send(run, store)
    return run


def _number(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
