"""Where the best value of a hyperparameter is an end of its range: what lies beyond may be better."""

from __future__ import annotations

from collections.abc import Iterator

from pandas.api.types import is_numeric_dtype

from entrypoints.frame import Frame
from entrypoints.reporting.questions.decision import Decision
from entrypoints.reporting.verdicts import Verdict
from entrypoints.search_space import Space, is_distribution


def sentences(frame: Frame, decision: Decision, space: Space, rows: int) -> Iterator[str]:
    """A sentence where the chosen trial has the smallest or largest number that was tried with its algorithm.

    Only if it beats the best trial of the next value inside that meets the limits, by more than noise, and if there is
    something beyond: 0 and 1 are the end of what most hyperparameters take.

    Args:
        frame: of the study.
        decision: which trial is chosen, and by how much scores must differ to be told apart.
        space: as the user gave it: values that are drawn, or batch sizes that are not listed, have no end.
        rows: the largest batch that is possible.
    """
    trials, score, sign = frame.trials, str(frame.score), -1.0 if frame.higher_is_better else 1.0
    complete = frame.complete[decision.judged.loc[frame.complete.index, "verdict"] != Verdict.BREAKS]
    chosen, least = decision.chosen, decision.least_difference
    if chosen is None or least is None:
        return
    if "algorithm" in frame.hyperparameters:
        trials, complete = (each[each["algorithm"] == chosen["algorithm"]] for each in (trials, complete))
    for name in frame.hyperparameters:
        is_listed = name != "batch_size" if name not in space else not is_distribution(space[name])
        if name == "tol" or not is_listed or not is_numeric_dtype(trials[name]):
            continue
        value, values = chosen[name], sorted(trials[name].dropna().unique())
        beyond = {0, 1, rows} if name == "batch_size" else {0, 1}
        if len(values) < 2 or value not in (values[0], values[-1]) or value in beyond:
            continue
        is_low = value == values[0]
        next_best = complete.loc[complete[name] == values[1 if is_low else -2], score].head(1)
        if not next_best.empty and sign * (next_best.iloc[0] - chosen[score]) > least:
            end, next_ones = ("smallest", "smaller") if is_low else ("largest", "larger")
            yield f"The best {name}, {value:g}, is the {end} that was tried: try {next_ones} ones as well."
