"""What became of each trial, followed on the driver while the search runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from entrypoints import views
from entrypoints.frame import StudyRows
from entrypoints.limits.cost_history import counted
from entrypoints.limits.costs import of_served
from entrypoints.limits.grammar import Limits
from entrypoints.limits.judging import resolved, violations
from entrypoints.models.configuration import Configuration
from entrypoints.models.scores import Score
from entrypoints.models.trial_record import Trial
from entrypoints.progress import Progress
from entrypoints.search.run_names import run_names, searched
from entrypoints.tags import BY_TIME_LIMIT
from mlflow_sysmetrics.delivery import Point, points_now
from mlflow_sysmetrics.limits import Values
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY, error_line
from mlflow_sysmetrics.tags import BY_PERSON, STOPPED_BY


@dataclass(frozen=True)
class Earlier:
    """What earlier commands have left of a study that is continued.

    Attributes:
        done: the trials that need not be run again, in the order of the study's configurations.
        open_runs: the run that each other trial has already, by the id of its configuration.
    """

    done: tuple[Trial, ...] = ()
    open_runs: Mapping[str, str] = field(default_factory=dict)

    def left(self, trials: Iterable[Configuration]) -> list[Configuration]:
        """Those of the study's configurations that have not been run."""
        done = {trial.configuration.id for trial in self.done}
        return [trial for trial in trials if trial.id not in done]


NOTHING = Earlier()


def judged(trials: Iterable[Trial]) -> list[Trial]:
    """Those that ended under limits, by themselves or by these."""
    return [trial for trial in trials if trial.was_judged]


class Record(tune.Callback):
    """Follows the search on the driver: each trial's last figures, the best so far, progress on the terminal.

    The study's run gets a point of the best score so far and of the CPU seconds of all trials as each trial ends.

    Args:
        score: of the study.
        limits: what its trials have to meet.
        progress: its line on the terminal.
        earlier: what interrupted commands have left.
        begins: called when the first trial begins.
        log: takes the points of the study's run.
    """

    def __init__(
        self,
        score: Score,
        limits: Limits,
        progress: Progress,
        earlier: Earlier = NOTHING,
        begins: Callable[[], None] = lambda: None,
        log: Callable[[list[Point]], None] = lambda points: None,
    ) -> None:
        self.trials = {trial.trial_id: trial for trial in earlier.done}
        self.open_runs = earlier.open_runs
        self.is_continued = earlier != NOTHING
        self.first_start: float | None = None
        self.last_end: float | None = None
        self.planned = progress.total  # trials, if the time is enough
        self.to_come: Sequence[Values] = ()  # the expected costs of what a search that learns does not try
        # Whether the models of finalists meet the limits on served ones, by the id of the trial; others are not known.
        self.served: dict[str, bool] = {}
        self.restarts = 0  # deaths of processes and nodes after which a trial began again
        self.score = score.validated
        self.higher_is_better = score.higher_is_better
        self.limits = limits
        self._log = log
        self._progress = progress
        self._begins = begins

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune writes its callbacks to disk, and this would write the data too."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note the trial, and the moment when the search began."""
        if self.first_start is None:
            self.first_start = time.time()
            self._begins()
        configuration = trial.config["configuration"]
        self._progress.trial_started(configuration.number)
        self.trials[trial.trial_id] = Trial(trial.trial_id, configuration)

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep what is known so far: a trial that fails, or is ended from outside, says nothing more."""
        record, carried = self.trials[trial.trial_id], result[PAYLOAD_KEY]
        record.figures = result["figures"]
        record.status = carried["status"] or "RUNNING"
        record.tags |= carried["tags"]

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note the end of a trial; one that has not said that it is its own was ended by a person."""
        record = self._end(trial)
        if record.status == "RUNNING":
            record.status = "KILLED"
            record.tags[STOPPED_BY] = BY_PERSON
        ended = [each for each in self.trials.values() if each.status != "RUNNING"]
        points = {views.SPENT_CPU_S: sum(each.figures.get("cpu_seconds", 0.0) for each in ended)}
        best = self.best_score()
        if best is not None:
            points[views.BEST_SO_FAR] = best
        self._log(points_now(points, len(ended)))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that the trial has failed, and why."""
        record = self._end(trial)
        record.status = "FAILED"
        record.error = error_line(trial)

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Count that the trial begins again; it reports again what it knew until then."""
        self.restarts += 1

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Keep the terminal's line up to date."""
        self._progress.show(self.best_score)

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        """Write the last line of progress; what still ran was ended by a time limit."""
        for record in self.trials.values():
            if record.status == "RUNNING":
                record.status = "KILLED"
                record.tags[STOPPED_BY] = BY_TIME_LIMIT
                self.last_end = time.time()
        self._progress.show(self.best_score, last=True)

    def _end(self, trial: TuneTrial) -> Trial:
        """Note the time; a trial that fails while it is set up has not begun."""
        configuration = trial.config["configuration"]
        self.last_end = time.time()
        self._progress.trial_ended(configuration.number)
        return self.trials.setdefault(trial.trial_id, Trial(trial.trial_id, configuration))

    @property
    def search_s(self) -> float:
        """How long the search of this command has taken; 0 where no trial began."""
        if self.first_start is None or self.last_end is None:
            return 0.0
        return self.last_end - self.first_start

    @property
    def resolved_limits(self) -> Limits:
        """The limits, with the numbers that relative limits come to by the trials so far."""
        return resolved(self.limits, self.costs)

    @property
    def costs(self) -> list[Values]:
        """What relative limits are taken of: the trials that came to their end, and those that their limits ended."""
        ended = (trial for trial in self.trials.values() if not trial.ended_from_outside)
        counts = (counted(trial) for trial in ended)
        return [*(figures for figures in counts if figures is not None), *self.to_come]

    def best_score(self) -> float | None:
        """Of the trials that can be chosen: they ran to their end, did not diverge, and meet the limits."""
        limits = self.resolved_limits
        able = [trial for trial in self.trials.values() if _can_be_chosen(trial, limits)]
        better = max if self.higher_is_better else min
        return better((trial.figures[self.score] for trial in able if self.score in trial.figures), default=None)

    def rows(self, study: str, about: Mapping[str, Any], planned: Sequence[Configuration]) -> StudyRows:
        """The study as a part of a frame, as a report reads it from its run.

        Args:
            study: the id of its run.
            about: what else is known of it, by the names of ``frame.OF_STUDY``.
            planned: all its configurations.
        """
        limits, names = self.resolved_limits, run_names(planned)
        rows = []
        for trial in self.trials.values():
            is_judged = bool(self.limits.rules) and not trial.ended_from_outside
            feasible = _can_be_chosen(trial, limits) if is_judged else None
            if feasible and of_served(limits).rules:
                feasible = self.served.get(trial.trial_id)
            rows.append(trial.row() | {"name": names[trial.configuration.id], "feasible": feasible})
        folds = [{"trial_id": trial.trial_id, **fold} for trial in self.trials.values() for fold in trial.folds]
        known = {"score": self.score, "higher_is_better": self.higher_is_better, **about}
        return StudyRows(study, known, rows, searched(planned), folds)


def _can_be_chosen(trial: Trial, limits: Limits) -> bool:
    return trial.complete and not violations(limits, trial.figures)
