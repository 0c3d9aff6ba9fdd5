"""The history of costs: what the trials of a study have cost so far, in one place that all of them can ask."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Iterable, Sequence
from itertools import islice
from typing import Any

import ray
from ray.actor import ActorHandle

from entrypoints.compute.workers import ALONE, beside_the_driver
from entrypoints.limits.cost_model import TOTALS, UsualCosts
from entrypoints.limits.costs import USUAL_NOISE
from entrypoints.limits.grammar import Limits
from entrypoints.limits.judging import resolved
from entrypoints.limits.noise import alike, measured
from entrypoints.models.configuration import Configuration
from entrypoints.trials.trial import Trial
from mlflow_sysmetrics.limits import Values

PREDICTED = (
    "mean_step_time_ms",
    "training_time_s",
    "elapsed_s",
    "peak_memory_mb",
    "memory_growth_mb",
    "model_memory_mb",
)
ANSWER_WITHIN_S = 10.0
MAX_EXPECTED = 500  # trials whose costs are estimated: in random order, a sample of this size stands for all
_ROUNDING = 1e-9  # as a share: sums of the same steps

logger = logging.getLogger(__name__)


def learned(trial: Trial) -> Values:
    """What a trial that has ended shows about others: of a stopped one no totals that are only its costs so far."""
    if trial.end != "stopped":
        return trial.expected
    beyond = {name: (1 + _ROUNDING) * trial.figures.get(name, 0.0) for name in TOTALS}
    return {name: value for name, value in trial.expected.items() if value > beyond.get(name, -math.inf)}


def counted(trial: Trial) -> Values | None:
    """What a trial that has ended counts with where relative limits are taken of all; None if it does not count."""
    return None if trial.end == "diverged" else trial.expected


class CostHistory:
    """Collects what trials cost, and says what that makes of the limits on others.

    Relative limits are taken of the costs of each trial of the study. A stopped trial counts with its predicted
    total, if known, and at least with the value it was stopped for: without it, the median would fall for
    later trials. A trial that has not ended counts with its expected cost: the median of the first few to end is not
    typical.

    Args:
        rows: training rows of a fold.
        limits: on each trial. Other metrics than theirs are not kept.
        trials: all trials of the study.
        earlier: trials of the same study that an interrupted command has run.
    """

    def __init__(
        self, rows: int, limits: Limits, trials: Iterable[Configuration] = (), earlier: Iterable[Trial] = ()
    ) -> None:
        self._limits = limits
        to_come = islice(trials, MAX_EXPECTED)
        self._to_come = {trial.key: trial for trial in to_come}
        self._usual_costs = [UsualCosts(name, rows) for name in PREDICTED if name in limits.metrics]
        self._finished: list[tuple[Hashable, Values]] = []
        self._counted: list[Values] = []
        for trial in earlier:
            self.record(trial)

    def observe(self, timed: Iterable[tuple[Configuration, Values]]) -> None:
        """Note what trials of some configurations would cost, as timed before the first of them."""
        for configuration, costs in timed:
            self._learn(configuration, costs, ended=False)

    def record(self, trial: Trial) -> None:
        """Note a trial that has ended."""
        configuration = trial.configuration
        self._to_come.pop(configuration.key, None)
        if trial.end == "finished":
            self._finished += [(key, self._limited(figures)) for key, figures in alike(trial)]
        counts = counted(trial)
        if counts is not None:
            self._counted.append(self._limited(counts))
        self._learn(configuration, learned(trial), ended=True)

    def _learn(self, configuration: Configuration, costs: Values, *, ended: bool) -> None:
        for usual in self._usual_costs:
            usual.see(configuration, costs.get(usual.metric, 0.0), ended=ended)

    def limits(self) -> Limits:
        """The limits on a trial that may begin now, as bounds."""
        noise = dict(USUAL_NOISE)
        for name in self._limits.metrics:
            seen = measured((key, figures.get(name, 0.0)) for key, figures in self._finished)
            if seen is not None:
                noise[name] = seen.share
        return resolved(self._limits, [*self._counted, *self.to_come()], noise)

    def to_come(self) -> list[Values]:
        """The expected costs of the trials that have not ended, where they can be predicted."""
        costs: list[Values] = []
        for configuration in self._to_come.values():
            expected = {}
            for usual in self._usual_costs:
                value = usual.expected(configuration)
                if value is not None:
                    expected[usual.metric] = value
            if expected:
                costs.append(expected)
        return costs

    def _limited(self, figures: Values) -> dict[str, float]:
        return {name: figures[name] for name in self._limits.metrics if name in figures}


def start(
    rows: int, limits: Limits, trials: Iterable[Configuration] = (), earlier: Iterable[Trial] = ()
) -> ActorHandle:
    """A history in a process of its own. Ray must be running."""
    actor = ray.remote(num_cpus=0, scheduling_strategy=beside_the_driver(), runtime_env=ALONE)(CostHistory)
    return actor.remote(rows, limits, list(trials), earlier=list(earlier))


def ask(history: ActorHandle | None, limits: Limits) -> Limits:
    """The limits on a trial that may begin, as bounds; relative ones stay as they are where no history answers.

    Args:
        history: of the study.
        limits: on each trial.
    """
    known: Limits | None = _answer(history.limits) if history else None
    return known or resolved(limits, (), USUAL_NOISE)


def tell(history: ActorHandle | None, timed: Sequence[tuple[Configuration, Values]]) -> None:
    """Have a history know what trials of some configurations would cost, before this returns."""
    if history:
        _answer(history.observe, timed)


def _answer(method: Any, *question: Any) -> Any:
    try:
        return ray.get(method.remote(*question), timeout=ANSWER_WITHIN_S)
    except ray.exceptions.RayError as error:
        logger.warning("A trial begins without knowing what others cost: %s", error)
        return None
