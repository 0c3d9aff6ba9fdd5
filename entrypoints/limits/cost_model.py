"""Predict what a configuration will cost from the costs of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from entrypoints.limits.extrapolation import Prediction
from entrypoints.limits.noise import SMALL_MB, is_memory
from entrypoints.models.configuration import Configuration
from mlflow_sysmetrics.limits import Values

MIN_TRIALS = 8  # for an expected cost,
MIN_FORESEEN = 20  # and for its interval: that of 8 ruled out 2 to 5 % of the configurations that meet a limit
MIN_ENDED = MIN_TRIALS // 2 + 1  # then the median of the last eight is theirs, not that of timings on a slow machine
REFIT_AT = 1.1  # times the observations that a model was fitted to
TOTALS = ("training_time_s", "elapsed_s")  # learned per step: each configuration's number of steps is known
MIN_SPREAD = 0.05  # of a prediction's logarithm: no model of a few trials is better than 5 %
Range = tuple[set[str], float, float]  # a feature's words, and its least and largest number
_NOTHING: Range = (set(), math.inf, -math.inf)
BOUND = 0.99  # confidence of one bound: it is looked at once, before the trial begins
_Z = NormalDist().inv_cdf(BOUND)


@dataclass(frozen=True)
class _Learned:
    """A fitted model and the number of observations that it is fitted to, the number by now and, of these, of trials
    that have ended, the median residual of the last ones, and the ranges of features."""

    fitted_to: int
    observed: int
    ended: int
    model: Pipeline
    shift: float
    ranges: dict[str, Range]

    def covers(self, asked: dict[str, Any]) -> bool:
        """Whether every feature lies within those seen, with one doubling to spare."""
        for name, value in asked.items():
            words, least, largest = self.ranges.get(name, _NOTHING)
            if value not in words if isinstance(value, str) else not least - 1 <= value <= largest + 1:
                return False
        return True


class CostModel:
    """Bayesian ridge regression of a cost's logarithm on the logarithms of the hyperparameters, and their squares.

    Words are categories. One model per metric; it is fitted again when it is asked after a tenth more observations.

    A machine becomes faster or slower while a study runs, and its processes grow less once they have grown. So the
    prediction is shifted by the median residual of the last eight trials. Its interval also allows for no shift.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._features: list[dict[str, Any]] = []
        self._figures: list[Values] = []
        self._ended: list[bool] = []
        self._fitted: dict[str, _Learned] = {}

    def observe(self, configuration: Configuration, figures: Values, *, ended: bool = True) -> None:
        """Learn what a configuration costs; figures of 0 or below are ignored.

        Args:
            configuration: of a trial.
            figures: what it has cost, or would have.
            ended: whether the trial has ended; else a few batches were timed before the first one.
        """
        place = len(self._ended) if ended else 0  # timings of a study that goes on are not what was seen last
        self._ended.insert(place, ended)
        self._features.insert(place, features(configuration))
        figures = {name: value / self._unit(name, configuration) for name, value in figures.items()}
        self._figures.insert(place, figures)

    def predict(
        self, configurations: Sequence[Configuration], metric: str, noise: float = 0.0
    ) -> list[Prediction | None]:
        """What each configuration will cost; None with too few trials, or if it is too different from them.

        At least five of them have ended. The interval is at least as wide as the ``noise`` of equal trials (a share),
        and for memory as the few pages that a process takes or keeps by chance: these are most of a small model's
        memory, which often measures as 0.
        """
        learned = self._learned(metric)
        if learned is None or learned.observed < MIN_FORESEEN or learned.ended < MIN_ENDED or not configurations:
            return [None] * len(configurations)
        asked = [features(configuration) for configuration in configurations]
        means, spreads = learned.model.predict(asked, return_std=True)
        pages = SMALL_MB if is_memory(metric) else 0.0
        predictions: list[Prediction | None] = []
        for each, configuration, mean, spread in zip(asked, configurations, means, spreads, strict=True):
            half, unit = _Z * max(spread, noise, MIN_SPREAD), self._unit(metric, configuration)
            lower, upper = min(0.0, learned.shift) - half, max(0.0, learned.shift) + half
            value, low, high = (unit * math.exp(mean + away) for away in (learned.shift, lower, upper))
            prediction = Prediction(value, max(0.0, min(low, value - pages)), max(high, value + pages))
            predictions.append(prediction if learned.covers(each) else None)
        return predictions

    def expected(self, configurations: Sequence[Configuration], metric: str) -> list[float | None]:
        """What each will cost, without intervals; all together take as long as one call of ``predict``."""
        learned = self._learned(metric)
        if learned is None or not configurations:
            return [None] * len(configurations)
        asked = [features(configuration) for configuration in configurations]
        means = learned.model.predict(asked)
        return [
            self._unit(metric, configuration) * math.exp(mean + learned.shift) if learned.covers(each) else None
            for configuration, each, mean in zip(configurations, asked, means, strict=True)
        ]

    def _learned(self, metric: str) -> _Learned | None:
        """The model of a metric; None while too few trials have it."""
        known = [place for place, figures in enumerate(self._figures) if figures.get(metric, 0.0) > 0]
        if len(known) < MIN_TRIALS:
            return None
        learned = self._fitted.get(metric)
        if learned is None or learned.observed != len(known):
            costs = np.log([self._figures[place][metric] for place in known])
            seen = [self._features[place] for place in known]
            fitted_to = len(known)
            if learned and fitted_to < REFIT_AT * learned.fitted_to:
                model, fitted_to = learned.model, learned.fitted_to
            else:
                numbers = (DictVectorizer(sparse=False), StandardScaler(), PolynomialFeatures(2, include_bias=False))
                model = make_pipeline(*numbers, BayesianRidge()).fit(seen, costs)
            last = slice(-MIN_TRIALS, None)
            shift = float(np.median(costs[last] - model.predict(seen[last])))
            ended = sum(self._ended[place] for place in known)
            self._fitted[metric] = _Learned(fitted_to, len(known), ended, model, shift, _ranges(seen))
        return self._fitted[metric]

    def _unit(self, metric: str, configuration: Configuration) -> int:
        return configuration.steps(self._rows) if metric in TOTALS else 1


def features(configuration: Configuration) -> dict[str, Any]:
    """What a cost may depend on: log2 of the amounts (batch size, layer sizes) and rates, and each word as it is."""
    values: dict[str, Any] = {"algorithm": configuration.algorithm}
    if configuration.batch_size is not None:
        values["batch_size"] = math.log2(configuration.batch_size)
    for name, value in configuration.hyperparameters.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, list, tuple)):
            values[name] = str(value)
        elif isinstance(value, int):
            values[name] = math.log2(1 + abs(value))
        elif isinstance(value, float):
            values[name] = math.log2(abs(value)) if value else "0"
        else:
            amounts = [abs(each) for each in value if isinstance(each, (int, float))]
            values[f"{name} count"] = float(len(value))
            values[f"{name} sum"] = math.log2(1 + sum(amounts))
    return values


def _ranges(seen: Sequence[dict[str, Any]]) -> dict[str, Range]:
    values: dict[str, set[Any]] = {}
    for each in seen:
        for name, value in each.items():
            values.setdefault(name, set()).add(value)
    ranges = {}
    for name, known in values.items():
        words = {value for value in known if isinstance(value, str)}
        numbers = known - words
        ranges[name] = words, min(numbers, default=math.inf), max(numbers, default=-math.inf)
    return ranges
