"""What is stable over full studies of one dataset, repeated with other seeds or on other machines."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from entrypoints.frame import Frame, without_rounding
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
from entrypoints.reporting.words import digits, listed


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
    shared = [each for each in complete[frame.first].index if all(each in trials.index for trials in complete.values())]
    score = frame.score
    if not shared:
        return Answer("repeats", open_question="What is stable: no configuration ran to its end in all studies.")
    costs = _costs(frame, names)
    reported = list(_of_costs(frame, costs, names))
    if score is None:
        why = "Which model to take: nothing says which metric ranks the trials; give metric and mode."
        return Answer("repeats", tuple(reported), costs, open_question=why)
    table = _losses(frame, complete, shared, score)
    sentences = [*_take(frame, complete, table, names), *reported]
    losses = table.rename(columns=names).reset_index(names="configuration")
    rows: pd.DataFrame = pd.concat([losses, costs], ignore_index=True)
    return Answer("repeats", tuple(sentences), rows)


def _losses(frame: Frame, complete: dict[str, pd.DataFrame], shared: list[str], score: str) -> pd.DataFrame:
    """By how much each shared configuration is worse in each study than the best of all there, the safest first.

    Beside them the smallest least significant difference of any study, and the costs in the first.
    """
    sign = -1.0 if frame.higher_is_better else 1.0
    signed: pd.DataFrame = pd.DataFrame(
        {study: sign * without_rounding(trials[score]) for study, trials in complete.items()}
    )
    losses = (signed - signed.min()).loc[shared]
    least = [decision.decide(frame.of([study])).least_difference for study in complete]
    known = min((difference for difference in least if difference is not None), default=None)
    of_first = complete[frame.first]
    costs = of_first[[cost for cost in decision.SHOWN_COSTS if cost in of_first]]
    whole = losses.assign(worst_loss=losses.max(axis=1), least_significant_difference=known).join(costs)
    ordered: pd.DataFrame = whole.sort_values("worst_loss", kind="stable")
    return ordered


def _take(frame: Frame, complete: dict[str, pd.DataFrame], table: pd.DataFrame, names: dict[str, str]) -> Iterator[str]:
    """The configuration that is never far from the best, its costs and its address."""
    safest, worst = str(table.index[0]), float(table["worst_loss"].iloc[0])
    least = table["least_significant_difference"].iloc[0]
    within = f", within noise ({digits(least, 2)})" if least is not None and 0 < worst <= least else ""
    lost = f"at most {digits(worst, 2)} worse in {frame.score} than the best" if worst > 0 else "the best"
    weak = [
        names[study]
        for study, trials in complete.items()
        if decision.not_beaten(frame.of([study]), trials.loc[[safest]], least).notna().all()
    ]
    but = f" **But in {listed(weak)} it does not beat the baseline** beyond noise." if weak else ""
    tried = f"configurations that ran to their end in all: {len(table)}"
    yield f"**Take {safest}**: it is {lost} in each of {len(names)} studies{within}; {tried}.{but}"
    first = complete[frame.first].loc[safest]
    yield from filter(None, [decision.costs_in_words(first), decision.load_in_words(frame, first)])
    best: dict[str, list[str]] = {}
    for study, name in names.items():
        best.setdefault(safest if table.loc[safest, study] == 0 else str(complete[study].index[0]), []).append(name)
    if len(best) > 1:
        each = [f"{configuration} ({listed(studies)})" for configuration, studies in best.items()]
        yield f"The best of a study differs: {'; '.join(each)}."


def _costs(frame: Frame, names: dict[str, str]) -> pd.DataFrame:
    """What each study cost beside the first: a row per study and cost."""
    first, *others = names
    tables = [ratios(frame, first, study).assign(study=names[study], beside=names[first]) for study in others]
    table: pd.DataFrame = pd.concat(tables, ignore_index=True)
    return table


def _of_costs(frame: Frame, costs: pd.DataFrame, names: dict[str, str]) -> Iterator[str]:
    """Which costs differ, and which agree; then hosts, where they differ."""
    by_verdict: dict[str, set[str]] = {}
    for row in rows_of(costs):
        by_verdict.setdefault(row["metric"], set()).add(row["verdict"])
        if row["verdict"] in (MORE, LESS):
            yield f"`{row['metric']}` in {row['study']} is {ratio_in_words(row)} that in {row['beside']}."
    agree = [f"`{metric}`" for metric, verdicts in by_verdict.items() if verdicts == {AGREES}]
    unclear = [f"`{metric}`" for metric, verdicts in by_verdict.items() if UNCLEAR in verdicts]
    if agree:
        yield f"{listed(agree)} {'agrees' if len(agree) == 1 else 'agree'} within 5 %."
    if unclear:
        yield f"Whether {listed(unclear)} {'differs' if len(unclear) == 1 else 'differ'} cannot be told."
    hosts = differing_hosts(frame, *names)
    if hosts:
        yield f"The studies ran on machines that differ ({hosts}): their costs are compared, never pooled."
