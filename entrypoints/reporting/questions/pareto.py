"""Score against cost: the trials that no other one beats without costing more."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from entrypoints.limits.noise import noise_of, small
from entrypoints.reporting import drawing
from entrypoints.reporting.answer import Answer
from entrypoints.reporting.questions.decision import Decision, decide, differing_costs
from entrypoints.reporting.questions.effects import noise_of_score
from entrypoints.reporting.verdicts import Verdict
from entrypoints.reporting.words import value
from entrypoints.trials.frame import Frame


def front(frame: Frame) -> pd.DataFrame:
    """The front of score against each cost, over the complete trials of the first study, the cheapest first.

    Returns:
        cost, value, the score's own column, trial_id, run_id and the hyperparameters; nothing of costs that differ by
        noise alone.
    """
    score, trials = frame.score, frame.complete
    named = [name for name in ("trial_id", "run_id", *frame.hyperparameters) if name in trials]
    as_good = float(np.nan_to_num(noise_of_score(frame).error()))
    fronts = []
    for cost in differing_costs(frame):
        typical = float(trials[cost].median())
        as_cheap = max(small(cost, typical) / (typical or math.inf), noise_of(frame, cost).least_difference())
        of_cost = steps(frame, cost, as_good, as_cheap)
        fronts.append(of_cost[[score, *named]].assign(cost=cost, value=of_cost[cost]))
    columns = ["cost", "value", score, *named]
    table: pd.DataFrame = pd.concat(fronts, ignore_index=True)[columns] if fronts else pd.DataFrame()
    return table


def steps(frame: Frame, cost: str, as_good: float = 0.0, as_cheap: float = 0.0) -> pd.DataFrame:
    """The complete trials on the front of score against one cost, from the cheapest on.

    It is built from its most expensive trial down: of the trials as good as the best one, the cheapest, or the best of
    those as cheap. The next is chosen in the same way among the trials that are cheaper by more than noise, and so on.
    So of several trials that differ only by noise, the best is on the front, in whatever order they are given.

    Args:
        frame: of the study.
        cost: a figure where less is better. Trials that lack it are not on the front.
        as_good: what may be noise of the score, a difference.
        as_cheap: what may be noise of the cost, a share of it.
    """
    trials = frame.complete
    losses = frame.sign * trials[frame.score]
    left: pd.DataFrame = trials.assign(loss=losses).dropna(subset=["loss", cost])
    chosen = []
    while len(left):
        good = left[left["loss"] <= left["loss"].min() + as_good]
        cheap = good[good[cost] <= good[cost].min() * (1 + as_cheap)]
        best = cheap.sort_values(["loss", cost, "trial_id"]).index[0]
        chosen.append(best)
        left = left[left[cost] * (1 + as_cheap) < left.loc[best, cost]]
    found: pd.DataFrame = trials.loc[chosen[::-1]]
    return found


def answer(frame: Frame) -> Answer:
    """What a worse score saves, of the cost in which the front has the most steps."""
    decision = decide(frame)
    if decision.chosen is None:
        return Answer("pareto")
    table = front(frame)
    if table.empty:
        return Answer("pareto", open_question="Score against cost: the trials differ in no cost beyond noise.")
    sentence = _sentence(table, frame)
    return Answer("pareto", (sentence,), table, lambda: _drawn(frame, decision, table, sentence))


def _sentence(table: pd.DataFrame, frame: Frame) -> str:
    score = frame.score
    among = ""
    if frame.is_raced:
        among = " among the trials that racing left: it also ends cheap ones that cannot become the best"
    counts = table["cost"].value_counts(sort=False)
    cost = str(counts.idxmax())
    steps = table[table["cost"] == cost]
    if len(steps) == 1:
        return (
            f"To accept a worse {score} saves nothing: for each cost, some model that is as good as the best is also, "
            f"within noise, the cheapest{among}."
        )
    cheap, best = steps.iloc[0], steps.iloc[-1]
    return (
        f"From {score} {value(score, best[score])} at `{cost}` {value(cost, best['value'])} to "
        f"{value(score, cheap[score])} at {value(cost, cheap['value'])}, {len(steps)} models are worth a choice{among}."
    )


@drawing.styled
def _drawn(frame: Frame, decision: Decision, table: pd.DataFrame, title: str) -> Figure:
    """All trials, the front and the chosen model, a panel for each cost. The UI has no logarithmic axis."""
    score, trials, chosen = frame.score, frame.complete, decision.chosen
    costs = table["cost"].unique()
    note = "Points: trials. Line: the front. Star: the chosen model. Crosses break the limits."
    figure, panels = drawing.sheet(len(costs), title, note)
    breaks = decision.judged.loc[trials.index, "verdict"] == Verdict.BREAKS
    for cost, axes in zip(costs, panels, strict=True):
        own = table[table["cost"] == cost]
        for some, marker in ((trials[~breaks], "o"), (trials[breaks], "x")):
            axes.plot(some[cost], some[score], marker, color=drawing.BLUE, alpha=0.5)
        axes.plot(own["value"], own[score], "s-", color=drawing.VERMILLION, drawstyle="steps-post")
        if chosen is not None:
            axes.plot(chosen[cost], chosen[score], "*", color=drawing.ORANGE, markersize=16, markeredgecolor="black")
        drawing.scale_axis(axes, "x", trials[cost])
        drawing.scale_axis(axes, "y", trials[score])
        axes.set_xlabel(cost)
        axes.set_ylabel(score)
    return figure
