"""Score against cost: the trials that no other one beats without costing more."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from entrypoints.frame import Frame
from entrypoints.limits import pareto
from entrypoints.reporting import drawing
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions import effects
from entrypoints.reporting.questions.decision import SHOWN_COSTS, Decision, decide, margins
from entrypoints.reporting.words import value


def front(frame: Frame, margins: dict[str, float]) -> pd.DataFrame:
    """The front of score against each cost, over the complete trials of the first study, the cheapest first.

    Args:
        frame: of a study with a score.
        margins: see ``decision.margins``.

    Returns:
        cost, value, the score's own column, trial_id, run_id and the hyperparameters; nothing of costs that differ by
        noise alone.
    """
    score, trials = str(frame.score), frame.complete
    costs = [
        name
        for name in SHOWN_COSTS
        if name in trials and np.ptp(trials[name].dropna()) > margins.get(name, 0.0) * trials[name].median()
    ]
    sign = -1.0 if frame.higher_is_better else 1.0
    found = pareto.front(rows_of(trials), score, costs, frame.hyperparameters, sign=sign, margins=margins)
    table: pd.DataFrame = pd.DataFrame(found)
    return table


def answer(frame: Frame) -> Answer:
    """What a worse score saves, of the cost in which the front has the most steps."""
    noise = effects.noise(frame)
    decision = decide(frame, noise=noise)
    if frame.score is None or decision.chosen is None:
        return Answer("pareto")
    table = front(frame, margins(frame, noise))
    if table.empty:
        return Answer("pareto", open_question="Score against cost: the trials differ in no cost beyond noise.")
    sentence = _sentence(table, frame.score)
    return Answer("pareto", (sentence,), table, partial(_draw, frame, decision, table, sentence))


def _sentence(table: pd.DataFrame, score: str) -> str:
    counts = table["cost"].value_counts(sort=False)
    cost = str(counts.idxmax())
    steps = table[table["cost"] == cost]
    if len(steps) == 1:
        return f"A worse {score} saves nothing: for each cost the best model is, within noise, also the cheapest."
    cheap, best = steps.iloc[0], steps.iloc[-1]
    return (
        f"From {score} {value(score, best[score])} at `{cost}` {value(cost, best['value'])} down to "
        f"{value(score, cheap[score])} at {value(cost, cheap['value'])}, {len(steps)} models are worth a choice."
    )


@drawing.styled
def _draw(frame: Frame, decision: Decision, table: pd.DataFrame, title: str) -> Figure:
    """All trials, the front and the chosen model, a panel for each cost."""
    score, trials, chosen = str(frame.score), frame.complete, decision.chosen
    costs = list(dict.fromkeys(table["cost"]))
    note = "Points: trials. Line: the front. Star: the chosen model. Crosses break the limits."
    figure, panels = drawing.sheet(len(costs), title, note, panel_in=3.4)
    breaks = decision.judged.loc[trials.index, "meets"].eq(False)
    for cost, axes in zip(costs, panels, strict=True):
        own = table[table["cost"] == cost]
        for some, marker in ((trials[~breaks], "o"), (trials[breaks], "x")):
            axes.plot(some[cost], some[score], marker, color=drawing.BLUE, alpha=0.5, markersize=5)
        axes.plot(own["value"], own[score], "s-", color=drawing.VERMILLION, markersize=5, drawstyle="steps-post")
        if chosen is not None:
            axes.plot(chosen[cost], chosen[score], "*", color=drawing.ORANGE, markersize=16, markeredgecolor="black")
        drawing.scale_axis(axes, "x", trials[cost])
        drawing.scale_axis(axes, "y", trials[score])
        axes.set_xlabel(cost)
        axes.set_ylabel(score)
    return figure
