"""The MLflow runs of an experiment's trials, and the run around them: opened, filled and ended without waiting."""

from __future__ import annotations

import functools
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Set
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION

from mlflow_sysmetrics.delivery.operations import Point, log
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.delivery.waiting import within
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.host import HostContext
from mlflow_sysmetrics.limits import StopButton, reason_of_a_person
from mlflow_sysmetrics.metrics import COUNTS
from mlflow_sysmetrics.ray_tune.destination import NEW, Destination, Earlier
from mlflow_sysmetrics.ray_tune.endings import SWEPT, End, by_person, end_by
from mlflow_sysmetrics.ray_tune.measuring import Nodes, TrialProcesses
from mlflow_sysmetrics.redact import get_logger, lasting_uri
from mlflow_sysmetrics.tags import KIND, STOP, STUDY_ID, TRIAL_ID

logger = get_logger(__name__)
_LAST_READINGS_S, _VIEW_S, _LOOK_EVERY_S = 10.0, 10.0, 0.2


@dataclass(eq=False)
class TrialRun:
    """A trial until its end: its run, and what is known of it."""

    trial: Trial
    key: str  # of its run
    earlier: Earlier  # the same, before an interruption
    processes: TrialProcesses
    params: dict[str, Any] = field(default_factory=dict)  # as they were last
    params_at_end: dict[str, Any] = field(default_factory=dict)  # that are still to be logged
    reported: set[str] = field(default_factory=set)  # names of metrics
    told: Mapping[str, float] = field(default_factory=dict)  # the summary of a trial that measures itself, so far
    diverged: bool = False  # a value was not finite
    asked_to_stop: str | None = None  # by somebody, who has set the tag to this
    state: Future[Any] | None = None  # what its trainable says of itself, where a result says that it is done


class Experiment:
    """The runs of one experiment. Only `close` and `save_view` wait."""

    def __init__(self, client: MlflowClient, place: Destination, study_id: str, groups: Collection[str]) -> None:
        self.place, self.study_id, self._client = place, study_id, client
        self._about: dict[str, Any] = {"experiment_id": place.experiment_id}
        self.trials: dict[str, TrialRun] = {}  # that have not ended
        self.restarts = int((place.study.summary or {}).get("restarts", 0))
        # Who runs what, as MLflow tags the runs that it makes itself: user, source, commit.
        self._source_tags = {name: value for name, value in resolve_tags().items() if name.startswith("mlflow.")}
        self._study_tags = {**self._source_tags, **HostContext().tags(), KIND: "study", STUDY_ID: study_id}
        self._study = self.key("study")  # of the run around the trials, where that is made here
        self._began = time.time()
        self._ends = {self.key(trial_id): End(run.status) for trial_id, run in place.trials.items() if run.status}
        self.writer = Writer(Store(client.tracking_uri))
        self._store = Store(client.tracking_uri)  # with a time limit of its own: the writer changes that of the other
        ask = functools.partial(self._store.running_with, place.experiment_id, STOP)
        self._button = StopButton(ask, self._stop_asked, self._clear_stop, is_away=lambda: self.writer.is_away)
        self._nodes = Nodes(groups)
        self._written: bool | None = None  # known after close
        self._with_files = queue.SimpleQueue[TrialRun | None]()  # trials whose files are to be copied; None: no more
        # A daemon, unlike an executor's: an upload that hangs does not hold up the end of the program.
        self._copying = threading.Thread(target=self._copy_files, name="mlflow-sysmetrics-files", daemon=True)

    def start(self) -> Experiment:
        """Start the threads that write, measure, and ask whether somebody stops a run."""
        self.writer.start()
        self._nodes.start()
        self._button.start()
        return self

    def key(self, trial_id: str) -> str:
        return f"{self.study_id}/{trial_id}"

    def open(self, trial: Trial, name: str, tags: Mapping[str, str], run_id: str | None) -> TrialRun:
        """Have a trial's run created, or that with this id go on, nested under the run around the trials."""
        key, parent = self.key(trial.trial_id), self.place.parent_run_id
        earlier = self.place.trials.get(trial.trial_id, NEW)
        own = {KIND: "trial", STUDY_ID: self.study_id, TRIAL_ID: trial.trial_id, "trial_name": str(trial)}
        around = {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
        about = {**self._about, "name": name, "tags": {**around, **self._source_tags, **own, **tags}}
        if parent is None:
            self._open_study(f"tune {getattr(trial, 'experiment_dir_name', trial)}")
        self.writer.create(key, run_id=run_id or earlier.run_id, parent=None if parent else self._study, **about)

        def write(points: list[Point], tags: Mapping[str, str]) -> None:
            with suppress(KeyError):  # it has been ended, since time was up
                self.writer.add(key, log(points, tags=tags))

        self.trials[trial.trial_id] = run = TrialRun(trial, key, earlier, TrialProcesses(self._nodes, write))
        return run

    def where(self, run: TrialRun) -> dict[str, str | None]:
        """What the trial's process has to know to find its run. Nothing of it is secret."""
        known = {**self._about, "uri": lasting_uri(self._client.tracking_uri)}
        return {**known, "key": run.key, "run_id": self.writer.run_id(run.key), "trial_id": run.trial.trial_id}

    def end(self, run: TrialRun, end: End | None) -> None:
        """End a trial's run once the last readings of its process are there; None: as its trainable says."""

        def then(measured: dict[str, float], death: Mapping[str, str], said: Any) -> None:
            known = end or end_by(said, run.trial.run_metadata.last_result)
            summary = {**run.told, **run.earlier.followed_by(measured)}
            own = {name: value for name, value in summary.items() if name not in run.reported}
            self._end(run.key, known, own, death, run.params_at_end)

        self.trials.pop(run.trial.trial_id, None)  # a signal's handler may close in the middle of a close
        run.processes.end(then, None if end else run.state)

    def count_only(self, trial_ids: Set[str]) -> None:
        """Say at the end what became of these trials alone: a failed one that Tune restarts has a new id."""
        for trial_id in self.place.trials.keys() - trial_ids:
            self._ends.pop(self.key(trial_id), None)

    def close(self, timeout_s: float) -> bool:
        """End what is open and write what is left, for a limited time; say whether all of it was written. Idempotent.

        The rest goes to disk, or all at Ctrl-C, and ``mlflow-sysmetrics sync`` delivers it.
        """
        if self._written is not None:
            return self._written
        timeout_s = min(timeout_s, threading.TIMEOUT_MAX)
        deadline = time.monotonic() + timeout_s
        self._button.stop()
        for trial in list(self.trials.values()):
            self.end(trial, SWEPT)
        self._nodes.close(min(_LAST_READINGS_S, timeout_s / 2))  # the rest is for the ends of runs
        if self.place.study is not NEW:  # it says what became of the trials, though none may have gone on
            self._open_study()
        for trial_id, run in self.place.trials.items():
            if run.status is None and self.key(trial_id) not in self._ends:  # left open, and not gone on
                self.writer.create(self.key(trial_id), run_id=run.run_id, **self._about)
        for key in self.writer.open_keys():
            if key != self._study:
                self._end(key, SWEPT, {}, {}, {})
        self._end_study()
        try:
            left_s = max(0.0, deadline - time.monotonic())
            if self.writer.is_away:
                said = "waiting up to %.0f s for MLflow to take what is left; Ctrl-C leaves it on disk at once"
                logger.warning(said, left_s)
            self._written = self.writer.close(left_s)
        except KeyboardInterrupt:
            self._written, deadline = False, 0.0
        if not self._written:
            said = "MLflow did not take all data in time: %d runs are incomplete; `mlflow-sysmetrics sync` will help"
            logger.warning(said, self.writer.keep())
        if self._copying.is_alive():
            self._with_files.put(None)
            self._copying.join(max(0.0, deadline - time.monotonic()))  # last: how runs ended matters more
        if self._copying.is_alive():
            logger.warning("not all files were copied in time: those of some trials are missing from their runs")
        return self._written

    def save_view(self) -> str | None:
        """Save the view of the UI that compares the trials by what they cost, within seconds; return its link."""
        from mlflow_sysmetrics.ui import save_costs, trials_of

        place, parent = self.place, self.place.parent_run_id or self.writer.run_id(self._study)
        if parent is None:
            return None
        name = f"What trials cost, {time.strftime('%d %b %H:%M', time.localtime(self._began))}"
        return within(_VIEW_S, lambda: save_costs(self._client, place.experiment_id, name, trials_of(parent), parent))

    def save_files(self, run: TrialRun) -> None:
        """Have the files that Tune keeps of a trial copied into its run."""
        self._with_files.put(run)
        if self._copying.ident is None:  # the first: most experiments have none
            self._copying.start()

    def _copy_files(self) -> None:
        """Copy the files of trials into their runs, one trial after the other: they may be large."""
        while (run := self._with_files.get()) is not None:
            try:
                while (run_id := self.writer.run_id(run.key)) is None and self._written is None:
                    time.sleep(_LOOK_EVERY_S)
                self._client.log_artifacts(str(run_id), run.trial.local_path)
            except Exception:
                logger.warning("the files of trial %s are not in its run", run.trial, exc_info=True)

    def _open_study(self, name: str = "") -> None:
        """Have the run around the trials created, unless it has been."""
        about = {**self._about, "name": name, "tags": self._study_tags}
        self.writer.create(self._study, run_id=self.place.study.run_id, **about)

    def _end(
        self, key: str, end: End, summary: Mapping[str, float], death: Mapping[str, str], params: Mapping[str, object]
    ) -> None:
        with suppress(KeyError):  # it has been ended, since its time was up: perhaps by another thread, just now
            self.writer.add(key, log(params=params, summary=summary))
            self.writer.end(key, end.status, tags={**(death if end.process_died else {}), **end.tags})
            self._ends[key] = end

    def _end_study(self) -> None:
        """End the run around the trials, if it was made here, with what became of them."""
        if not self.writer.is_open(self._study):
            return
        counts = Counter(end.status for end in self._ends.values())
        trials, finished, killed, failed = counts.total(), counts["FINISHED"], counts["KILLED"], counts["FAILED"]
        summary = dict(zip(COUNTS, map(float, (trials, killed, failed, self.restarts)), strict=True))
        summary |= self.place.study.followed_by({"elapsed_s": time.time() - self._began})
        ended = f"{finished} came to their end, {killed} were ended by Tune, a limit or a person, {failed} failed"
        self.writer.add(self._study, log(summary=summary))
        status = "KILLED" if SWEPT in self._ends.values() else "FINISHED"
        self.writer.end(self._study, status, tags={MLFLOW_RUN_NOTE: f"**{trials} trials**: {ended}."})

    def _is_study(self, run_id: str) -> bool:
        return run_id in (self.place.parent_run_id, self.writer.run_id(self._study))

    def _stop_asked(self, run_id: str, said: str) -> bool:
        """Stop the trial or the experiment of this run; say whether the run is ours. Runs in the asking thread."""
        run = next((each for each in list(self.trials.values()) if self.writer.run_id(each.key) == run_id), None)
        if self._is_study(run_id):
            os.kill(os.getpid(), signal.SIGINT)
            self._said = said
        elif run is not None:
            run.asked_to_stop = said
            # The loop reads it at the trial's next result, and ends the trial as one that has done what was planned.
            # One that is paused has that result when it goes on.
            run.trial.stopping_criterion = {**run.trial.stopping_criterion, TRAINING_ITERATION: 0}
        else:
            return False
        logger.warning("stopping %s: %s", f"trial {run.trial}" if run else "all trials", reason_of_a_person(said))
        return True

    def _clear_stop(self, run_id: str) -> None:
        """Remove the tag, so that it does not end a process that continues the run; the run around says who set it."""
        if self._is_study(run_id):
            tags = by_person(self._said).tags
            self._store.log_batch(run_id, [], [], [RunTag(name, value) for name, value in tags.items()])
        self._store.delete_tag(run_id, STOP)
