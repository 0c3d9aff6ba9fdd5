"""What became of each trial, followed on the driver while the search runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from entrypoints.datasets.tables import Task
from entrypoints.frame import StudyRows, TrialRow
from entrypoints.limits.judging import resolved, violations
from entrypoints.limits.ledger import End
from entrypoints.limits.stop_or_skip import EarlyEnd, end_of
from entrypoints.models.configuration import Configuration
from entrypoints.models.losses import higher_is_better, score_name
from entrypoints.progress import Progress
from entrypoints.reading import host_of
from entrypoints.search.run_names import run_names
from entrypoints.tags import BY_TIME_LIMIT
from mlflow_sysmetrics.limits import Criteria, Values
from mlflow_sysmetrics.ray_tune import error_line
from mlflow_sysmetrics.tags import BY_CRITERIA, BY_PERSON, BY_TUNE


@dataclass
class TrialRecord:
    """What the study knows of one trial. ``figures`` holds the last value of every metric outside ``system/``.

    ``cut_off`` says that it was still running when the time was up, ``by_person`` that somebody ended it, ``ending``
    why its limits did. ``expected`` is what it would have cost at its end; None without limits. ``host`` has
    the tags that name its machine.
    """

    trial_id: str
    configuration: Configuration
    status: str = "RUNNING"
    figures: dict[str, float] = field(default_factory=dict)
    folds: list[dict[str, float]] = field(default_factory=list)
    diverged: bool = False
    converged: bool = False
    cut_off: bool = False
    by_person: bool = False
    ending: EarlyEnd | None = None
    expected: Values | None = None
    run_id: str | None = None
    error: str | None = None
    host: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def complete(self) -> bool:
        """Whether it ran to its end and did not diverge: then its figures are those of its configuration."""
        return self.status == "FINISHED" and not self.diverged

    @property
    def ended_from_outside(self) -> bool:
        """Whether it failed, or a scheduler, a time limit or a person ended it: its last result was one on its way."""
        return self.status != "FINISHED" and self.ending is None

    @property
    def end(self) -> End:
        """How it ended, for those that follow."""
        return end_of(self.ending, finished=self.status == "FINISHED", diverged=self.diverged)

    @property
    def stopped_by(self) -> str | None:
        """Who ended it early, as the tag of its run says it."""
        if self.ending:
            return BY_CRITERIA
        if self.status != "KILLED":
            return None
        return BY_TIME_LIMIT if self.cut_off else BY_PERSON if self.by_person else BY_TUNE

    @property
    def whole(self) -> Values:
        """Its figures; of one that its limits ended, as they would have been at its end, as far as that is known."""
        unknown = self.end == "stopped" and self.configuration.may_converge
        return self.expected if self.ending and self.expected is not None and not unknown else self.figures


def costs(trials: Iterable[TrialRecord]) -> list[Values]:
    """What relative limits are taken of: the trials that came to their end, and those that their limits ended."""
    known = [trial for trial in trials if trial.complete or (trial.ending and not trial.diverged)]
    return [trial.whole for trial in known if not trial.configuration.repeat]


class Record(tune.Callback):
    """Follows the search on the driver: each trial's last figures, the best so far, progress on the terminal.

    ``planned`` is how many trials there would be without a time limit, ``earlier`` are those that an interrupted
    command has run, which took it ``before_s``. ``restarts`` counts the deaths of processes and nodes after which a
    trial began again.
    """

    def __init__(
        self,
        task: Task,
        progress: Progress,
        criteria: Criteria | None = None,
        earlier: Iterable[TrialRecord] = (),
        before_s: float = 0.0,
    ) -> None:
        self.trials = {record.trial_id: record for record in earlier}
        self.first_start: float | None = None
        self.last_end: float | None = None
        self.planned = progress.total
        self.before_s = before_s
        self.restarts = 0
        self.task = task
        self.score = f"val_{score_name(task)}"
        self._progress = progress
        self.criteria = criteria or Criteria(())

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note the trial, and the moment when the search began."""
        self.first_start = self.first_start or time.time()
        self._progress.trial_started(trial.config["configuration"].place)
        self.trials[trial.trial_id] = TrialRecord(trial.trial_id, trial.config["configuration"])

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep the figures so far: a trial that fails, or is ended from outside, says nothing more."""
        record = self._of(trial)
        record.figures, record.host = result.get("figures", {}), result.get("host", {})

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Keep what the trial's last result says."""
        record, result = self._end(trial), trial.last_result or {}
        record.status = "FINISHED" if result.get("ended") else "KILLED"
        record.figures = result.get("figures", {})
        record.folds = result.get("folds", [])
        record.diverged = result.get("diverged", False)
        record.converged = result.get("converged", False)
        record.ending, record.expected = result.get("ending"), result.get("expected")

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that the trial has failed, and why."""
        record = self._end(trial)
        record.status, record.error = "FAILED", error_line(trial)

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Count that the trial begins again; it reports again what it knew until then."""
        self.restarts += 1

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Keep the terminal's line up to date."""
        self._progress.show(self._best_score)

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        """Write the last line of progress; what still ran was ended by a time limit."""
        for record in self.trials.values():
            if record.status == "RUNNING":
                record.status, record.cut_off = "KILLED", True
                self.last_end = time.time()
        self._progress.show(self._best_score, last=True)

    @property
    def search_s(self) -> float:
        """How long the search has taken, with what an interrupted command has done of it."""
        return self.before_s + (self.last_end or 0.0) - (self.first_start or 0.0)

    @property
    def limits(self) -> Criteria:
        """The criteria, with the numbers that relative limits come to by the trials so far."""
        return resolved(self.criteria, costs(self.trials.values()))

    def rows(self, study: str, about: Mapping[str, Any]) -> StudyRows:
        """The study as a part of a frame, as a report reads it from its run.

        Args:
            study: the id of its run.
            about: what else is known of it, by the names of ``frame.OF_STUDY``.
        """
        limits, trials = self.limits, list(self.trials.values())
        names = run_names([trial.configuration for trial in trials])
        return StudyRows(
            study,
            {"score": self.score, "higher_is_better": higher_is_better(self.task), "own": True, **about},
            [
                TrialRow(
                    self._about(trial, limits) | {"name": name},
                    {key: str(value) for key, value in trial.configuration.searched.items()},
                    trial.figures,
                )
                for trial, name in zip(trials, names, strict=True)
            ],
            list(dict.fromkeys(name for trial in trials for name in trial.configuration.searched)),
            [{"trial_id": trial.trial_id, **fold} for trial in trials for fold in trial.folds],
        )

    def _about(self, trial: TrialRecord, limits: Criteria) -> dict[str, Any]:
        """What is known of a trial, by the names of ``frame.ABOUT``."""
        ending = trial.ending
        judged = bool(self.criteria.rules) and not trial.ended_from_outside
        return {
            "trial_id": trial.trial_id,
            "run_id": trial.run_id,
            "place": trial.configuration.place,
            "repeat": trial.configuration.repeat,
            "status": trial.status,
            "diverged": trial.diverged,
            "converged": trial.converged,
            "feasible": trial.complete and not violations(limits, trial.figures) if judged else None,
            "host": host_of(trial.host),
            "stopped_by": trial.stopped_by,
            "stop_how": ending and ending.how,
            "stop_reason": ending and ending.reason,
            "stop_metric": ending and ending.stop.metric,
            "stop_step": ending and ending.stop.step,
        }

    def _end(self, trial: TuneTrial) -> TrialRecord:
        self.last_end = time.time()
        self._progress.trial_ended(trial.config["configuration"].place)
        return self._of(trial)

    def _of(self, trial: TuneTrial) -> TrialRecord:
        return self.trials.setdefault(trial.trial_id, TrialRecord(trial.trial_id, trial.config["configuration"]))

    def _best_score(self) -> float | None:
        """Of the trials that can be chosen: they ran to their end, did not diverge, and meet the criteria."""
        limits = self.limits
        able = [trial for trial in self.trials.values() if trial.complete and not violations(limits, trial.figures)]
        better = max if higher_is_better(self.task) else min
        return better((trial.figures[self.score] for trial in able), default=None)
