"""A study: what it is asked, what has become of its trials, and what it has found."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from entrypoints.compute.backends import Backend
from entrypoints.datasets.prepared import Prepared, prepared
from entrypoints.datasets.splits import Split
from entrypoints.datasets.tables import Table
from entrypoints.limits.cost_history import counted
from entrypoints.limits.costs import of_served, of_trials
from entrypoints.limits.grammar import Limits
from entrypoints.limits.judging import resolved, violations
from entrypoints.models.algorithms import Algorithm
from entrypoints.models.configuration import Configuration
from entrypoints.models.scores import Score
from entrypoints.options.search_space import Space
from entrypoints.options.settings import StudySettings
from entrypoints.search.grid import Choice, combinations
from entrypoints.search.run_names import RunNames, searched
from entrypoints.trials.frame import Frame, StudyRows, frame_of
from entrypoints.trials.trial import Trial
from mlflow_sysmetrics.limits import Values

if TYPE_CHECKING:
    from entrypoints.models.best_model import BestModel, LoggedModel
    from entrypoints.reporting.questions.decision import Decision
    from entrypoints.runs.recorded import RecordedRun

MAX_LEARNED = 100  # trials of a search that learns
ENOUGH = 30  # trials of the sampler since the best one began: it ends
START_S = 15.0  # of a command, before its first trial
LEAST_SHARE = 1 / 3  # of the time limit that the search has in any case
RESULT_S, SERVING_S, JUDGING_S = 8.0, 12.0, 40.0  # what a result takes beside its training, by what is served
_OF_KEY = ("max_rows", "folds", "seed")
_OF_KEY_IF_GIVEN = ("metric", "positive", "group", "time", "duplicates", "search_rows")


@dataclass(eq=False, repr=False)
class Study:
    """A study, to which each step of its life adds.

    ``planned`` makes it of its settings, before anything slow begins. Once its ``run`` is open, ``run_trials`` fills in
    its trials, ``decide`` which of them to take, and ``tell`` what the whole has come to.

    Attributes:
        settings: what is searched.
        limits: what its models may cost.
        table: the dataset.
        split: of its rows.
        algorithms: those that are searched.
        spaces: the values to try of each of them.
        first: what is tried in any case, in the order of the starts: a whole grid, or the portfolio of a search that
            learns.
        folders: where a module of the user's may be.
        references: what the search is held against, by what it is: trials of their own, which come first.
        backend: where trials run.
        began: when its command began, in unix seconds: its time limit counts from then.
        score: ranks them.
        why_score: why it is not the usual one; empty where it is, or the user's choice.
        baseline: what it is on each fold of a model that ignores all features.
        run: of the study, from when it is open.
        trials: those of the search that have begun, by Tune's ids; also in earlier commands.
        reference_trials: the same of the references.
        begun: the configurations of trials that an earlier command has begun and not ended.
        open_runs: the runs of these, by the ids of configurations.
        is_continued: whether an earlier command has begun some trials.
        first_start, last_end: of the trials of this command, in unix seconds; None before.
        restarts: deaths of processes and nodes after which a trial began again.
        forecasts: how many seconds the trials of a grid were expected to take, by the ids of configurations.
        forecast_s: how long the whole grid was.
        models: refitted and maybe served, by the ids of the trials that they are of.
        logged: the model of the result, once it is in MLflow.
        is_within: whether served models meet the limits on such, by the ids of trials; of others it is not known.
        decision: which trial to take, once that is decided.
        not_judged: of the limits on the result's served model those of which is not known whether it meets them.
        facts: what is known of the study since, by the names of ``frame.OF_STUDY``.
        importance: what each column is worth to its model.
        full: the full study that one under limits is compared with; empty without.
    """

    settings: StudySettings
    limits: Limits
    table: Table
    split: Split
    algorithms: Sequence[Algorithm]
    spaces: Sequence[Space]
    first: Sequence[Choice]
    folders: tuple[Path, ...]
    references: Mapping[str, Configuration]
    backend: Backend
    score: Score
    baseline: list[float]
    why_score: str = ""
    began: float = field(default_factory=time.time)
    run: RecordedRun = field(init=False)
    trials: dict[str, Trial] = field(default_factory=dict)
    reference_trials: dict[str, Trial] = field(default_factory=dict)
    begun: list[Configuration] = field(default_factory=list)
    open_runs: dict[str, str] = field(default_factory=dict)
    is_continued: bool = False
    first_start: float | None = None
    last_end: float | None = None
    restarts: int = 0
    forecasts: Mapping[str, float] = field(default_factory=dict)
    forecast_s: float = 0.0
    models: dict[str, BestModel] = field(default_factory=dict)
    logged: LoggedModel | None = None
    is_within: dict[str, bool] = field(default_factory=dict)
    decision: Decision = field(init=False)
    not_judged: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    importance: Sequence[Mapping[str, Any]] = ()
    full: Sequence[StudyRows] = ()

    @property
    def key(self) -> str:
        """Studies with the same key have the same rows and folds, and train equal configurations in the same way."""
        settings, table = self.settings, self.table
        same = {name: getattr(settings, name) for name in _OF_KEY} | {"length": str(settings.length)}
        same |= {name: given for name in _OF_KEY_IF_GIVEN if (given := getattr(settings, name)) is not None}
        return hashlib.sha256(json.dumps([table.digest, table.target, same]).encode()).hexdigest()[:16]

    @property
    def score_line(self) -> str:
        """What ranks its trials, in one line."""
        better = "higher" if self.score.higher_is_better else "lower"
        classes = self.table.class_names
        positive = ""
        if len(classes) == 2 and not self.score.in_numpy:
            positive = f"; {classes[self.table.positive]} is the positive class"
        baseline = f"a model that ignores all features has {fmean(self.baseline):.4g}"
        why = f"; {self.why_score}" if self.why_score else ""
        return f"{self.score.validated}, {better} is better{positive}{why}; {baseline}"

    @property
    def trial_limits(self) -> Limits:
        """The limits without those on served models, by which no trial is judged."""
        return of_trials(self.limits)

    @property
    def learns(self) -> bool:
        """Whether what it tries next depends on what has come of the trials before."""
        return self.settings.search == "tpe"

    @property
    def races(self) -> bool:
        """Whether trials end that cannot become the best any more.

        Not where models are judged as served: which one is the best that meets such limits is known at the end.
        """
        return self.learns and self.settings.race and not of_served(self.limits).rules

    @property
    def size(self) -> int:
        """How many trials it has, if the time is enough; a search that learns has at most so many."""
        if not self.learns:
            return len(self.first)
        return int(min(self.settings.max_trials or MAX_LEARNED, len(self.first) + combinations(self.spaces)))

    @property
    def has_enough(self) -> bool:
        """Whether so many trials of the sampler were no better than the best one that the next ones hardly will be."""
        best = self.best_by_now
        if best is None or not self.learns:
            return False
        ended = [trial for trial in self.trials.values() if trial.status != "RUNNING"]
        last_of_interest = max(best.configuration.number, len(self.first))
        return sum(trial.configuration.number > last_of_interest for trial in ended) >= ENOUGH

    @property
    def left(self) -> list[Configuration]:
        """The configurations that no command has begun."""
        begun = {trial.configuration.id for trial in self.trials.values()} | {each.id for each in self.begun}
        return [configuration for configuration in self.configurations if configuration.id not in begun]

    @property
    def references_left(self) -> list[Configuration]:
        """The references that have not been run."""
        begun = {trial.configuration.id for trial in self.reference_trials.values()}
        return [reference for reference in self.references.values() if reference.id not in begun]

    def trials_like(self, configuration: Configuration) -> dict[str, Trial]:
        """The trials among which one of this configuration is noted: of the search, or the references."""
        return self.reference_trials if configuration.role else self.trials

    @property
    def judged(self) -> list[Trial]:
        """The trials that ended under limits, by themselves or by these."""
        return [trial for trial in self.trials.values() if trial.was_judged]

    @cached_property
    def data(self) -> Prepared:
        """What its trials are trained on."""
        return prepared(self.table, self.split)

    @cached_property
    def names(self) -> RunNames:
        """The names of its trials' runs."""
        return RunNames(self.spaces, self.references)

    @cached_property
    def configurations(self) -> list[Configuration]:
        """What is tried in any case, in the order of the starts."""
        return [self.configuration(choice, number) for number, choice in enumerate(self.first, 1)]

    def configuration(self, choice: Choice, number: int) -> Configuration:
        """The configuration of a trial that tries these values, with its number in the order of the starts."""
        algorithm = next(each for each in self.algorithms if each.name == choice["algorithm"])
        return Configuration(
            searched=choice,
            axis=algorithm.axis,
            seed=self.settings.seed,
            length=self.settings.length,
            metric=self.settings.metric,
            folders=self.folders,
            number=number,
        )

    @property
    def search_ends(self) -> float:
        """When the search has to end so that the command ends within its time, in unix seconds; infinite without limit.

        A third of that time is the search's, however long the start takes. After a slow start the result is slow, too.
        """
        limit_s = self.settings.time_limit_s
        if limit_s is None:
            return math.inf
        first_start = self.first_start or time.time()
        slow = max(1.0, (first_start - self.began) / START_S)
        result_s = slow * self._serving_s + self.refit_s
        return max(self.began + limit_s - result_s, first_start + LEAST_SHARE * limit_s)

    @property
    def usual_search_s(self) -> float:
        """How long the search will be, before anything is known of this machine: folds and rows depend on it."""
        limit_s = self.settings.time_limit_s or math.inf
        return max(limit_s - START_S - self._serving_s, LEAST_SHARE * limit_s)

    @property
    def _serving_s(self) -> float:
        """What follows the search beside the training of its result: a model is logged and served."""
        seconds = RESULT_S
        if of_served(self.limits).rules:
            seconds += JUDGING_S
        elif self.settings.served:
            seconds += SERVING_S
        return seconds

    @property
    def refit_s(self) -> float:
        """How long the two models of the best trial so far take to train: on the training part, and on all rows."""
        best, split = self.best_by_now, self.split
        if best is None:
            return 0.0
        rows = 2 * len(split.train) + len(split.test)
        return best.figures.get("training_time_s", 0.0) * rows / split.fit_rows

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
        return [figures for figures in counts if figures is not None]

    def best_score(self) -> float | None:
        """Of the trials that can be chosen: they ran to their end, did not diverge, and meet the limits."""
        best = self.best_by_now
        return None if best is None else best.figures[self.score.validated]

    def best_so_far(self) -> str:
        """That score and its trial, of how many, in words; empty where none can be chosen yet."""
        best = self.best_by_now
        if best is None:
            return ""
        score = self.score.validated
        ended = sum(trial.complete for trial in self.trials.values())
        name = self.names.of(best.configuration)
        model = "" if self.logged is None else f"; its model is {self.logged.uri}"
        of = f"of {ended} of {self.size} trials that ran to their end"
        return f"{score} {best.figures[score]:.4g} by {name}, {of}{model}"

    @property
    def best_by_now(self) -> Trial | None:
        """The trial with that score."""
        limits, name = self.resolved_limits, self.score.validated
        trials = self.trials.values()
        able = [trial for trial in trials if can_be_chosen(trial, limits) and name in trial.figures]
        better = max if self.score.higher_is_better else min
        return better(able, key=lambda trial: trial.figures[name], default=None)

    @property
    def best(self) -> Trial | None:
        """The trial whose configuration is the result."""
        chosen = self.decision.chosen
        return None if chosen is None else self.trials[chosen["trial_id"]]

    @property
    def frame(self) -> Frame:
        """It as a frame, beside the full study that it is compared with."""
        return frame_of([self.rows(), *self.full])

    def rows(self) -> StudyRows:
        """It as a part of a frame, as a report reads it from its run."""
        limits = self.resolved_limits
        rows = []
        folds = []
        for trial in self.trials.values():
            is_judged = bool(self.limits.rules) and not trial.ended_from_outside
            feasible = can_be_chosen(trial, limits) if is_judged else None
            if feasible and of_served(limits).rules:
                feasible = self.is_within.get(trial.trial_id)
            rows.append(trial.row() | {"name": self.names.of(trial.configuration), "feasible": feasible})
            folds += [{"trial_id": trial.trial_id, **fold} for fold in trial.folds]
        for trial in self.reference_trials.values():
            rows.append(trial.row() | {"name": self.names.of(trial.configuration), "feasible": None})
            folds += [{"trial_id": trial.trial_id, **fold} for fold in trial.folds]
        settings = self.settings
        about = {
            "name": self.table.name,
            "experiment_id": self.run.experiment_id,
            "dataset": settings.dataset,
            "digest": self.table.digest,
            "key": self.key,
            "limits": str(self.limits) if self.limits.rules else None,
            "score": self.score.validated,
            "higher_is_better": self.score.higher_is_better,
            "baseline": self.baseline,
            "choose": settings.choose,
            "rate": settings.rate,
            "search": settings.search,
            "seed": settings.seed,
            "planned": None if self.learns else self.size,
        }
        return StudyRows(
            self.run.run_id,
            about | self.facts,
            rows,
            searched(self.spaces),
            folds,
            importance=self.importance,
        )


def can_be_chosen(trial: Trial, limits: Limits) -> bool:
    """Whether it ran to its end, did not diverge, and meets the limits on trials."""
    return trial.complete and not violations(limits, trial.figures)
