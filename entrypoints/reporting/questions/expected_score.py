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


def expected(frame: Frame, noise: pd.DataFrame, test: Estimate, share: float) -> Expected | None:
    """What the model that a study has chosen will reach, by its folds and by its refit's test part.

    Args:
        frame: of the study.
        noise: of ``effects.noise``.
        test: the score of the refitted model on the test part.
        share: of the training part in the rows of both.

    Returns:
        None where a trial is not scored on each fold, or the study has one fold.
    """
    score = str(frame.score)
    chosen = decision.decide(frame, noise).chosen
    others = left_out(frame, noise)
    if chosen is None or others is None:
        return None
    mean = float(others.mean())
    sign = 1.0 if frame.higher_is_better else -1.0
    return Expected(together(others, test, share), mean, sign * (float(chosen[score]) - mean))


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
    if scores.shape[1] < 3:
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

    Each counts by the inverse of its variance. That of the mean over n folds is theirs times 1/n + 1/(n - 1) (Nadeau
    and Bengio, Machine Learning 52, 2003): it grows where models of a few other rows differ, as single trees do. It is
    no less than what the same correction makes of the error of as many test rows, since stratified folds differ less
    than tables do; so the folds never count more than their share of the rows. The degrees of freedom are the fewer.

    Args:
        left_out: of ``left_out``.
        test: of ``jackknife``.
        share: of the training part in the rows of both parts.
    """
    folds = len(left_out)
    if test.why_unknown:
        value = share * float(left_out.mean()) + (1 - share) * test.value
        return Estimate(value, why_unknown=test.why_unknown)
    corrected = 1 / folds + 1 / (folds - 1)
    of_test = test.error**2
    floor = folds * corrected * of_test * (1 - share) / share
    of_folds = max(corrected * float(left_out.var(ddof=1)), floor)
    weight = of_test / (of_folds + of_test)
    value = weight * float(left_out.mean()) + (1 - weight) * test.value
    return Estimate(value, test.error * math.sqrt(1 - weight), min(folds - 1, test.degrees))


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
