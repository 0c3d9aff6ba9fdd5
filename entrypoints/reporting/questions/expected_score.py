"""What the chosen model will reach on other rows like these, as an interval, and how lucky the best of many was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.frame import Frame
from entrypoints.models.jackknife import Estimate
from entrypoints.reporting.questions import decision, effects

DEGREES = 9  # of freedom; fewer than the blocks of the test part have, since the weights are estimated, too

MIN_FOLDS = 3  # without one of two there is no noise to choose by


@dataclass(frozen=True)
class Expected:
    """The score of the chosen model on other rows.

    Attributes:
        score: with its interval.
        left_out: the mean score of what is chosen without a fold, on that fold.
        luck: by how much the chosen one's mean over the folds looks better than that; below 0 it looks worse.
    """

    score: Estimate
    left_out: float
    luck: float


def expected(
    frame: Frame, noise: pd.DataFrame, chosen: pd.Series[Any], test: Estimate, share: float
) -> Expected | None:
    """What the model that a study has chosen will reach, by its folds and by its refit's test part.

    Args:
        frame: of the study.
        noise: of ``effects.noise``.
        chosen: the trial that ``decision.decide`` chooses.
        test: the score of the refitted model on the test part, of ``jackknife``.
        share: of the training part in the rows of both.

    Returns:
        None where ``left_out`` is.
    """
    others = left_out(frame, noise)
    if others is None:
        return None
    mean = float(others.mean())
    sign = 1.0 if frame.higher_is_better else -1.0
    luck = sign * (float(chosen[str(frame.score)]) - mean)
    return Expected(together(others, test, share), mean, luck)


def left_out(frame: Frame, noise: pd.DataFrame) -> NDArray[np.float64] | None:
    """On each fold the score (folds,) of the trial that the study would have chosen by the other folds alone.

    The best of many trials has the best score by some luck, which is that of its folds; on a fold that had no part in
    the choice it has none. Trials are chosen as the study chooses them: within its limits, ties by their costs.

    Args:
        frame: of the study.
        noise: of ``effects.noise``.

    Returns:
        None with fewer than three folds, or where nothing would be chosen.
    """
    scores = effects.fold_scores(frame)
    if scores.shape[1] < MIN_FOLDS:
        return None
    of_costs = noise[noise["metric"] != frame.score]
    found = []
    for place, fold in enumerate(scores.columns):
        others = _without(frame, scores, place)
        of_score: pd.DataFrame = pd.DataFrame([effects.noise_of_score(others)])
        chosen = decision.decide(others, pd.concat([of_score, of_costs])).chosen
        if chosen is None:
            return None
        found.append(float(scores.loc[chosen["trial_id"], fold]))
    return np.array(found)


def together(left_out: NDArray[np.float64], test: Estimate, share: float) -> Estimate:
    """The scores of what is chosen without each fold, and that of the refit on the test part, as one estimate.

    Each counts by the inverse of its variance as an estimate of the refit's true score. That of the mean over n folds
    has two parts. Its rows' is what the error of the test part makes of as many rows, times n (1/n + 1/(n - 1)), since
    the folds' training rows overlap (Nadeau and Bengio, Machine Learning 52, 2003); the folds themselves differ less
    where they are stratified. And where they differ by more than their rows make them, models of other training rows
    differ, such as single trees: the refit is one more of them, which adds 1 + 1/n times that variance.

    Args:
        left_out: of ``left_out``.
        test: of ``jackknife``.
        share: of the training part in the rows of both parts.
    """
    folds, mean = len(left_out), float(left_out.mean())
    if test.why_unknown:
        return Estimate(share * mean + (1 - share) * test.value, why_unknown=test.why_unknown)
    of_test = test.error**2
    of_rows = of_test * (1 - share) / share
    of_models = max(0.0, float(left_out.var(ddof=1)) - folds * of_rows)
    of_folds = (1 + folds / (folds - 1)) * of_rows + (1 + 1 / folds) * of_models
    weight = of_test / (of_folds + of_test)
    value = weight * mean + (1 - weight) * test.value
    return Estimate(value, test.error * math.sqrt(1 - weight), min(DEGREES, test.degrees))


def _without(frame: Frame, scores: pd.DataFrame, place: int) -> Frame:
    """The study as it would be without one of its folds."""
    score, fold = str(frame.score), scores.columns[place]
    means = frame.trials["trial_id"].map(scores.drop(columns=fold).mean(axis=1))
    baseline = frame.studies["baseline"].map(lambda values: _dropped(values, place))
    return replace(
        frame,
        trials=frame.trials.assign(**{score: means}),
        folds=frame.folds[frame.folds["fold"] != fold],
        studies=frame.studies.assign(baseline=baseline),
    )


def _dropped(values: Sequence[float] | None, place: int) -> list[Any] | None:
    return None if values is None else [*values[:place], *values[place + 1 :]]
