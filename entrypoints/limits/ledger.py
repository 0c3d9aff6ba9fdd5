"""What the trials of a study have cost so far, in one place that all of them can ask."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import ray
from ray.actor import ActorHandle

from entrypoints.compute.workers import ALONE, beside_the_driver
from entrypoints.limits.cost_model import TOTALS, CostModel
from entrypoints.limits.costs import USUAL_NOISE
from entrypoints.limits.extrapolation import Prediction
from entrypoints.limits.noise import group, noise_at_limits
from entrypoints.models.configuration import Configuration
from entrypoints.models.trial_record import End, Trial
from mlflow_sysmetrics.limits import Values

PREDICTED = (
    *("mean_step_time_ms", "training_time_s", "elapsed_s"),
    *("peak_memory_mb", "memory_growth_mb", "model_memory_mb"),
)
OF_ANY_LENGTH = ("mean_step_time_ms", "model_memory_mb")  # those that do not grow with a trial's length
ANSWER_WITHIN_S = 10.0
MAX_EXPECTED = 500  # trials whose costs are estimated: in random order, a sample of this size stands for all
_ROUNDING = 1e-9  # as a share: sums of the same steps

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Brief:
    """What a trial knows when it begins.

    Attributes:
        costs: the costs of each trial of the study, for relative limits. A stopped or skipped trial counts with its
            predicted total, if known, and at least with the value it was stopped for: without it, the median would
            fall for later trials. A trial that has not ended counts with its expected cost: the median of the first
            few to end is not typical.
        noise: the noise of each figure.
        predictions: what this trial will cost.
    """

    costs: tuple[Values, ...] = ()
    noise: Values = field(default_factory=lambda: dict(USUAL_NOISE))
    predictions: dict[str, Prediction] = field(default_factory=dict)


class Ledger:
    """Collects what trials cost.

    Args:
        rows: training rows of a fold.
        metrics: the metrics that limits name; others are not kept.
        trials: all trials of the study.
        earlier: trials of the same study that an interrupted command has run.
    """

    def __init__(
        self,
        rows: int,
        metrics: Iterable[str],
        trials: Iterable[Configuration] = (),
        earlier: Iterable[Trial] = (),
    ) -> None:
        self._metrics = tuple(metrics)
        to_come = islice((trial for trial in trials if not trial.repeat), MAX_EXPECTED)
        self._to_come = {trial.key: trial for trial in to_come}
        self._model = CostModel(rows)
        self._finished: list[tuple[Hashable, Values]] = []
        self._costs: list[Values] = []  # what relative limits are taken of
        for trial in earlier:
            self.record(trial.configuration, trial.figures, trial.expected, trial.end)

    def observe(self, figures: Iterable[tuple[Configuration, Values]]) -> None:
        """Note what trials of some configurations would cost, as timed before the first of them."""
        for configuration, costs in figures:
            self._model.observe(configuration, costs, ended=False)

    def record(self, configuration: Configuration, figures: Values, expected: Values, end: End) -> None:
        """Note a trial: its last figures, what they would have been at its end, and how it ended."""
        if not configuration.repeat:
            self._to_come.pop(configuration.key, None)
        if end == "finished":
            self._finished.append((group(configuration, figures), self._limited(figures)))
        counts = counted(configuration, figures, expected, end)
        if counts is not None:
            self._costs.append(self._limited(counts))
        if end != "skipped":  # its costs are this model's own prediction
            self._model.observe(configuration, _learned(figures, expected) if end == "stopped" else expected)

    def _limited(self, figures: Values) -> dict[str, float]:
        return {name: figures[name] for name in self._metrics if name in figures}

    def briefs(self, configurations: Sequence[Configuration]) -> list[Brief]:
        """What each of some trials that may begin now needs to know.

        The length of a trial that may converge is unknown, so costs that grow with it are not predicted.
        """
        seen = {name: noise_at_limits(self._finished, name) for name in self._metrics}
        noises = USUAL_NOISE | {name: value for name, value in seen.items() if value is not None}
        predictions: list[dict[str, Prediction]] = [{} for _ in configurations]
        for name in set(self._metrics).intersection(PREDICTED):
            predicted = self._model.predict(configurations, name, noises.get(name, 0.0))
            for of_one, configuration, prediction in zip(predictions, configurations, predicted, strict=True):
                if prediction and (name in OF_ANY_LENGTH or not configuration.may_converge):
                    of_one[name] = prediction
        costs = (*self._costs, *self.to_come())
        return [Brief(costs, noises, of_one) for of_one in predictions]

    def to_come(self) -> list[Values]:
        """The expected costs of the trials that have not ended, where they can be predicted."""
        costs: list[dict[str, float]] = [{} for _ in self._to_come]
        for name in set(self._metrics).intersection(PREDICTED):
            values = self._model.expected(list(self._to_come.values()), name)
            for figures, trial, value in zip(costs, self._to_come.values(), values, strict=True):
                if value is not None and (name in OF_ANY_LENGTH or not trial.may_converge):
                    figures[name] = value
        return [figures for figures in costs if figures]


def counted(configuration: Configuration, figures: Values, expected: Values, end: End) -> Values | None:
    """What a trial counts with where relative limits are taken of all trials; None if it does not count."""
    if configuration.repeat or end == "diverged":
        return None
    # The final costs of a trial that might have converged are unknown: it counts with its costs so far.
    as_it_came = end == "finished" or (end == "stopped" and configuration.may_converge)
    return figures if as_it_came else expected


def _learned(figures: Values, expected: Values) -> Values:
    """What a stopped trial shows about others, without totals that are only its costs so far, a lower bound."""
    beyond = {name: (1 + _ROUNDING) * figures.get(name, 0.0) for name in TOTALS}
    return {name: value for name, value in expected.items() if value > beyond.get(name, -math.inf)}


def start(
    rows: int,
    metrics: Iterable[str],
    trials: Iterable[Configuration] = (),
    earlier: Iterable[Trial] = (),
) -> ActorHandle:
    """A ledger in a separate process. Ray must be running."""
    actor = ray.remote(num_cpus=0, scheduling_strategy=beside_the_driver(), runtime_env=ALONE)(Ledger)
    return actor.remote(rows, list(metrics), list(trials), earlier=list(earlier))


def ask(ledger: ActorHandle | None, configurations: Sequence[Configuration]) -> list[Brief]:
    """What a ledger knows for each of some trials that may begin; empty without a ledger, or if it does not answer."""
    briefs: list[Brief] | None = _answer(ledger.briefs, list(configurations)) if ledger else None
    return briefs or [Brief()] * len(configurations)


def ask_to_come(ledger: ActorHandle | None) -> list[Values]:
    """The expected costs of the trials that have not ended."""
    return (_answer(ledger.to_come) if ledger else None) or []


def tell(ledger: ActorHandle | None, figures: Sequence[tuple[Configuration, Values]]) -> None:
    """Have a ledger know what trials of some configurations would cost, before this returns."""
    if ledger:
        _answer(ledger.observe, figures)


def _answer(method: Any, *question: Any) -> Any:
    try:
        return ray.get(method.remote(*question), timeout=ANSWER_WITHIN_S)
    except ray.exceptions.RayError as error:
        logger.warning("A trial begins without knowing what others cost: %s", error)
        return None
