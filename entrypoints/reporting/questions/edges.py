"""Where the best value of a hyperparameter is an end of its range: what lies beyond may be better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from entrypoints.reporting.answer import Answer
from entrypoints.reporting.questions.decision import Decision, decide
from entrypoints.reporting.verdicts import Verdict
from entrypoints.statistics import is_number
from entrypoints.trials.frame import Frame, level

MIN_FACTOR = 2.0  # between values that are listed by factors, which go on beyond 1
MIN_REPEATED = 2  # times that a search tries each value of a list; values that it draws are nearly all different


def answer(frame: Frame) -> Answer:
    """The ends of the first study that may be worth to go beyond."""
    return Answer("edges", tuple(sentences(frame, decide(frame))))


def sentences(frame: Frame, decision: Decision) -> Iterator[str]:
    """A sentence where the chosen trial has the smallest or largest number that was listed for its algorithm.

    Only if it beats the best trial of the next value inside that meets the limits, by more than noise, and if there is
    something beyond: nothing is below 0, and above 1 only where values grow by factors. Batch sizes are searched by
    default from 2 to all rows, and have no end.

    Args:
        frame: of the study.
        decision: which trial is chosen, and what of scores is noise.
    """
    trials, score = frame.trials[frame.trials["study"] == frame.first], frame.score
    complete = frame.complete[decision.judged.loc[frame.complete.index, "verdict"] != Verdict.BREAKS]
    chosen, least = decision.chosen, decision.noise.least_difference
    if chosen is None or least != least:
        return
    if "algorithm" in frame.hyperparameters:
        trials, complete = (each[each["algorithm"] == chosen["algorithm"]] for each in (trials, complete))
    for name in frame.hyperparameters:
        values = sorted(trials[name].dropna().unique())
        if not is_number(trials[name]) or len(values) < 2:
            continue
        is_listed = frame.studies["search"].iloc[0] == "grid" or MIN_REPEATED * len(values) <= len(trials)
        is_every_size = name == "batch_size" and values == [2**power for power in range(1, len(values) + 1)]
        inner = {values[-1]: values[-2], values[0]: values[1]}.get(chosen[name])
        if not is_listed or is_every_size or inner is None or _is_bound(values, chosen[name]):
            continue
        next_best = complete.loc[complete[name] == inner, score].head(1)
        if not next_best.empty and frame.sign * (next_best.iloc[0] - chosen[score]) > least:
            end, beyond = ("smallest", "smaller") if chosen[name] < inner else ("largest", "larger")
            yield f"The best {name}, {level(chosen[name])}, is the {end} that was tried: try {beyond} ones as well."


def _is_bound(values: Sequence[float], value: float) -> bool:
    """Whether nothing can lie beyond a value at an end."""
    if value == 1 and value == values[-1]:
        return values[-1] < MIN_FACTOR * values[-2] or values[-2] <= 0
    return value in (0, 1)
