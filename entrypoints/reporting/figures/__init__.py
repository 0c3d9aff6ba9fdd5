"""All figures of a report. Each is drawn from a logged table, and is None where that is empty."""

from __future__ import annotations

from entrypoints.reporting.figures.choice import critical_difference, pareto, pareto_hover
from entrypoints.reporting.figures.curve import during_training, over_time
from entrypoints.reporting.figures.datasets import step_times
from entrypoints.reporting.figures.effect import by_hyperparameter, effect_sizes, interaction
from entrypoints.reporting.figures.predicted import predicted
from entrypoints.reporting.figures.repeats import cost_ratios, ranks_agree
from entrypoints.reporting.figures.saving import savings, tradeoff
from entrypoints.reporting.figures.step_law import step_law
from entrypoints.reporting.words import label

__all__ = [
    "by_hyperparameter",
    "cost_ratios",
    "critical_difference",
    "during_training",
    "effect_sizes",
    "interaction",
    "label",
    "over_time",
    "pareto",
    "pareto_hover",
    "predicted",
    "ranks_agree",
    "savings",
    "step_law",
    "step_times",
    "tradeoff",
]
