"""All figures of a report. Each is drawn from a logged table, and is None where that is empty."""

from __future__ import annotations

from entrypoints.choice_figures import critical_difference, pareto, pareto_hover
from entrypoints.curve_figures import during_training, over_time
from entrypoints.effect_figures import by_hyperparameter, effect_sizes, interaction
from entrypoints.figure_words import label
from entrypoints.saving_figures import savings, tradeoff

__all__ = [
    "by_hyperparameter",
    "critical_difference",
    "during_training",
    "effect_sizes",
    "interaction",
    "label",
    "over_time",
    "pareto",
    "pareto_hover",
    "savings",
    "tradeoff",
]
