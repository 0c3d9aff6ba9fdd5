"""What a configuration will cost, from what other ones have cost."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from entrypoints.limits.prediction import CONFIDENCE, Prediction
from entrypoints.models.configuration import Configuration
from mlflow_sysmetrics.criteria.judge import Figures

MIN_TRIALS = 8
TOTALS = ("training_time_s", "elapsed_s")  # learned per step, of which each configuration's number is known
MIN_SPREAD = 0.05  # of a prediction's logarithm: no model of a few trials is better than 5 %
_Z = NormalDist().inv_cdf(CONFIDENCE)


class CostModel:
    """Bayesian ridge regression of a cost's logarithm on the logarithms of the hyperparameters, and their squares.

    Words are categories. One model per metric; it is fitted when first asked after an observation.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._features: list[dict[str, Any]] = []
        self._figures: list[Figures] = []
        self._fitted: dict[str, tuple[int, Pipeline]] = {}

    def observe(self, configuration: Configuration, figures: Figures) -> None:
        """Learn what a configuration costs; what is not above 0 says nothing."""
        self._features.append(features(configuration))
        self._figures.append({name: value / self._unit(name, configuration) for name, value in figures.items()})

    def predict(self, configuration: Configuration, metric: str, noise: float = 0.0) -> Prediction | None:
        """What it will cost; None while too little is known, or where it is unlike all that is.

        The interval is never narrower than that of the ``noise`` of equal trials, as a share: what was timed before the
        first trial holds none.
        """
        known = [place for place, figures in enumerate(self._figures) if figures.get(metric, 0.0) > 0]
        asked = features(configuration)
        if len(known) < MIN_TRIALS or not _within(asked, [self._features[place] for place in known]):
            return None
        if self._fitted.get(metric, (0,))[0] != len(known):
            numbers = (DictVectorizer(sparse=False), StandardScaler(), PolynomialFeatures(2, include_bias=False))
            model = make_pipeline(*numbers, BayesianRidge())
            costs = [math.log(self._figures[place][metric]) for place in known]
            self._fitted[metric] = len(known), model.fit([self._features[place] for place in known], costs)
        mean, spread = (float(each[0]) for each in self._fitted[metric][1].predict([asked], return_std=True))
        half, unit = _Z * max(spread, noise, MIN_SPREAD), self._unit(metric, configuration)
        return Prediction(unit * math.exp(mean), unit * math.exp(mean - half), unit * math.exp(mean + half))

    def _unit(self, metric: str, configuration: Configuration) -> int:
        return configuration.steps(self._rows) if metric in TOTALS else 1


def features(configuration: Configuration) -> dict[str, Any]:
    """What a cost depends on: log2 of the amounts (batch size, layer sizes), and each word as it is.

    Rates and penalties are fractions, which change what a model learns and not what it costs.
    """
    values: dict[str, Any] = {"algorithm": configuration.algorithm, "batch_size": math.log2(configuration.batch_size)}
    for name, value in configuration.hyperparameters.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, list, tuple)):
            values[name] = str(value)
        elif isinstance(value, int):
            values[name] = math.log2(1 + abs(value))
        elif not isinstance(value, float):
            amounts = [abs(each) for each in value if isinstance(each, (int, float))]
            values[f"{name} count"] = float(len(value))
            values[f"{name} sum"] = math.log2(1 + sum(amounts))
    return values


def _within(asked: dict[str, Any], known: list[dict[str, Any]]) -> bool:
    """Whether every feature lies within those seen, with one doubling to spare."""
    for name, value in asked.items():
        seen = [each[name] for each in known if name in each]
        if not seen:
            return False
        if isinstance(value, str):
            if value not in seen:
                return False
        elif not min(seen) - 1 <= value <= max(seen) + 1:
            return False
    return True
