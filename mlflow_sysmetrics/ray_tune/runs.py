"""The MLflow runs of an experiment's trials, and the run around them: opened, filled and ended without waiting."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import Future, wait
from typing import Any

import ray
from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import get_logger, lasting_uri
from mlflow_sysmetrics.common.threads import Deadline, in_background, start_thread
from mlflow_sysmetrics.common.time_limits import LAST_READINGS_S, LOOK_EVERY_S, NEXT_RESULT_S
from mlflow_sysmetrics.delivery import Run, RunRef, source_tags, writer_for
from mlflow_sysmetrics.delivery.store import Store, StoredRun
from mlflow_sysmetrics.limits import Limits, StopTag
from mlflow_sysmetrics.metrics import COUNTS, combined_in_turn
from mlflow_sysmetrics.ray_tune.destination import STUDY, summary_before
from mlflow_sysmetrics.ray_tune.endings import UNFINISHED, outcome_by_state, process_died
from mlflow_sysmetrics.ray_tune.inside import ProcessPlace
from mlflow_sysmetrics.ray_tune.measuring import Nodes, TrialProcess
from mlflow_sysmetrics.recording.outcome import Outcome
from mlflow_sysmetrics.recording.tags import KIND, STOP_REASON, STOP_REQUEST, STUDY_ID, TRIAL_ID

logger = get_logger(__name__)


class TrialRun:
    """A trial until its run has ended: the handle of the run, and what is known of the trial."""

    def __init__(self, trial: Trial, handle: Run) -> None:
        self.trial = trial
        self.handle = handle
        self.params: Mapping[str, Any] = {}  # as they were last
        self.reported: set[str] = set()  # names of metrics
        self.summary: Mapping[str, float] = {}  # of a trial that measures itself, so far
        self.has_begun = False  # else it has failed before
        self.has_diverged = False  # a value was not finite
        self.state: Future[Any] | None = None  # what its trainable says of itself, where a result says that it is done
        self.outcome: Outcome | None = None  # if it is known: None can also mean that only its trainable knows
        self.had_last_result = False  # Tune is ending it, and may still save its last checkpoint
        self.has_ended = False  # in Tune
        self.was_killed = False  # its process was ended, since it broke a limit
        self.processes: list[TrialProcess] = []
        self._next_result: Deadline | None = None  # until then a trial that broke a limit may end by itself

    @property
    def is_measured(self) -> bool:
        """Whether a process of it has not been released."""
        return any(not process.is_released for process in self.processes)

    def update(self) -> None:
        """Log what was read of its processes since the last call; end the trial if one has broken a limit."""
        for process in self.processes:
            process.update()
            if process.reading is not None and process.reading.broken is not None and not process.is_released:
                self._end_soon(process.reading.broken)

    @property
    def is_over(self) -> bool:
        """Whether Tune has ended it, and all is known of it."""
        is_answered = self.state is None or self.state.done()
        return self.has_ended and is_answered and all(process.is_over for process in self.processes)

    def stop(self, outcome: Outcome) -> None:
        """Have Tune end it at its next result; one that is paused has that result when it goes on."""
        self.outcome = outcome
        # As a trial that has done what was planned.
        self.trial.stopping_criterion = {**self.trial.stopping_criterion, TRAINING_ITERATION: 0}

    def _end_soon(self, outcome: Outcome) -> None:
        """Stop it; if its last result does not come within seconds, end its process, with which it fails for Tune."""
        if self._next_result is None:
            self._next_result = Deadline(NEXT_RESULT_S)
            logger.warning("stopping trial %s: %s", self.trial, outcome.tags[STOP_REASON])
            self.stop(outcome)
        actor = self.trial.temporary_state.ray_actor
        if self._next_result.left() == 0 and not self.had_last_result and actor is not None:
            self.trial.max_failures = 0  # it is not to begin again
            self.was_killed = True
            ray.kill(actor)


class Experiment:
    """The runs of one experiment. Only `close` waits."""

    def __init__(self, parent: RunRef, study_id: str, earlier: Mapping[str, StoredRun], limits: Limits) -> None:
        self.parent = parent  # where the run is that trials are nested under; without an id it is made here
        self.study_id = study_id
        self._nodes = Nodes(limits)
        self.trials: dict[str, TrialRun] = {}  # whose runs have not ended
        self.restarts = 0
        self.is_stopped = False  # as a person wants it
        self._earlier = earlier  # runs from before an interruption, see `find_earlier`
        self._began = time.time()
        self._handles: dict[str, Run] = {}  # by trial; STUDY is the parent run of the trials
        self._outcomes: dict[str, Outcome] = {}  # of trials that have ended
        self._writer = writer_for(parent.tracking_uri)
        self._store = Store(parent.tracking_uri)  # with a time limit of its own: the writer changes that of its store
        self._stop_tag = StopTag(
            self._ask, self._stop, clear=lambda run_id: self._store.delete_tag(run_id, STOP_REQUEST)
        )
        self._thread: threading.Thread
        self._has_work = threading.Event()
        self._is_closing = False
        self._copies: list[Future[None]] = []  # of the files of trials
        self._is_delivered: bool | None = None  # known after close

    def start(self) -> Experiment:
        """Start the threads that measure trials, and ask whether somebody stops a run."""
        self._stop_tag.start()
        self._thread = start_thread(self._work, "trials")
        return self

    def open(self, trial: Trial, title: str, tags: Mapping[str, str], run_id: str | None) -> TrialRun:
        """Have a trial's run created, or that with this id go on, nested under the parent run of the trials."""
        study = self._open_study(f"tune {trial.experiment_dir_name}")
        own = {KIND: "trial", TRIAL_ID: trial.trial_id, "trial_name": str(trial)}
        handle = self._open(trial.trial_id, title, {**own, **tags}, run_id, study)
        run = TrialRun(trial, handle)
        self.trials[trial.trial_id] = run
        return run

    def location(self, run: TrialRun) -> dict[str, str | None]:
        """What the trial's process has to know to find its run. Nothing of it is secret."""
        return {
            "uri": lasting_uri(self.parent.tracking_uri),
            "experiment_id": self.parent.experiment_id,
            "key": run.handle.key,
            "run_id": run.handle.run_id,
            "trial_id": run.trial.trial_id,
        }

    def run_id(self, trial_id: str) -> str | None:
        """MLflow's id of a trial's run; None while the store has not created it."""
        handle = self._handles.get(trial_id)
        return handle.run_id if handle else None

    def measure(self, run: TrialRun, place: Future[ProcessPlace]) -> None:
        """Measure this process of a trial from now on, once it is known where it is."""
        self.release(run)
        run.processes.append(TrialProcess(place, self._nodes, run.handle))
        place.add_done_callback(lambda _: self._has_work.set())

    def release(self, run: TrialRun) -> None:
        """Measure the processes of a trial no more, at once: another trial may get them."""
        for process in run.processes:
            process.is_released = True
        self._has_work.set()

    def end(self, run: TrialRun, outcome: Outcome | None, *, with_files: bool = False) -> None:
        """End a trial's run once the last readings of its processes are there; None: as its trainable says.

        The files that Tune keeps of the trial are copied into it, if they are wanted.
        """
        run.outcome = outcome
        run.has_ended = True
        self.release(run)
        if with_files:
            self._copies.append(in_background(lambda: self._copy_files(run)))

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
        self._stop_tag.release()
        self._end_trials(min(LAST_READINGS_S, timeout_s / 2))  # the rest is for the ends of runs
        self._end_study()
        left_s = deadline.left()
        if self._writer.is_unreachable:
            text = "waiting up to %.0f s for MLflow to take what is left; Ctrl-C leaves it on disk at once"
            logger.warning(text, left_s)
        self._is_delivered = self._writer.close(self._handles.values(), left_s)
        if wait(self._copies, deadline.left()).not_done:  # last: how runs ended matters more
            logger.warning("not all files were copied in time: those of some trials are missing from their runs")
        return self._is_delivered

    def _open_study(self, title: str = "") -> Run:
        """The run around the trials, which is created at its first use, unless it is somebody else's."""
        if STUDY in self._handles:
            return self._handles[STUDY]
        if self.parent.run_id is None:
            return self._open(STUDY, title, {KIND: "study"})
        self._handles[STUDY] = handle = self._writer.open(self.parent.run_id)
        return handle

    def _open(
        self,
        name: str,
        title: str,
        own_tags: Mapping[str, str],
        run_id: str | None = None,
        parent: Run | None = None,
    ) -> Run:
        """Have the run of this trial, or STUDY, created; one with an id, or from before an interruption, goes on."""
        # Who runs what, as MLflow tags the runs that it makes itself. The host of a trial may be another than this.
        source = {tag: text for tag, text in source_tags().items() if name == STUDY or tag.startswith("mlflow.")}
        tags = {**source, STUDY_ID: self.study_id, **own_tags}
        key = f"{self.study_id}/{name}"
        if run_id is None and name in self._earlier:
            run_id = self._earlier[name].run_id
        if run_id is None:
            experiment_id = self.parent.experiment_id
            handle = self._writer.create(experiment_id, name=title, tags=tags, parent=parent, key=key)
        else:
            handle = self._writer.open(run_id, key=key)
            handle.reopen(tags)
        self._handles[name] = handle
        return handle

    def _work(self) -> None:
        while self.trials or not self._is_closing:
            self._has_work.wait(LOOK_EVERY_S)
            self._has_work.clear()
            for run in list(self.trials.values()):
                with never_raises("measuring a trial"):
                    run.update()
                if run.is_over:
                    with never_raises("ending the run of a trial"):
                        self._end(run)

    def _end(self, run: TrialRun) -> None:
        """End a trial's run with what is known of the trial."""
        if self.trials.pop(run.trial.trial_id, None) is None:
            return
        outcome = run.outcome or outcome_by_state(run.state, run.trial.run_metadata.last_result)
        with never_raises("the summary of a trial"):
            run.handle.log(summary=self._summary(run))
        last = run.processes[-1].reading if run.processes else None
        if last is not None and outcome.status == "FAILED" and process_died(run.trial):
            outcome = Outcome(outcome.status, {**last.death, **outcome.tags})
        run.handle.end(outcome)
        self._outcomes[run.trial.trial_id] = outcome

    def _summary(self, run: TrialRun) -> dict[str, float]:
        """What the trial's processes used, before an interruption, too; but what the trial reports itself."""
        parts = [process.reading and process.reading.summary for process in run.processes if process.has_begun]
        summary = dict(run.summary)
        if parts:
            summary |= combined_in_turn([*summary_before(self._earlier.get(run.trial.trial_id)), *parts])
        return {name: value for name, value in summary.items() if name not in run.reported}

    def _copy_files(self, run: TrialRun) -> None:
        with never_raises("copying the files of a trial"):
            while run.handle.run_id is None and self._is_delivered is None:
                time.sleep(LOOK_EVERY_S)
            if run.handle.run_id is not None:
                self._store.write_files(run.handle.run_id, run.trial.local_path)

    def _end_trials(self, timeout_s: float) -> None:
        """End what Tune has not ended: trials that run, and those of an interrupted experiment that did not go on."""
        for run in list(self.trials.values()):
            if not run.has_ended:
                self.end(run, run.outcome or UNFINISHED)
        self._is_closing = True
        self._has_work.set()
        try:
            self._thread.join(timeout_s)
        except KeyboardInterrupt:  # all runs are to end nevertheless
            logger.warning("interrupted: the last readings of trials are left out")
        for run in list(self.trials.values()):  # whose last readings have not come in time
            self._end(run)
        self._nodes.close()
        for name, earlier in self._earlier.items():
            if earlier.end_ms is None and name != STUDY and name not in self._handles:
                self._handles[name] = handle = self._writer.open(earlier.run_id)
                handle.end(UNFINISHED)
                self._outcomes[name] = UNFINISHED

    def _end_study(self) -> None:
        """End the parent run of the trials, if it was made here, with what became of them."""
        earlier = self._earlier.get(STUDY)
        if earlier is not None:  # it says what became of the trials, though none may have gone on
            self._open_study()
            self.restarts += int(earlier.values.get("restarts", 0))
        if STUDY not in self._handles or self.parent.run_id is not None:
            return
        counts = Counter(outcome.status for outcome in self._outcomes.values())
        summary = combined_in_turn([*summary_before(earlier), {"elapsed_s": time.time() - self._began}])
        numbers = (counts.total(), counts["KILLED"], counts["FAILED"], self.restarts)
        summary.update(zip(COUNTS, numbers, strict=True))
        study = self._handles[STUDY]
        study.log(summary=summary)
        study.end(Outcome("KILLED" if UNFINISHED in self._outcomes.values() else "FINISHED"))

    def _ask(self) -> dict[str, str]:
        """The runs of this experiment that somebody asks to stop, and the text of the tag."""
        if self._writer.is_unreachable:
            return {}
        tagged = self._store.running_with(self.parent.experiment_id, STOP_REQUEST)
        own = {handle.run_id for handle in list(self._handles.values())}
        return {run_id: text for run_id, text in tagged.items() if run_id in own}

    def _stop(self, run_id: str, outcome: Outcome) -> None:
        """Stop the trial or the experiment of this run, as a person wants it. The run around says who it was."""
        logger.warning("stopping: %s", outcome.tags[STOP_REASON])
        if run_id == self.run_id(STUDY):
            self._handles[STUDY].log(tags=outcome.tags)
            self.is_stopped = True
        for run in list(self.trials.values()):
            if run.handle.run_id == run_id:
                run.stop(outcome)
