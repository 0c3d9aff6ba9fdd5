"""Records a program in the MLflow run in which it belongs, by what the program itself does with MLflow.

`tracked_run` says which run that is. `autologging` tells of the program's runs in the program's process, by a line of
JSON in a file for each event. Where a program opens several runs, each has the summary that was measured there.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import platform
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from mlflow_sysmetrics.command.tracked_run import State, TrackedRun
from mlflow_sysmetrics.delivery import RunHandle, RunRef, window_points, writer_for
from mlflow_sysmetrics.delivery.journal import InUseError
from mlflow_sysmetrics.delivery.operations import SYSTEM_PREFIX
from mlflow_sysmetrics.events import EVENT_FILE
from mlflow_sysmetrics.guard import never_raises
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.outcome import Outcome
from mlflow_sysmetrics.redact import get_logger, with_login
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION as DEFINITION
from mlflow_sysmetrics.tags import CAUSE_OF_DEATH, MEMORY_DEFINITION, NODE, PID
from mlflow_sysmetrics.threads import Deadline

logger = get_logger(__name__)
_LOOK_EVERY_S = 0.5
WITHOUT_MLFLOW_S = 5.0  # before a program gets a run: until then it may open one
_WITHOUT_RUN_S = 60.0  # the same, where it has imported mlflow
_CLOSE_S = 5.0  # to deliver, for each store
_IF_KILLED = Outcome("KILLED", {CAUSE_OF_DEATH: "mlflow-sysmetrics was killed; the program may have gone on"})


@dataclass
class _ProgramRun:
    """A run that the program has opened."""

    run: RunRef
    handle: RunHandle
    since_ms: int
    is_orphan: bool  # at the top, and not yet below the program's run
    is_open: bool = True
    summary: Mapping[str, float] | None = None  # until it is logged


class RunTracker:
    """Records a program from `start` to `finish`, in a thread. Nothing raises, and only `finish` waits for a store.

    Args:
        name: of the program's run; by default the program or MLflow chooses.
        tags: of a run that is made.
    """

    def __init__(self, *, name: str | None = None, tags: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._tags = dict(tags or {})
        self._folder = Path(tempfile.mkdtemp(prefix="mlflow-sysmetrics-"))  # which only this user may read
        self._events = self._folder / "events"
        self._events.touch()
        self._read_to = 0
        self.environment = {EVENT_FILE: str(self._events)}  # of the program
        self._imports_mlflow = False
        self._program_runs: dict[str, _ProgramRun] = {}
        self.handle: RunHandle | None = None  # of the run in which the program is recorded
        self._recorded_in: RunRef | None = None  # as `TrackedRun` says it
        self._is_recorder = True  # else the program records itself in this run
        self._windows: list[Window] = []  # all so far: the program may belong elsewhere later
        self._looking = threading.RLock()
        self._stopping = threading.Event()
        run = contextvars.copy_context().run  # MLflow keeps its workspace there
        self._thread = threading.Thread(target=run, args=(self._work,), name="mlflow-sysmetrics-tracker", daemon=True)

    @property
    def run(self) -> RunRef:
        """The run in which the program is recorded; without an id while there is none."""
        return self._tracked.run._replace(run_id=self.handle.run_id if self.handle else None)

    def start(self, run: RunRef, measurement: Measurement, pid: int) -> None:
        """Record what this measures of the program with this process id, which has just been started.

        With an id it is recorded in that run, whatever it does; else `run` is where one would be made.
        """
        self._home = run
        self._tracked = TrackedRun(run)
        self._measurement = measurement
        self._series_tags = {NODE: platform.node(), MEMORY_DEFINITION: DEFINITION, PID: pid}
        with never_raises("recording the program"):
            self._thread.start()

    def look(self) -> None:
        """See what the program has done since the last look, and record it where that leads."""
        with never_raises("recording the program"), self._looking:
            for event in self._new_events():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # none of ours
                    self._take(json.loads(event))
            if self._measurement.elapsed_s >= (_WITHOUT_RUN_S if self._imports_mlflow else WITHOUT_MLFLOW_S):
                self._tracked.stop_waiting()
            self._record()
            self._record_others()

    def close(self) -> None:
        """The program has not begun, or was recorded to its end."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def finish(self, outcome: Outcome, *, ends: bool, figures: Mapping[str, float] | None = None) -> None:
        """The program has ended: deliver what is left, tag its run, and end with this the runs that it left open.

        Its own run, too, if this `ends` it; unless the program has succeeded and ended it, and so knows best.
        `figures` replace those of the summary that was measured.
        """
        self._stopping.set()
        with never_raises("recording the end of the program"), self._looking:
            self._tracked.stop_waiting()
            self.look()
            self._finish(outcome, ends, {**self._measurement.summary, **(figures or {})})
        self.close()

    def _work(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            self.look()

    def _new_events(self) -> list[bytes]:
        lines: list[bytes] = []
        with contextlib.suppress(OSError), self._events.open("rb") as file:  # somebody has removed it
            file.seek(self._read_to)
            lines = [line for line in file if line.endswith(b"\n")]
        self._read_to += sum(map(len, lines))
        return lines

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "imported":
            self._imports_mlflow = True
            return
        if kind == "peak_rss":
            self._measurement.record_peak_rss(event["megabytes"])
            return
        run_id = event["run_id"]
        known = self._program_runs.get(run_id)
        if kind == "deleted":
            self._program_runs.pop(run_id, None)
            self._tracked.deleted(run_id)
            if self.handle is not None and self.handle.run_id == run_id:
                self.handle.discard()
        elif kind == "opened" and known is None:
            run = RunRef(with_login(event["tracking_uri"], self._home.tracking_uri), event["experiment_id"], run_id)
            handle = writer_for(run.tracking_uri).open(run_id)
            is_at_top = event["parent_id"] is None
            self._program_runs[run_id] = _ProgramRun(run, handle, event["time_ms"], is_orphan=is_at_top)
            if is_at_top:
                self._tracked.opened(run)
        elif known is not None:
            known.is_open = kind == "opened"
            known.summary = event.get("summary")

    def _record(self) -> None:
        """Log what is new to the run in which the program belongs, and all so far where that is another one now."""
        windows = self._measurement.drain()
        self._windows += windows
        if self._tracked.state is State.WAITING:
            return
        if self._tracked.run != self._recorded_in:
            self._move()
            windows = self._windows
        if self.handle is not None and self._is_recorder and windows:
            self.handle.log(window_points(windows))
            self.handle.checkpoint(self._measurement.summary, self._measurement.began_ms)

    def _move(self) -> None:
        """Have `handle` lead to the run in which the program belongs now, from a run that was made here or opened."""
        before = self.handle
        if before is not None:
            if before.outcome_if_killed is not None:  # made here
                before.delete()
            before.close(_CLOSE_S)
        self._recorded_in = run = self._tracked.run
        writer = writer_for(run.tracking_uri)
        if run.run_id is not None:
            handle = writer.open(run.run_id)
        else:
            began_ms = self._measurement.began_ms
            handle = writer.create(run.experiment_id, name=self._name, tags=self._tags, start_ms=began_ms)
            handle.outcome_if_killed = _IF_KILLED
        self.handle = handle
        self._is_recorder = True
        try:
            handle.keep_journal(SYSTEM_PREFIX)
        except InUseError:
            logger.warning("run %s: another logger records its system metrics, and this one does not", run.run_id)
            self._is_recorder = False
        except OSError as error:
            logger.warning("while MLflow is away, system metrics wait in memory only. %s", error)
        handle.log(tags=self._series_tags)

    def _others(self) -> list[_ProgramRun]:
        """The program's runs but that in which it is recorded."""
        return [opened for run_id, opened in self._program_runs.items() if run_id != self.run.run_id]

    def _record_others(self) -> None:
        """Log the summary of each other run that the program has opened, and hang it below the program's."""
        own = self.run
        if own.run_id is None:
            return
        for other in self._others():
            if other.is_orphan and other.run.tracking_uri == own.tracking_uri:
                other.is_orphan = False
                other.handle.log(tags={MLFLOW_PARENT_RUN_ID: own.run_id})
            if other.summary is not None:
                other.handle.log(summary=other.summary, own_since_ms=other.since_ms)
                other.summary = None

    def _finish(self, outcome: Outcome, ends: bool, summary: Mapping[str, float]) -> None:
        assert self.handle is not None  # the last look has opened or made it
        opened = self._program_runs.get(str(self.handle.run_id))
        tags = dict(outcome.tags)
        if self._name is not None:
            tags[MLFLOW_RUN_NAME] = self._name
        self.handle.log(tags=tags)
        if self._is_recorder:
            self.handle.log(summary=summary, own_since_ms=self._measurement.began_ms)
        if ends and (opened is None or opened.is_open or outcome.status != "FINISHED"):
            self.handle.end(Outcome(outcome.status))
        self.handle.close(_CLOSE_S)
        self._record_others()  # below a run that was made just now
        deadline = Deadline(_CLOSE_S)
        for other in self._others():
            if other.is_open:
                other.handle.end(Outcome(outcome.status))
            other.handle.close(deadline.left())
