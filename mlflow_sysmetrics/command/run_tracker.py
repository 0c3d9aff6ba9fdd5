"""Records a program in the MLflow run in which it belongs, by what the program itself does with MLflow.

    none --opens its first run--> in that run --opens another one--> in a run of the whole program
    none --has opened none in time, or has ended--> in a run of the whole program

A run counts unless it is nested in another run of the program. `autologging` tells of runs in the program's process, by
a line of JSON in a file for each event. A program's other runs have the summaries that were measured there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import with_login
from mlflow_sysmetrics.common.threads import Deadline, start_thread
from mlflow_sysmetrics.common.time_limits import DELIVER_S, FIRST_RUN_S, IMPORT_S, LOOK_EVERY_S
from mlflow_sysmetrics.delivery import Run, RunRef, writer_for
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.recording.events import EVENT_FILE
from mlflow_sysmetrics.recording.outcome import Outcome
from mlflow_sysmetrics.recording.recording import Recording
from mlflow_sysmetrics.recording.tags import CAUSE_OF_DEATH, PROGRAM

_IF_KILLED = Outcome("KILLED", {CAUSE_OF_DEATH: "mlflow-sysmetrics was killed; the program may have gone on"})


@dataclass
class _ProgramRun:
    """A run that the program has opened, and the summary that was measured there, once it has ended."""

    handle: Run
    since_ms: int
    is_open: bool = True
    summary: Mapping[str, float] = field(default_factory=dict)


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
        self._has_imported_mlflow = False  # the program
        self.environment = {EVENT_FILE: str(self._events)}  # of the program
        self._program_runs: dict[str, _ProgramRun] = {}
        self._recording: Recording | None = None
        self._is_recorder = False  # else another process writes the series of this run
        self._is_of_whole = False  # whether the run is the whole program's: it was made here, or given
        self._windows: list[Window] = []  # all so far: a run of the whole program gets them, too
        self._looking = threading.RLock()
        self._stopping = threading.Event()

    @property
    def run(self) -> RunRef:
        """The run in which the program is recorded; without an id while there is none."""
        return self._ref._replace(run_id=self._recording.run.run_id if self._recording else None)

    def start(self, run: RunRef, measurement: Measurement) -> None:
        """Record what this measures of the program, which has just been started.

        With an id it is recorded in that run, whatever it does; else `run` is where one would be made.
        """
        self._ref = run
        self._given_id = run.run_id
        self._measurement = measurement
        with never_raises("recording the program"):
            start_thread(self._work, "tracker")

    def look(self) -> None:
        """See what the program has done since the last look, and record it where that leads."""
        with never_raises("recording the program"), self._looking:
            if self._given_id is not None and self._recording is None:
                self._is_of_whole = True
                self._record_in(writer_for(self._ref.tracking_uri).open(self._given_id))
            for event in self._new_events():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # none of ours
                    self._take(json.loads(event))
            limit_s = FIRST_RUN_S if self._has_imported_mlflow else IMPORT_S
            if self._recording is None and self._measurement.elapsed_s >= limit_s:
                self._record_in_new_run()
            windows = self._measurement.drain()
            self._windows += windows
            if self._recording is not None and self._is_recorder:
                self._recording.move(windows)

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
            self.look()
            if self._recording is None:
                self._record_in_new_run()
            assert self._recording is not None
            self._recording.figures.update(figures or {})
            self._finish(self._recording, outcome, ends)
        self.close()

    def _work(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
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
            self._has_imported_mlflow = True
            return
        if kind == "peak_rss":
            self._measurement.record_peak_rss(event["megabytes"])
            return
        run = self._program_runs.get(event["run_id"])
        if run is None:
            self._opened(event)
            return
        run.is_open = kind != "ended"
        if kind == "ended":
            run.summary = event["summary"]
            self._log_summary(run)

    def _opened(self, event: Mapping[str, Any]) -> None:
        """The program has opened a run for the first time."""
        run_id = event["run_id"]
        ref = RunRef(with_login(event["tracking_uri"], self._ref.tracking_uri), event["experiment_id"])
        is_given = run_id == self._given_id
        if is_given and self._recording is not None:
            handle = self._recording.run
        else:
            handle = writer_for(ref.tracking_uri).open(run_id)
        is_nested = event["parent_id"] in self._program_runs
        run = self._program_runs[run_id] = _ProgramRun(handle, event["time_ms"])
        if is_given or is_nested:
            return
        if self._recording is None:
            self._ref = ref
            self._record_in(handle)
            return
        if not self._is_of_whole:
            self._leave(self._recording.run)
        self._join(run)

    def _leave(self, first: Run) -> None:
        """Record in a run of the whole program from now on: it has opened another one than its first."""
        first.checkpoint({})  # what counts if this process is killed: no longer the costs of the whole program
        self._record_in_new_run()
        for run in self._program_runs.values():
            if run.handle is first:
                self._join(run)
                self._log_summary(run)

    def _record_in_new_run(self) -> None:
        """Have a run made for the whole program, and record it there."""
        writer = writer_for(self._ref.tracking_uri)
        began_ms = self._measurement.began_ms
        handle = writer.create(self._ref.experiment_id, name=self._name, tags=self._tags, start_ms=began_ms)
        handle.outcome_if_killed = _IF_KILLED
        self._is_of_whole = True
        self._record_in(handle)

    def _record_in(self, handle: Run) -> None:
        """Record in this run all so far, and what comes."""
        self._recording = Recording(self._measurement, handle)
        self._is_recorder = self._recording.begin()
        if self._is_recorder:
            self._recording.move(self._windows)

    def _join(self, run: _ProgramRun) -> None:
        """Tag a run of the program and that of the whole program with one word: a search for it finds all."""
        assert self._recording is not None
        whole = self._recording.run
        tags = {PROGRAM: whole.key or whole.run_id}
        run.handle.log(tags=tags)
        whole.log(tags=tags)

    def _log_summary(self, run: _ProgramRun) -> None:
        """Log what was measured of a run of the program, unless it has the costs of the whole program."""
        if self._recording is None or run.handle is not self._recording.run:
            run.handle.log(summary=run.summary, unless_logged_since_ms=run.since_ms)

    def _finish(self, recording: Recording, outcome: Outcome, ends: bool) -> None:
        if self._name is not None:
            recording.run.log(tags={MLFLOW_RUN_NAME: self._name})
        runs = self._program_runs.values()
        has_ended = any(run.handle is recording.run and not run.is_open for run in runs)
        is_right = has_ended and outcome.status == "FINISHED"
        if not ends or is_right:
            recording.run.log(tags=outcome.tags)
        recording.end(outcome if ends and not is_right else None)
        deadline = Deadline(DELIVER_S)
        for run in runs:
            if run.handle is recording.run:
                continue
            if run.is_open:
                run.handle.end(Outcome(outcome.status))
            run.handle.close(deadline.left())
