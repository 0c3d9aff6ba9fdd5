"""In which MLflow run a program is recorded: this follows what the program itself does with MLflow.

A program that opens no run gets one of its own. One that opens a single run is recorded in that. Of one that opens
several, the whole program has a run of its own, around these, and each of them has the summary that was measured in the
program's process. `autologging` tells of them, a line of JSON in the channel for each beginning and end.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.delivery import Outbox, Point, Store, Writer, keep_end, now_ms, window_points, within
from mlflow_sysmetrics.delivery.operations import Operation, log
from mlflow_sysmetrics.host import CHANNEL
from mlflow_sysmetrics.logger import SystemMetricsLogger
from mlflow_sysmetrics.measure import Measurement
from mlflow_sysmetrics.redact import get_logger, lasting_uri, with_login
from mlflow_sysmetrics.tags import STOP

logger = get_logger(__name__)
_LOOK_EVERY_S = 0.5
_WITHOUT_MLFLOW_S, _WITHOUT_RUN_S = 5.0, 60.0  # before a program has a run: it may still open one
_ANSWER_S = 5.0
_END_S = 20.0  # for the logger to deliver, for the other runs, and for what has to be asked


class Place(NamedTuple):
    """Where the program is recorded: in this run, or, for None, in one of its own in this experiment."""

    uri: str
    experiment_id: str
    run_id: str | None = None


@dataclass
class _Opened:
    """A run that the program has opened, and what is to be written into it."""

    place: Place
    parent: str | None
    since_ms: int
    outbox: Outbox
    is_open: bool = True
    summary: Mapping[str, float] = field(default_factory=dict)
    has_parent: bool = False  # one of ours


class Follower:
    """Records a program from `start` to `finish`, in a thread. Neither raises; only `finish` waits for a store.

    Args:
        own: where the program's own run would be; or the run that it is recorded in, whatever it does.
        name: of the program's run; by default MLflow, or the program, chooses one.
        tags: of its own run.
    """

    def __init__(self, own: Place, *, name: str | None = None, tags: Mapping[str, str] | None = None) -> None:
        self.own, self._name, self._tags = own, name, tags or {}
        self._folder: str | None = None
        with contextlib.suppress(OSError):  # no place for temporary files: then its own run it is
            self._folder = tempfile.mkdtemp(prefix="mlflow-sysmetrics-")
            self._channel.touch(mode=0o600)
        self._read_to, self._saw_mlflow = 0, False
        self._opened: dict[str, _Opened] = {}
        self._writers: dict[str, Writer] = {}
        self._place: Place | None = None
        self._key = ""  # of the program's own run
        self._before: list[tuple[Place, str]] = []  # where it was recorded until now: for "", in that run; or a key
        self._renamed: tuple[str, str] | None = None  # a run, and the name that the program gave it
        self._logger: SystemMetricsLogger | None = None
        self._stopping = threading.Event()
        run = contextvars.copy_context().run  # MLflow keeps its workspace there
        self._thread = threading.Thread(target=run, args=(self._work,), name="mlflow-sysmetrics-follower", daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """What the program has to find in its environment."""
        return {} if self._folder is None else {CHANNEL: str(self._channel)}

    @property
    def run(self) -> Place | None:
        """The run in which the program is recorded; None while there is none."""
        place = self._place
        if place is None or place.run_id is not None:
            return place
        run_id = self._writer(place.uri).run_id(self._key)
        return None if run_id is None else place._replace(run_id=run_id)

    def start(self, measurement: Measurement) -> None:
        """Record what this measures of the program, which has just been started."""
        self._measurement, self._began, self._began_ms = measurement, time.monotonic(), now_ms()
        with contextlib.suppress(RuntimeError):  # no more threads: then all is done at the end
            self._thread.start()

    def finish(self, status: str, tags: Mapping[str, str], *, ends: bool) -> None:
        """The program has ended: deliver what there is, with tags that say why, and end the runs that it left open.

        Its own run, too, if this `ends` it.
        """
        self._stopping.set()
        try:
            within(_END_S, lambda: self._finish(status, tags, ends=ends))
        except Exception as error:
            run, end = self.run, status if ends else None
            logger.warning("the end of the program's run is missing; `mlflow-sysmetrics sync` may add it. %s", error)
            if run is not None and run.run_id is not None:
                keep_end(run.uri, run.run_id, end, tags)
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    # --- the stop button of the run ---

    def stop_tag(self) -> dict[str, str]:
        """What the tag of the program's run that asks for its end is set to; {} without it."""
        run = self.run
        tags = Store(run.uri, _ANSWER_S).run(str(run.run_id)).tags if run else {}
        return {str(run.run_id): tags[STOP]} if run and STOP in tags else {}

    def clear_stop_tag(self, run_id: str) -> None:
        """Whoever goes on in the run would be ended again."""
        if run := self.run:
            Store(run.uri, _ANSWER_S).delete_tag(run_id, STOP)

    @property
    def store_is_away(self) -> bool:
        """Whether the store did not take what it was sent last."""
        return any(writer.is_away for writer in self._writers.values()) or (
            self._logger is not None and self._logger.store_is_away
        )

    # --- in the thread ---

    @property
    def _channel(self) -> Path:
        return Path(str(self._folder), "channel")

    def _writer(self, uri: str) -> Writer:
        if uri not in self._writers:
            self._writers[uri] = Writer(Store(uri))
            self._writers[uri].start()
        return self._writers[uri]

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except Exception as error:  # it is tried again
                logger.debug("the program's runs could not be followed yet: %s", error)
            self._stopping.wait(_LOOK_EVERY_S)

    def _look(self, is_last: bool = False) -> None:
        """See what the program has done since, and record it where that leads. Raises what the store raises."""
        self._read()
        tops = [run for run in self._opened.values() if run.parent is None and run.place.run_id != self.own.run_id]
        place = self._wanted(tops, is_last)
        if place != self._place:
            self._move(place)
        if (run := self.run) is not None:
            if self._logger is None:
                self._record_in(run)
            self._bring_along(run)
            for top in tops:
                if not top.has_parent and top.place.uri == run.uri and top.place.run_id != run.run_id:
                    top.has_parent = True
                    top.outbox.add(log(tags={MLFLOW_PARENT_RUN_ID: run.run_id}))
        for each in self._opened.values():
            if each.summary and place is not None and each.place != place:
                each.outbox.add(log(summary=each.summary, own_since_ms=each.since_ms))
                each.summary = {}

    def _read(self) -> None:
        """Take in the lines that are new in the channel."""
        if self._folder is None:
            return
        with self._channel.open("rb") as file:
            file.seek(self._read_to)
            new = file.read().rpartition(b"\n")[0]
        self._read_to += len(new) + bool(new)
        for line in new.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # a line that is none of ours
                self._take(json.loads(line))

    def _take(self, said: Mapping[str, object]) -> None:
        self._saw_mlflow |= "mlflow" in said
        if "start" in said:
            run_id, since_ms = str(said["start"]), int(str(said["time_ms"]))
            if run_id in self._opened:
                self._opened[run_id].is_open = True
                return
            uri = with_login(str(said["tracking_uri"]), self.own.uri)
            outbox, parent = Outbox(run_id), said["parent"]
            self._writer(uri).attach(outbox)
            place = Place(uri, str(said["experiment_id"]), run_id)
            self._opened[run_id] = _Opened(place, None if parent is None else str(parent), since_ms, outbox)
        elif "end" in said:
            opened = self._opened[str(said["end"])]
            opened.is_open, opened.summary = False, dict(said["summary"])  # type: ignore[call-overload]

    def _wanted(self, tops: list[_Opened], is_last: bool) -> Place | None:
        """Where the program should be recorded now."""
        if self.own.run_id is not None:
            return self.own
        if len(tops) == 1:
            return tops[0].place
        if tops:
            return tops[0].place._replace(run_id=None)
        patience_s = _WITHOUT_RUN_S if self._saw_mlflow else _WITHOUT_MLFLOW_S
        return self.own if is_last or time.monotonic() - self._began >= patience_s else None

    def _move(self, place: Place | None) -> None:
        """Record the program elsewhere from now on."""
        if self._logger is not None:
            self._logger.leave()
            self._logger = None
        if self._place is not None:
            self._before.append((self._place, self._key if self._place.run_id is None else ""))
        self._place = place
        if place is not None and place.run_id is None:
            self._key = uuid.uuid4().hex
            writer, wanted = self._writer(place.uri), {"name": self._name, "tags": self._tags}
            writer.create(self._key, experiment_id=place.experiment_id, start_ms=self._began_ms, **wanted)

    def _record_in(self, run: Place) -> None:
        self._logger = SystemMetricsLogger(run.run_id, run.uri, measurement=self._measurement).start()
        if self._name is None or self._place is None or self._place.run_id is None or self.own.run_id is not None:
            return
        client = MlflowClient(run.uri)
        self._renamed = str(run.run_id), str(client.get_run(str(run.run_id)).info.run_name)
        client.update_run(str(run.run_id), name=self._name)

    def _bring_along(self, run: Place) -> None:
        """Copy the series of where the program was recorded before into its run. A run of ours goes then."""
        while self._before:
            place, key = self._before[0]
            run_id = self._writer(place.uri).run_id(key) if key else place.run_id
            if run_id is None:  # the store has yet to make it
                return
            client = MlflowClient(place.uri)
            names = [name for name in client.get_run(run_id).data.metrics if name.startswith("system/")]
            points = [point for name in names for point in client.get_metric_history(run_id, name)]
            copy = Outbox(run.run_id)
            self._writer(run.uri).attach(copy)
            copy.add(
                log(
                    Point(point.key, point.value, point.timestamp)
                    for point in points
                    if point.timestamp >= self._began_ms
                )
            )
            if key:
                client.delete_run(run_id)
            elif self._renamed and self._renamed[0] == run_id:
                client.update_run(run_id, name=self._renamed[1])
            del self._before[0]

    def _finish(self, status: str, tags: Mapping[str, str], *, ends: bool) -> None:
        if self._thread.is_alive():
            self._thread.join()
        summary = self._measurement.stop()
        self._look_last()
        place, run, key = self._place or self.own, self.run, self._key
        if self._logger is not None:
            self._logger.stop()
        elif place.run_id is None:  # the store has yet to make it
            self._writer(place.uri).log(key, window_points(self._measurement.drain()), summary=summary)
        ends = ends and not (status == "FINISHED" and run is not None and self._has_ended(run))
        if place.run_id is None:
            writer = self._writer(place.uri)
            writer.end(key, status, tags=tags) if ends else writer.log(key, tags=tags)
        else:
            outbox = Outbox(place.run_id)
            self._writer(place.uri).attach(outbox)
            outbox.add([*log(tags=tags), *([_end(status)] if ends else [])])
        for each in self._opened.values():
            if each.is_open and each.place != place:
                each.outbox.add([_end(status)])
        for writer in self._writers.values():
            if not writer.close(_ANSWER_S) and writer.keep():
                logger.warning("MLflow has not taken all of the program's runs; `mlflow-sysmetrics sync` delivers it")

    def _look_last(self) -> None:
        """Look once more, and again when the store has made the program's own run."""
        deadline = time.monotonic() + _ANSWER_S
        with contextlib.suppress(Exception):
            self._look(is_last=True)
            while self.run is None and time.monotonic() < deadline and not self.store_is_away:
                time.sleep(0.02)
            self._look(is_last=True)

    def _has_ended(self, run: Place) -> bool:
        """Whether the program, or a person, has ended the run."""
        with contextlib.suppress(Exception):
            return Store(run.uri, _ANSWER_S).run(str(run.run_id)).end_ms is not None
        return run.run_id in self._opened and not self._opened[str(run.run_id)].is_open


def _end(status: str) -> Operation:
    return Operation("end", [status, now_ms(), {}])
