"""The MLflow runs of an experiment's trials, and the run around them: opened, filled and ended without waiting."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION

from mlflow_sysmetrics.delivery import RunHandle, RunRef, source_tags, writer_for
from mlflow_sysmetrics.delivery.store import Store, StoredRun
from mlflow_sysmetrics.guard import never_raises
from mlflow_sysmetrics.limits import Watchdog
from mlflow_sysmetrics.metrics import COUNTS
from mlflow_sysmetrics.outcome import Outcome
from mlflow_sysmetrics.ray_tune.destination import STUDY, summary_of_all
from mlflow_sysmetrics.ray_tune.endings import UNFINISHED, outcome_by_state, process_died
from mlflow_sysmetrics.ray_tune.inside import Located
from mlflow_sysmetrics.ray_tune.measuring import Nodes, Used
from mlflow_sysmetrics.redact import get_logger, lasting_uri
from mlflow_sysmetrics.tags import KIND, STOP, STUDY_ID, TRIAL_ID
from mlflow_sysmetrics.threads import Deadline, in_background

logger = get_logger(__name__)
_LAST_READINGS_S = 10.0
_LOOK_EVERY_S = 0.2


class TrialRun:
    """A trial until its run has ended: the handle of the run, and what is known of the trial."""

    def __init__(self, trial: Trial, handle: RunHandle) -> None:
        self.trial = trial
        self.handle = handle
        self.params: Mapping[str, Any] = {}  # as they were last
        self.reported: set[str] = set()  # names of metrics
        self.summary: Mapping[str, float] = {}  # of a trial that measures itself, so far
        self.has_begun = False  # else it has failed before
        self.has_diverged = False  # a value was not finite
        self.state: Future[Any] | None = None  # what its trainable says of itself, where a result says that it is done
        self.outcome: Outcome | None = None  # if it is known: None can also mean that only its trainable knows
        self.end: Future[None] | None = None  # of the run, once Tune has ended the trial
        self._released = threading.Event()  # once its present process is not measured
        self._used: list[Future[Used | None]] = []

    def measure(self, located: Located, nodes: Nodes) -> None:
        """Measure this process of the trial from now on, and the one before no more."""
        self.release()
        self._released = released = threading.Event()
        self._used.append(in_background(lambda: nodes.measure(located, released, self.handle)))

    def release(self) -> None:
        """Measure its process no more: another trial may get it."""
        self._released.set()

    def used(self) -> list[Used | None]:
        """What its processes used until they were released; None for one of which that is unknown. Waits for it."""
        used = []
        for future in self._used:
            with suppress(Exception):  # the trial failed before it had a process
                used.append(future.result())
        return used


class Experiment:
    """The runs of one experiment. Only `close` waits."""

    def __init__(self, around: RunRef, study_id: str, earlier: Mapping[str, StoredRun]) -> None:
        self.around = around  # where the run is that trials are nested under; without an id it is made here
        self.study_id = study_id
        self.nodes = Nodes()
        self.trials: dict[str, TrialRun] = {}  # whose runs have not ended
        self.restarts = 0
        self._earlier = earlier  # runs from before an interruption, see `find_earlier`
        self._began = time.time()
        self._handles: dict[str, RunHandle] = {}  # by trial; STUDY is the run around the trials
        self._outcomes: dict[str, Outcome] = {}  # of trials that have ended
        self._writer = writer_for(around.tracking_uri)
        self._store = Store(around.tracking_uri)  # with a time limit of its own: the writer changes that of its store
        self._watchdog = Watchdog(
            self._stop, stop_tags=self._stop_tags, is_unreachable=lambda: self._writer.is_unreachable
        )
        self._copies: list[Future[None]] = []
        self._is_delivered: bool | None = None  # known after close

    def start(self) -> Experiment:
        """Start the thread that asks whether somebody stops a run."""
        self._watchdog.start()
        return self

    def open(self, trial: Trial, title: str, tags: Mapping[str, str], run_id: str | None) -> TrialRun:
        """Have a trial's run created, or that with this id go on, nested under the run around the trials."""
        study = self._open_study(f"tune {trial.experiment_dir_name}")
        own = {KIND: "trial", TRIAL_ID: trial.trial_id, "trial_name": str(trial)}
        handle = self._open(trial.trial_id, title, {**own, **tags}, run_id, study)
        run = TrialRun(trial, handle)
        self.trials[trial.trial_id] = run
        return run

    def location(self, run: TrialRun) -> dict[str, str | None]:
        """What the trial's process has to know to find its run. Nothing of it is secret."""
        return {
            "uri": lasting_uri(self.around.tracking_uri),
            "experiment_id": self.around.experiment_id,
            "key": run.handle.key,
            "run_id": run.handle.run_id,
            "trial_id": run.trial.trial_id,
        }

    def run_id(self, trial_id: str) -> str | None:
        """MLflow's id of a trial's run; None while the store has not created it."""
        handle = self._handles.get(trial_id)
        return handle.run_id if handle else None

    def end(self, run: TrialRun, outcome: Outcome | None, *, with_files: bool = False) -> None:
        """End a trial's run once the last readings of its processes are there; None: as its trainable says.

        The files that Tune keeps of the trial are copied into it after that, if they are wanted.
        """
        run.outcome = outcome
        run.release()
        run.end = in_background(lambda: self._end_after_last_readings(run, with_files))
        if with_files:
            self._copies.append(run.end)

    def count(self, trial_ids: Collection[str]) -> None:
        """Say at the end what became of these trials, also if they had ended before an interruption."""
        for trial_id in trial_ids:
            earlier = self._earlier.get(trial_id)
            if earlier is not None and earlier.end_ms is not None:
                self._outcomes.setdefault(trial_id, Outcome(earlier.status))

    def close(self, timeout_s: float) -> bool:
        """End what is open and write what is left, for a limited time; say whether all of it was written. Idempotent.

        The rest goes to disk, or all at Ctrl-C, and ``mlflow-sysmetrics sync`` delivers it.
        """
        if self._is_delivered is not None:
            return self._is_delivered
        deadline = Deadline(timeout_s)
        self._watchdog.release()
        self._end_trials(min(_LAST_READINGS_S, timeout_s / 2))  # the rest is for the ends of runs
        self._end_study()
        left_s = deadline.left()
        if self._writer.is_unreachable:
            text = "waiting up to %.0f s for MLflow to take what is left; Ctrl-C leaves it on disk at once"
            logger.warning(text, left_s)
        self._is_delivered = self._writer.close(self._handles.values(), left_s)
        if wait(self._copies, deadline.left()).not_done:  # last: how runs ended matters more
            logger.warning("not all files were copied in time: those of some trials are missing from their runs")
        return self._is_delivered

    def _open_study(self, title: str = "") -> RunHandle:
        """The run around the trials, which is created at its first use, unless it is somebody else's."""
        if STUDY in self._handles:
            return self._handles[STUDY]
        if self.around.run_id is None:
            return self._open(STUDY, title, {KIND: "study"})
        self._handles[STUDY] = handle = self._writer.open(self.around.run_id)
        return handle

    def _open(
        self,
        name: str,
        title: str,
        own_tags: Mapping[str, str],
        run_id: str | None = None,
        parent: RunHandle | None = None,
    ) -> RunHandle:
        """Have the run of this trial, or STUDY, created; one with an id, or from before an interruption, goes on."""
        # Who runs what, as MLflow tags the runs that it makes itself. The host of a trial may be another than this.
        source = {tag: text for tag, text in source_tags().items() if name == STUDY or tag.startswith("mlflow.")}
        tags = {**source, STUDY_ID: self.study_id, **own_tags}
        key = f"{self.study_id}/{name}"
        if run_id is None and name in self._earlier:
            run_id = self._earlier[name].run_id
        if run_id is None:
            experiment_id = self.around.experiment_id
            handle = self._writer.create(experiment_id, name=title, tags=tags, parent=parent, key=key)
        else:
            handle = self._writer.open(run_id, key=key, title=title)
            handle.reopen(tags)
        self._handles[name] = handle
        return handle

    def _end_after_last_readings(self, run: TrialRun, with_files: bool) -> None:
        used = run.used()
        outcome = run.outcome or outcome_by_state(run.state, run.trial.run_metadata.last_result)
        if used:
            summaries = [process and process.summary for process in used]
            run.summary = {**run.summary, **summary_of_all(self._earlier.get(run.trial.trial_id), summaries)}
            if used[-1] is not None and outcome.status == "FAILED" and process_died(run.trial):
                outcome = Outcome(outcome.status, {**used[-1].death, **outcome.tags})
        self._end(run, outcome)
        if with_files:
            while run.handle.run_id is None and self._is_delivered is None:
                time.sleep(_LOOK_EVERY_S)
            if run.handle.run_id is not None:
                with never_raises("copying the files of a trial"):
                    self._store.write_files(run.handle.run_id, run.trial.local_path)

    def _end(self, run: TrialRun, outcome: Outcome) -> None:
        summary = {name: value for name, value in run.summary.items() if name not in run.reported}
        run.handle.log(summary=summary)
        run.handle.end(outcome)
        self._outcomes[run.trial.trial_id] = outcome
        self.trials.pop(run.trial.trial_id, None)

    def _end_trials(self, timeout_s: float) -> None:
        """End what Tune has not ended: trials that run, and those of an interrupted experiment that did not go on."""
        for run in list(self.trials.values()):
            if run.end is None:
                self.end(run, UNFINISHED)
        wait([run.end for run in list(self.trials.values()) if run.end is not None], timeout_s)
        for run in list(self.trials.values()):  # whose last readings have not come in time
            self._end(run, run.outcome or UNFINISHED)
        self.nodes.close()
        for name, earlier in self._earlier.items():
            if earlier.end_ms is None and name != STUDY and name not in self._handles:
                self._handles[name] = handle = self._writer.open(earlier.run_id)
                handle.end(UNFINISHED)
                self._outcomes[name] = UNFINISHED

    def _end_study(self) -> None:
        """End the run around the trials, if it was made here, with what became of them."""
        earlier = self._earlier.get(STUDY)
        if earlier is not None:  # it says what became of the trials, though none may have gone on
            self._open_study()
            self.restarts += int(earlier.values.get("restarts", 0))
        if STUDY not in self._handles or self.around.run_id is not None:
            return
        counts = Counter(outcome.status for outcome in self._outcomes.values())
        summary = summary_of_all(earlier, [{"elapsed_s": time.time() - self._began}])
        numbers = (counts.total(), counts["KILLED"], counts["FAILED"], self.restarts)
        summary.update(zip(COUNTS, numbers, strict=True))
        study = self._handles[STUDY]
        study.log(summary=summary)
        study.end(Outcome("KILLED" if UNFINISHED in self._outcomes.values() else "FINISHED"))

    def _stop_tags(self) -> dict[str, str]:
        """The runs of this experiment that somebody asks to stop, and what the tag is set to."""
        tagged = self._store.running_with(self.around.experiment_id, STOP)
        own = {handle.run_id for handle in list(self._handles.values())}
        return {run_id: text for run_id, text in tagged.items() if run_id in own}

    def _stop(self, run_id: str, outcome: Outcome) -> None:
        """Stop the trial or the experiment of this run.

        The tag is removed before: whoever continues the run would be ended again. The run around says who set it.
        """
        if run_id == self.run_id(STUDY):
            self._handles[STUDY].log(tags=outcome.tags)
            self._handles[STUDY].delete_tag(STOP)
            os.kill(os.getpid(), signal.SIGINT)
            return
        for run in list(self.trials.values()):
            if run.handle.run_id == run_id:
                run.handle.delete_tag(STOP)
                run.outcome = outcome
                # The loop reads it at the trial's next result, and ends the trial as one that has done what was
                # planned. One that is paused has that result when it goes on.
                run.trial.stopping_criterion = {**run.trial.stopping_criterion, TRAINING_ITERATION: 0}
