"""One MLflow run, as whoever measures sees it: create, reopen, log, end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlflow_sysmetrics.delivery.journal import Journal, journal_path
from mlflow_sysmetrics.delivery.operations import (
    MAX_PARAM,
    MAX_TAG,
    Checkpoint,
    Delete,
    DeleteTag,
    End,
    File,
    Operation,
    Params,
    Point,
    Reopen,
    Repeat,
    Summary,
    Tags,
    finite,
    grouped,
    now_ms,
    table,
    texts,
)
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.guard import never_raises
from mlflow_sysmetrics.outcome import Outcome
from mlflow_sysmetrics.redact import lasting_uri
from mlflow_sysmetrics.threads import within

if TYPE_CHECKING:
    from mlflow_sysmetrics.delivery.writer import Writer

_DISK_S = 5.0  # for opening a journal


class RunHandle:
    """One run that this process writes. Every method but `close` and `keep_journal` queues, returns and never raises.

    What comes after the end of the run, or after `close`, is dropped, unless the run is reopened.

    Attributes:
        outcome_if_killed: of a run with a journal: how `sync` ends it if this process is killed; None: not at all.
    """

    def __init__(self, outbox: Outbox, writer: Writer, key: str | None = None) -> None:
        self.outbox = outbox
        self.key = outbox.created.key if outbox.created else key
        self.outcome_if_killed: Outcome | None = None
        self.is_open = True
        self._writer = writer

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until the store has created it."""
        return self.outbox.run_id

    @property
    def tracking_uri(self) -> str:
        return self._writer.store.tracking_uri

    def log(
        self,
        points: Iterable[Point] = (),
        *,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        summary: Mapping[str, float] | None = None,
        own_since_ms: int | None = None,
    ) -> None:
        """Add these to the run. Values that are not finite are left out.

        Summary values whose names the program itself has logged since `own_since_ms` are left alone.
        """
        with never_raises("logging to an MLflow run"):
            operations = grouped(points)
            if params:
                operations.append(Params(texts(params, MAX_PARAM)))
            if tags:
                operations.append(Tags(texts(tags, MAX_TAG)))
            known = finite(summary or {})
            if known:
                operations.append(Summary(now_ms(), known, own_since_ms))
            self._add(operations)

    def log_table(self, path: str, rows: Sequence[Mapping[str, float]]) -> None:
        """Add a small table, as `mlflow.log_table` does: a column for each name, null where a row has none."""
        self._add(table(path, rows))

    def log_text(self, path: str, text: str) -> None:
        """Add a small text file to the artifacts."""
        self._add([File(path, text)])

    def delete_tag(self, name: str) -> None:
        """Remove a tag, if the run has it."""
        self._add([DeleteTag(name)])

    def reopen(self, tags: Mapping[str, object] | None = None) -> None:
        """Have an ended run go on: it is RUNNING again, and gets these tags and only the points that it lacks."""
        self.is_open = True
        self._add([Reopen(), Tags(texts(tags or {}, MAX_TAG))], at_once=True)

    def repeat(self) -> None:
        """Its work begins again, from an earlier step: it gets only the points that it lacks."""
        self._add([Repeat()])

    def end(self, outcome: Outcome, end_ms: int | None = None) -> None:
        """End the run, now or at a unix time in ms. The writer forgets it once that is delivered."""
        self._add([_end(outcome, end_ms or now_ms())], at_once=True)
        self.release()

    def discard(self) -> None:
        """Drop what waits for the run."""
        self.outbox.forget(self.outbox.peek())

    def delete(self) -> None:
        """Delete the run."""
        self._add([Delete()], at_once=True)
        self.release()

    def release(self) -> None:
        """Nothing more comes, and the end is somebody else's: the writer forgets the run once it has all."""
        self.is_open = False
        self._writer.release(self.outbox)

    def keep_journal(self, series: str) -> None:
        """Have what waits on disk, too, from now on, and what an earlier process has left there delivered.

        A series of a run has one writer on a machine. Waits for a disk, at most five seconds.

        Raises:
            InUseError: another process has the journal of this series.
            OSError: the journal cannot be opened in time.
        """
        outbox = self.outbox
        uri = lasting_uri(self.tracking_uri)
        path = journal_path(uri, outbox.run_id or str(self.key), series)

        def open_journal() -> Journal:  # one that is opened too late is nobody's, and closed
            return Journal(path, outbox.header(uri))

        outbox.keep_in(within(_DISK_S, open_journal))

    def checkpoint(self, summary: Mapping[str, float], own_since_ms: int | None = None) -> None:
        """Have the journal hold what `sync` delivers if this process is killed now."""
        end = None if self.outcome_if_killed is None else _end(self.outcome_if_killed, now_ms())
        self.outbox.checkpoint(Checkpoint(Summary(now_ms(), finite(summary), own_since_ms), end))

    def close(self, timeout_s: float) -> bool:
        """Deliver what waits, for at most `timeout_s`, and be done; say whether nothing is left. See `Writer.close`."""
        return self._writer.close([self], timeout_s)

    def _add(self, operations: Iterable[Operation], *, at_once: bool = False) -> None:
        if self.is_open:
            self.outbox.add(operations)
            self._writer.take(self.outbox, at_once=at_once)


def _end(outcome: Outcome, time_ms: int) -> End:
    return End(outcome.status, time_ms, texts(outcome.tags, MAX_TAG))
