"""What becomes of each trial, followed on the driver while the search runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from entrypoints.runs.tags import BY_TIME_LIMIT
from entrypoints.study import pages
from entrypoints.study.progress import Progress
from entrypoints.study.study import Study
from entrypoints.trials.trial import Trial
from mlflow_sysmetrics.delivery import Point, points_now
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY, error_line
from mlflow_sysmetrics.recording.tags import BY_PERSON, STOPPED_BY


class Recorder(tune.Callback):
    """Follows the search on the driver: fills in the study's trials, and shows its progress on the terminal.

    The study's run gets a point of the best score so far and of the CPU seconds of all trials as each trial ends.

    Args:
        study: whose trials run.
        progress: its line on the terminal.
        begins: called when the first trial begins.
        log: takes the points of the study's run.
    """

    def __init__(
        self,
        study: Study,
        progress: Progress,
        begins: Callable[[], None] = lambda: None,
        log: Callable[[list[Point]], None] = lambda points: None,
    ) -> None:
        self.study = study
        self._progress = progress
        self._begins = begins
        self._log = log

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune writes its callbacks to disk, and this would write the data too."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note the trial, and the moment when the search began."""
        if self.study.first_start is None:
            self.study.first_start = time.time()
            self._begins()
        configuration = trial.config["configuration"]
        self.study.trials_like(configuration)[trial.trial_id] = Trial(trial.trial_id, configuration)

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep what is known so far: a trial that fails, or is ended from outside, says nothing more."""
        record = self.study.trials_like(trial.config["configuration"])[trial.trial_id]
        carried = result[PAYLOAD_KEY]
        record.figures = result["figures"]
        record.status = carried["status"] or "RUNNING"
        record.tags |= carried["tags"]

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note the end of a trial; one that has not said that it is its own was ended by a person."""
        record = self._end(trial)
        if record.status == "RUNNING":
            record.status = "KILLED"
            record.tags[STOPPED_BY] = BY_PERSON
        if record.configuration.role:
            self._show_reference(record)
            return
        ended = [each for each in self.study.trials.values() if each.status != "RUNNING"]
        points = {pages.SPENT_CPU_S: sum(each.figures.get("cpu_seconds", 0.0) for each in ended)}
        best = self.study.best_score()
        if best is not None:
            points[pages.BEST_SO_FAR] = best
        self._log(points_now(points, len(ended)))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that the trial has failed, and why."""
        record = self._end(trial)
        record.status = "FAILED"
        record.error = error_line(trial)

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Count that the trial begins again; it reports again what it knew until then."""
        self.study.restarts += 1

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Keep the terminal's line up to date."""
        self._progress.show(self.study.best_score)

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        """Write the last line of progress; what still ran was ended by a time limit."""
        for record in (*self.study.reference_trials.values(), *self.study.trials.values()):
            if record.status == "RUNNING":
                record.status = "KILLED"
                record.tags[STOPPED_BY] = BY_TIME_LIMIT
                self.study.last_end = time.time()
        self._progress.show(self.study.best_score, last=True)

    def _show_reference(self, reference: Trial) -> None:
        score = reference.figures.get(self.study.score.validated)
        name = next(name for name, each in self.study.references.items() if each.id == reference.configuration.id)
        if score is not None:
            self._progress.hold_against(name, score)

    def _end(self, trial: TuneTrial) -> Trial:
        """Note the time; a trial that fails while it is set up has not begun."""
        configuration = trial.config["configuration"]
        self.study.last_end = time.time()
        if not configuration.role:
            self._progress.trial_ended()
        trials = self.study.trials_like(configuration)
        return trials.setdefault(trial.trial_id, Trial(trial.trial_id, configuration))
