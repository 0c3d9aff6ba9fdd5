"""What became of each trial, followed on the driver while the search runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from entrypoints.frame import StudyRows, TrialRow
from entrypoints.limits.cost_history import Cost
from entrypoints.limits.guard import end_of
from entrypoints.limits.judging import resolved, violations
from entrypoints.models.configuration import Configuration
from entrypoints.models.scores import Score
from entrypoints.progress import Progress
from entrypoints.reading import said_of_trial
from entrypoints.search.plan import Plan
from entrypoints.search.trial_end import TrialEnd
from entrypoints.tags import BY_TIME_LIMIT, DIVERGED, STOP_HOW
from mlflow_sysmetrics.limits import Limits, Values
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY, error_line
from mlflow_sysmetrics.tags import BY_LIMITS, BY_TUNE, STOPPED_BY


@dataclass
class TrialRecord:
    """What the study knows of one trial, which is what its run holds.

    Attributes:
        trial_id: Tune's.
        configuration: what it trains.
        status: of its run.
        figures: the last value of every metric outside ``system/``.
        tags: what became of it, and where.
        run_id: of its run; None while the search goes on.
        error: why it failed.
    """

    trial_id: str
    configuration: Configuration
    status: str = "RUNNING"
    figures: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    run_id: str | None = None
    error: str | None = None

    @property
    def diverged(self) -> bool:
        """Whether its loss became infinite."""
        return self.tags.get(DIVERGED) == "true"

    @property
    def complete(self) -> bool:
        """Whether it ran to its end and did not diverge: then its figures are those of its configuration."""
        return self.status == "FINISHED" and not self.diverged

    @property
    def stopped_by(self) -> str | None:
        """Who ended it early."""
        return self.tags.get(STOPPED_BY)

    @property
    def ended_from_outside(self) -> bool:
        """Whether it failed, or a scheduler, a time limit or a person ended it: its last result was one on its way."""
        return self.status != "FINISHED" and self.stopped_by != BY_LIMITS

    @cached_property
    def end(self) -> TrialEnd:
        """What it has left at its end, which must have come."""
        return TrialEnd.read(self.tags) or TrialEnd([])

    @property
    def known(self) -> tuple[Configuration, Cost]:
        """What it tells the history of costs."""
        how = end_of(self.tags.get(STOP_HOW), finished=self.status == "FINISHED", diverged=self.diverged)
        expected = self.end.expected
        projected = self.figures if expected is None else expected
        return self.configuration, Cost(self.figures, projected, how)


class Record(tune.Callback):
    """Follows the search on the driver: each trial's last figures, the best so far, progress on the terminal.

    Args:
        score: of the study.
        progress: its line on the terminal.
        limits: what its trials have to meet.
        earlier: the trials that an interrupted command has run,
        before_s: which took it so long.
        begins: called when the first trial begins.
    """

    def __init__(
        self,
        score: Score,
        progress: Progress,
        limits: Limits | None = None,
        earlier: Iterable[TrialRecord] = (),
        before_s: float = 0.0,
        begins: Callable[[], None] = lambda: None,
    ) -> None:
        self.trials = {record.trial_id: record for record in earlier}
        self.first_start: float | None = None
        self.last_end: float | None = None
        self.planned = progress.total  # trials, if the time is enough
        self.before_s = before_s
        self.to_come: Sequence[Values] = ()  # the expected costs of what a search that learns does not try
        self.restarts = 0  # deaths of processes and nodes after which a trial began again
        self.score, self.higher_is_better = score.validated, score.higher_is_better
        self.limits = limits or Limits(())
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
        self._progress.trial_started(trial.config["configuration"].place)
        self.trials[trial.trial_id] = TrialRecord(trial.trial_id, trial.config["configuration"])

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep what is known so far: a trial that fails, or is ended from outside, says nothing more."""
        record, carried = self._of(trial), result[PAYLOAD_KEY]
        record.figures, record.status = result["figures"], carried["status"] or "RUNNING"
        record.tags |= carried["tags"]

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note the end of a trial; one that has not said that it is its own was ended by a scheduler."""
        record = self._end(trial)
        if record.status == "RUNNING":
            record.status, record.tags[STOPPED_BY] = "KILLED", BY_TUNE

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that the trial has failed, and why."""
        record = self._end(trial)
        record.status, record.error = "FAILED", error_line(trial)

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
                record.status, record.tags[STOPPED_BY] = "KILLED", BY_TIME_LIMIT
                self.last_end = time.time()
        self._progress.show(self.best_score, last=True)

    @property
    def search_s(self) -> float:
        """How long the search has taken, with what an interrupted command has done of it."""
        return self.before_s + (self.last_end or 0.0) - (self.first_start or 0.0)

    @property
    def resolved_limits(self) -> Limits:
        """The limits, with the numbers that relative limits come to by the trials so far."""
        return resolved(self.limits, self.costs)

    @property
    def costs(self) -> list[Values]:
        """What relative limits are taken of: the trials that came to their end, and those that their limits ended."""
        known = (trial.known for trial in self.trials.values() if not trial.ended_from_outside)
        counts = (cost.counted(configuration) for configuration, cost in known)
        return [*(figures for figures in counts if figures is not None), *self.to_come]

    def rows(self, study: str, about: Mapping[str, Any], plan: Plan) -> StudyRows:
        """The study as a part of a frame, as a report reads it from its run.

        Args:
            study: the id of its run.
            about: what else is known of it, by the names of ``frame.OF_STUDY``.
            plan: of it.
        """
        limits, trials, names = self.resolved_limits, list(self.trials.values()), plan.names
        return StudyRows(
            study,
            {"score": self.score, "higher_is_better": self.higher_is_better, "own": True, **about},
            [
                TrialRow(
                    self._about(trial, limits) | {"name": names[trial.configuration.id]},
                    {key: str(value) for key, value in trial.configuration.searched.items()},
                    trial.figures,
                )
                for trial in trials
            ],
            plan.searched,
            [{"trial_id": trial.trial_id, **fold} for trial in trials for fold in trial.end.folds],
        )

    def _about(self, trial: TrialRecord, limits: Limits) -> dict[str, Any]:
        """What is known of a trial, by the names of ``frame.ABOUT``; it meets the limits as these are by now."""
        judged = bool(self.limits.rules) and not trial.ended_from_outside
        return said_of_trial(trial.tags) | {
            "trial_id": trial.trial_id,
            "run_id": trial.run_id,
            "place": trial.configuration.place,
            "repeat": trial.configuration.repeat,
            "status": trial.status,
            "feasible": trial.complete and not violations(limits, trial.figures) if judged else None,
        }

    def _end(self, trial: TuneTrial) -> TrialRecord:
        self.last_end = time.time()
        self._progress.trial_ended(trial.config["configuration"].place)
        return self._of(trial)

    def _of(self, trial: TuneTrial) -> TrialRecord:
        return self.trials.setdefault(trial.trial_id, TrialRecord(trial.trial_id, trial.config["configuration"]))

    def best_score(self) -> float | None:
        """Of the trials that can be chosen: they ran to their end, did not diverge, and meet the limits."""
        limits = self.resolved_limits
        able = [trial for trial in self.trials.values() if trial.complete and not violations(limits, trial.figures)]
        better = max if self.higher_is_better else min
        scores = (trial.figures[self.score] for trial in able if self.score in trial.figures)
        return better(scores, default=None)
