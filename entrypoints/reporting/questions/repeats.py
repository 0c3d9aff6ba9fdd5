"""What is stable over full studies of one dataset, repeated with other seeds or on other machines."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from entrypoints.frame import Frame, without_rounding
from entrypoints.reporting import expectation
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.paired import (
    AGREES,
    LESS,
    MORE,
    UNCLEAR,
    complete_of,
    differing_hosts,
    ratio_in_words,
    ratios,
)
from entrypoints.reporting.questions import decision
from entrypoints.reporting.words import digits, joined, quoted


def called(frame: Frame) -> dict[str, str]:
    """What a page calls each study: by its seed, or by its number where seeds are equal or unknown."""
    seeds = frame.studies["seed"]
    by_seed = seeds.notna().all() and seeds.is_unique
    return {
        str(study): f"seed {seed}" if by_seed else f"study {number}"
        for number, (study, seed) in enumerate(seeds.items(), 1)
    }


def answer(frame: Frame) -> Answer:
    """The configuration that loses least in any study, of those that all ran to their end; which costs differ."""
    names = called(frame)
    complete = {study: complete_of(frame, study) for study in names}
    shared = [name for name in complete[frame.first].index if all(name in trials.index for trials in complete.values())]
    if not shared:
        return Answer("repeats", open_question="What is stable: no configuration ran to its end in all studies.")
    costs = _costs(frame, names)
    sentences = [*_of_costs(costs), *_of_hosts(frame, names)]
    score = frame.score
    if score is None:
        why = "Which model to take: nothing says which metric ranks the trials; give metric and mode."
        return Answer("repeats", tuple(sentences), costs, open_question=why)
    losses = _losses(frame, complete, shared, score)
    taken = [*_take(frame, complete, losses, names), *expectation.of_studies(frame, names)]
    sentences = [*taken, *_bests(complete, losses, names), *sentences]
    named = losses.rename(columns=names).reset_index(names="configuration")
    rows: pd.DataFrame = pd.concat([named, costs, expectation.table(frame, names)], ignore_index=True)
    return Answer("repeats", tuple(sentences), rows)


def _losses(frame: Frame, complete: dict[str, pd.DataFrame], shared: list[str], score: str) -> pd.DataFrame:
    """By how much each shared configuration is worse in each study than the best of all there, the safest first.

    Beside them the smallest least significant difference of any study, and the costs in the first.
    """
    sign = -1.0 if frame.higher_is_better else 1.0
    losses, least = {}, []
    for study, trials in complete.items():
        signed = sign * without_rounding(trials[score])
        losses[study] = (signed - signed.min()).loc[shared]
        least.append(decision.decide(frame.of([study])).least_difference)
    table: pd.DataFrame = pd.DataFrame(losses)
    table["worst_loss"] = table.max(axis=1)
    table["least_significant_difference"] = min(filter(None, least), default=None)
    of_first = complete[frame.first]
    table = table.join(of_first[[cost for cost in decision.SHOWN_COSTS if cost in of_first]])
    ordered: pd.DataFrame = table.sort_values("worst_loss", kind="stable")
    return ordered


def _take(
    frame: Frame, complete: dict[str, pd.DataFrame], losses: pd.DataFrame, names: dict[str, str]
) -> Iterator[str]:
    """The configuration that is never far from the best, its costs and its address."""
    safest = str(losses.index[0])
    worst, least = losses[["worst_loss", "least_significant_difference"]].iloc[0]
    lost = "the best"
    if worst > 0:
        lost = f"at most {digits(worst)} worse in {frame.score} than the best"
    within = f", within noise ({digits(least)})" if least is not None and 0 < worst <= least else ""
    weak = []
    for study, trials in complete.items():
        unbeaten = decision.not_beaten(frame.of([study]), trials.loc[[safest]], least)
        if not math.isnan(unbeaten[safest]):
            weak.append(names[study])
    but = f" **But in {joined(weak)} it does not beat the baseline** beyond noise." if weak else ""
    tried = f"configurations that ran to their end in all: {len(losses)}"
    yield f"**Take {safest}**: it is {lost} in each of {len(names)} studies{within}; {tried}.{but}"
    first = complete[frame.first].loc[safest]
    yield from filter(None, [decision.costs_in_words(first), decision.load_in_words(frame, first)])


def _bests(complete: dict[str, pd.DataFrame], losses: pd.DataFrame, names: dict[str, str]) -> Iterator[str]:
    """The best configuration of each study, where they differ."""
    studies: dict[str, list[str]] = {}
    for study, name in names.items():
        is_safest = losses[study].iloc[0] == 0
        best = losses.index[0] if is_safest else complete[study].index[0]
        studies.setdefault(str(best), []).append(name)
    if len(studies) > 1:
        each = [f"{configuration} ({joined(own)})" for configuration, own in studies.items()]
        yield f"The best of a study differs: {'; '.join(each)}."


def _costs(frame: Frame, names: dict[str, str]) -> pd.DataFrame:
    """What each study cost beside the first: a row per study and cost."""
    first, *others = names
    tables = [ratios(frame, first, study).assign(study=names[study], beside=names[first]) for study in others]
    table: pd.DataFrame = pd.concat(tables, ignore_index=True)
    return table


def _of_costs(costs: pd.DataFrame) -> Iterator[str]:
    """Which costs differ, and which agree."""
    by_verdict: dict[str, set[str]] = {}
    for row in rows_of(costs):
        by_verdict.setdefault(row["metric"], set()).add(row["verdict"])
        if row["verdict"] in (MORE, LESS):
            yield f"`{row['metric']}` in {row['study']} is {ratio_in_words(row)} that in {row['beside']}."
    agree = [metric for metric, verdicts in by_verdict.items() if verdicts == {AGREES}]
    unclear = [metric for metric, verdicts in by_verdict.items() if UNCLEAR in verdicts]
    if agree:
        yield f"{quoted(agree)} {'agrees' if len(agree) == 1 else 'agree'} within 5 %."
    if unclear:
        yield f"Whether {quoted(unclear)} {'differs' if len(unclear) == 1 else 'differ'} cannot be told."


def _of_hosts(frame: Frame, names: dict[str, str]) -> Iterator[str]:
    hosts = differing_hosts(frame, *names)
    if hosts:
        yield f"The studies ran on machines that differ ({hosts}): their costs are compared, never pooled."
