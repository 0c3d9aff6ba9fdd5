"""Find the MLflow run in which a program is recorded, by what the program itself does with MLflow.

A program that opens no run gets one. One that opens a single run is recorded in that. Of one that opens several, the
whole program has a run around these, and each of them has the summary that was measured in the program's process.
`autologging` tells of them there, by a line of JSON in a file, the channel, for each beginning and end.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.channel import CHANNEL
from mlflow_sysmetrics.delivery.operations import SYSTEM_PREFIX, Operation, Point, log, now_ms, window_points
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.replay import replay
from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store, one_line
from mlflow_sysmetrics.delivery.waiting import within
from mlflow_sysmetrics.delivery.writer import Writer, keep_end
from mlflow_sysmetrics.logger import SystemMetricsLogger
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.redact import get_logger, with_login
from mlflow_sysmetrics.tags import RUN_KEY

logger = get_logger(__name__)
_LOOK_EVERY_S = 0.5
_WITHOUT_MLFLOW_S, _WITHOUT_RUN_S = 5.0, 60.0  # before a program gets a run: until then it may open one
_CLOSE_S, _END_S = 5.0, 15.0  # for what a writer or a copy has left; for all but copies at the end


class Run(NamedTuple):
    """An MLflow run, and where it is; without an id one that is still to be made there."""

    uri: str
    experiment_id: str
    run_id: str = ""


@dataclass
class _Opened:
    """A run that the program has opened, and what the program has said of it."""

    run: Run
    parent: str | None
    since_ms: int
    is_open: bool = True
    summary: Mapping[str, float] | None = None  # until it is written
    has_parent: bool = False  # from us


class Follower:
    """Records a program from `start` to `finish`, in a thread. Nothing raises, and only `finish` waits for a store.

    Args:
        run: where the program's run would be made; or, with an id, the run that it is recorded in, whatever it does.
        name: of the program's run; by default the program or MLflow chooses.
        tags: of a run that is made.
    """

    def __init__(self, run: Run, *, name: str | None = None, tags: Mapping[str, str] | None = None) -> None:
        self.run, self._name, self._tags = run, name, dict(tags or {})
        self._folder = Path(tempfile.mkdtemp(prefix="mlflow-sysmetrics-"))  # which only this user may read
        self._channel, self._read_to, self._saw_mlflow = self._folder / "channel", 0, False
        self._channel.touch()
        self.environment = {CHANNEL: str(self._channel)}  # of the program
        self._opened: dict[str, _Opened] = {}
        self._made: set[str] = set()  # runs
        self._left: list[Run] = []  # in which it was recorded before: their series are still to be copied
        self._writers: dict[str, Writer] = {}
        self._logger: SystemMetricsLogger | None = None
        self._looking, self._copying = threading.Lock(), threading.Lock()
        self._stopping = threading.Event()
        work = (contextvars.copy_context().run, self._work)  # MLflow keeps its workspace there
        self._thread = threading.Thread(target=work[0], args=work[1:], name="mlflow-sysmetrics-follower", daemon=True)

    @property
    def store_is_away(self) -> bool:
        """Whether the store did not take what it was sent last."""
        return self._logger is not None and self._logger.store_is_away

    def start(self, measurement: Measurement, pid: int) -> None:
        """Record what this measures of the program with this process id, which has just been started."""
        self._measurement, self._pid, self._home = measurement, pid, self.run
        with contextlib.suppress(RuntimeError):  # no more threads: then all is done at the end
            self._thread.start()

    def close(self) -> None:
        """The program has not begun: there is nothing to follow."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def finish(self, status: str, tags: Mapping[str, str], *, ends: bool) -> None:
        """The program has ended: deliver what is left, tag its run, and end with this status the runs it left open.

        Its own run, too, if this `ends` it; unless the program has succeeded and ended it, and so knows best.
        """
        self._stopping.set()
        try:
            within(_END_S, lambda: self._finish(status, tags, ends=ends))
        except Exception as error:
            logger.warning("the end of the program's run waits for `mlflow-sysmetrics sync`. %s", one_line(error))
            self._keep(status, tags, ends=ends)
        finally:
            self.close()
        try:
            within(_CLOSE_S, self._copy_left)
        except Exception as error:
            left = ", ".join(run.run_id for run in self._left)
            logger.warning("the program's first system metrics may be in run %s alone. %s", left, one_line(error))

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._looking:
                    self._look()
                self._copy_left()
            except Exception as error:  # it is tried again
                logger.debug("the program's runs cannot be followed now: %s", error)
            self._stopping.wait(_LOOK_EVERY_S)

    def _look(self, *, is_last: bool = False) -> None:
        """See what the program has done since, and record it where that leads. Raises what the store raises."""
        self._read()
        tops = [each for each in self._opened.values() if each.parent is None and each.run.run_id != self._home.run_id]
        wanted = self._wanted(tops, is_last)
        if wanted is None:
            return
        here = self.run._replace(run_id="") if self.run.run_id in self._made else self.run
        if self._logger is None or wanted != here:
            self._record_in(wanted)
        for each in self._opened.values():
            if each.run.run_id == self.run.run_id:
                continue
            if each in tops and not each.has_parent and each.run.uri == self.run.uri:
                each.has_parent = True
                self._add(each.run, log(tags={MLFLOW_PARENT_RUN_ID: self.run.run_id}))
            if each.summary is not None:
                self._add(each.run, log(summary=each.summary, own_since_ms=each.since_ms))
                each.summary = None

    def _read(self) -> None:
        """Take in the lines that are new in the channel."""
        lines: list[bytes] = []
        with contextlib.suppress(OSError), self._channel.open("rb") as file:  # somebody has removed it
            file.seek(self._read_to)
            lines = [line for line in file if line.endswith(b"\n")]
        self._read_to += sum(map(len, lines))
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # none of ours
                self._take(json.loads(line))

    def _take(self, said: Mapping[str, Any]) -> None:
        self._saw_mlflow |= "mlflow" in said
        if "peak_rss_mb" in said:
            self._measurement.record_peak_rss(said["peak_rss_mb"])
        if "end" in said:
            opened = self._opened[said["end"]]
            opened.is_open, opened.summary = False, said["summary"]
        elif "start" in said and said["start"] in self._opened:
            self._opened[said["start"]].is_open = True
        elif "start" in said:
            run = Run(with_login(said["tracking_uri"], self._home.uri), said["experiment_id"], said["start"])
            self._opened[run.run_id] = _Opened(run, said["parent"], said["time_ms"])

    def _wanted(self, tops: list[_Opened], is_last: bool) -> Run | None:
        """The run in which the program belongs now, without an id if it is to be made; None while that is open."""
        if self._home.run_id or not tops:
            patience_s = _WITHOUT_RUN_S if self._saw_mlflow else _WITHOUT_MLFLOW_S
            is_due = self._home.run_id or is_last or self._measurement.elapsed_s >= patience_s
            return self._home if is_due else None
        return tops[0].run if len(tops) == 1 else tops[0].run._replace(run_id="")

    def _record_in(self, run: Run) -> None:
        """Record the program in this run from now on."""
        if not run.run_id:
            run = run._replace(run_id=self._create(run))
            self._made.add(run.run_id)
        before, self.run, recorded, self._logger = self.run, run, self._logger, None
        if recorded is not None:
            self._left.append(before)
            if not recorded.leave():  # `sync` brings the rest to that run
                self._made.discard(before.run_id)
        try:
            made_logger = SystemMetricsLogger(run.run_id, run.uri, pid=self._pid, measurement=self._measurement)
        except ValueError:  # the program has deleted it
            self._opened.pop(run.run_id, None)
            self.run = before
            raise
        self._logger = made_logger.start()

    @property
    def _next_key(self) -> str:
        """Of the run that is to be made after this one."""
        return f"{self._folder.name}/{self.run.run_id}"

    def _create(self, run: Run) -> str:
        """Make a run there, unless an earlier request for it was carried out and its answer lost; return its id."""
        store, key = Store(run.uri), self._next_key
        began_ms, tags = self._measurement.began_ms or now_ms(), {**self._tags, RUN_KEY: key}
        found = store.run_with_key(run.experiment_id, key)
        return found or store.create_run(run.experiment_id, began_ms, tags, self._name)

    def _copy_left(self) -> None:
        with self._copying:
            while self._left and self._logger is not None:  # else there is no run to copy into
                self._copy(self._left[0], self.run)
                del self._left[0]

    def _copy(self, before: Run, run: Run) -> None:
        """Copy the program's series from one run into another. A run that was made here is deleted then.

        Those of hours take minutes.
        """
        client, began_ms, outbox = MlflowClient(before.uri), self._measurement.began_ms or 0, Outbox(run.run_id)
        if before.run_id in self._made:
            client.set_terminated(before.run_id)  # it stays if there is no time to copy all
        for name in client.get_run(before.run_id).data.metrics:
            if name.startswith(SYSTEM_PREFIX):
                stored = client.get_metric_history(before.run_id, name)
                points = [Point(name, each.value, each.timestamp) for each in stored if each.timestamp >= began_ms]
                outbox.add(log(points))
                replay(outbox, Store(run.uri), lambda key: None)
        if before.run_id in self._made:
            client.delete_run(before.run_id)

    def _add(self, run: Run, operations: list[Operation]) -> None:
        """Have these brought to a run: soon, or by `sync`."""
        if run.uri not in self._writers:
            self._writers[run.uri] = Writer(Store(run.uri))
            self._writers[run.uri].start()
        outbox = Outbox(run.run_id)
        outbox.add(operations)
        self._writers[run.uri].attach(outbox)

    def _finish(self, status: str, tags: Mapping[str, str], *, ends: bool) -> None:
        try:
            try:
                with self._looking:
                    self._look(is_last=True)
            finally:
                if self._logger is not None:
                    self._logger.stop()  # first: what is later than the end would be of a run that has gone on
            end = Operation("end", [status, now_ms(), {}])
            for each in self._opened.values():
                with contextlib.suppress(NoSuchRunError):  # deleted
                    is_other = each.is_open and each.run.run_id != self.run.run_id
                    if is_other and Store(each.run.uri).run(each.run.run_id).status == "RUNNING":  # not ended otherwise
                        self._add(each.run, [end])
            self._add(self.run, [*log(tags=tags), *([end] if ends and self._is_open(status) else [])])
            if self._name is not None and self.run.run_id in self._opened:
                MlflowClient(self.run.uri).update_run(self.run.run_id, name=self._name)
        finally:
            for writer in self._writers.values():
                if not writer.close(_CLOSE_S):
                    writer.keep()

    def _is_open(self, status: str) -> bool:
        opened = self._opened.get(self.run.run_id)
        return opened is None or opened.is_open or status != "FINISHED"

    def _keep(self, status: str, tags: Mapping[str, str], *, ends: bool) -> None:
        """Leave to `sync` what the store did not take, a run that could not be made as well."""
        if self._logger is not None:
            self._logger.stop()  # first, as in `_finish`
        for each in self._opened.values():
            if each.is_open and each.run.run_id != self.run.run_id:
                keep_end(each.run.uri, each.run.run_id, status)
        if self.run.run_id:
            keep_end(self.run.uri, self.run.run_id, status if ends and self._is_open(status) else None, tags)
            return
        writer, key, measurement = Writer(Store(self.run.uri)), self._next_key, self._measurement
        about = {"experiment_id": self.run.experiment_id, "name": self._name, "start_ms": measurement.began_ms}
        writer.create(key, tags=self._tags, **about)  # type: ignore[arg-type]
        writer.add(key, log(window_points(measurement.drain()), summary=measurement.summary))
        writer.end(key, status, tags=tags)
        writer.keep()
