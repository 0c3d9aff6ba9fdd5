"""The race of a trial against the best one so far: it ends once it cannot become the best any more.

Without ``partial_fit`` folds are trained one by one, and after each the trial is compared with the best on the folds
that both have. After k of K folds the difference of their means over all K has a standard error of
s sqrt(1/k - 1/K), where s is the standard deviation over folds: what the folds to come may still change, not how sure
the mean of the first k is. On batches all folds advance together, and no trial races.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from entrypoints.runs.tags import BY_RACE, RACED, STOP_HOW
from entrypoints.statistics import FoldNoise
from entrypoints.trials.trial import Trial
from mlflow_sysmetrics.limits import Stop, Values
from mlflow_sysmetrics.recording.tags import STOP_REASON, STOPPED_BY

MIN_COMPLETE = 5  # trials
# One-sided 5 % over the nine looks at ten folds (Bonferroni), for the one trial whose loss matters: the best of all.
Z = 2.54


@dataclass(frozen=True)
class Lost:
    """Why a trial cannot win any more.

    Attributes:
        predicted: its score over all folds and steps.
        reason: in words, such as ``val_rmse 0.71 > 0.65 (predicted, fold 2)``.
    """

    predicted: float
    reason: str

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its run that say so."""
        return {STOPPED_BY: BY_RACE, STOP_REASON: self.reason, STOP_HOW: RACED}


@dataclass(frozen=True)
class Rival:
    """What a trial races against: the best of the complete trials when it began.

    Attributes:
        score: the metric that ranks.
        higher_is_better: of the score.
        folds: the best one's score on each fold.
        noise: of the difference between it and another good trial.
        cost: where the cheapest of those that are as good is chosen: the cost that counts, and the best one's.
    """

    score: str
    higher_is_better: bool
    folds: Mapping[int, float]
    noise: FoldNoise
    cost: tuple[str, float] | None = None

    @property
    def mean(self) -> float:
        """Its score."""
        return fmean(self.folds.values())

    def after_folds(self, scores: Mapping[int, float], costs: Values) -> Lost | None:
        """Why a trial cannot win any more; None while it may, or where it has all folds.

        Args:
            scores: its scores on the folds so far.
            costs: what it costs, as far as that is known.
        """
        done, folds = len(scores), len(self.folds)
        worse = [self._sign * (score - self.folds[fold]) for fold, score in scores.items()]
        if done >= folds or not all(map(math.isfinite, worse)):
            return None
        mean = fmean(worse)
        if mean - Z * self.noise.still_open(worse) <= self._allowed(worse, costs):
            return None
        return self._lost(self.mean + self._sign * mean, f"fold {done}")

    @property
    def _sign(self) -> float:
        return -1.0 if self.higher_is_better else 1.0

    def _allowed(self, worse: Sequence[float], costs: Values) -> float:
        """By how much a trial may be worse: one that may be cheaper counts while it may be as good."""
        if self.cost is None:
            return 0.0
        name, of_best = self.cost
        return self.noise.error(worse) if costs.get(name, -math.inf) < of_best else 0.0

    def _lost(self, predicted: float, where: str) -> Lost:
        op = ">=" if self.higher_is_better else "<="
        stop = Stop(f"{self.score}{op}{self.mean:g}", self.score, predicted, self.mean)
        return Lost(predicted, stop.described("predicted", where))


def rival_of(
    complete: Collection[Trial], able: Collection[Trial], score: str, higher_is_better: bool, costs: Sequence[str] = ()
) -> Rival | None:
    """What the next trial races against; None while too little is known.

    Args:
        complete: the trials that ran to their end.
        able: those of them that may be chosen.
        score: the metric that ranks.
        higher_is_better: of the score.
        costs: those of which the first that is known counts among trials that are as good; empty: the best is chosen.
    """
    by_fold = {trial.trial_id: _fold_scores(trial, score) for trial in complete}
    known = [trial for trial in complete if by_fold[trial.trial_id]]
    able = [trial for trial in able if by_fold.get(trial.trial_id)]
    if len(known) < MIN_COMPLETE or not able:
        return None
    sign = -1.0 if higher_is_better else 1.0

    def rank(trial: Trial) -> tuple[float, float]:
        scores = by_fold[trial.trial_id]
        return sign * fmean(scores.values()), trial.figures.get("training_time_s", math.inf)

    best = min(able, key=rank)
    folds = by_fold[best.trial_id]
    of_all = [[by_fold[trial.trial_id][fold] for fold in folds] for trial in sorted(known, key=rank)]
    noise = FoldNoise.of(np.array(of_all))
    if not noise.degrees:
        return None
    cost = next(((name, best.figures[name]) for name in costs if name in best.figures), None)
    return Rival(score, higher_is_better, folds, noise, cost)


def _fold_scores(trial: Trial, score: str) -> dict[int, float]:
    """By fold; empty where one is unknown."""
    scores = {int(row["fold"]): row.get(score, math.nan) for row in trial.folds}
    return scores if all(map(math.isfinite, scores.values())) else {}
