"""Two studies of the same configurations side by side: what limits lost beside the full study, and what costs did."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from entrypoints.frame import Frame, configurations
from entrypoints.limits.costs import SYSTEM_FIGURES
from entrypoints.limits.noise import SMALL, SMALL_MB, is_memory
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions.limits_saved import full_study, judged
from entrypoints.reporting.statistics import TOLD, holm
from entrypoints.reporting.words import digits, with_interval
from mlflow_sysmetrics.tags import BY_LIMITS

MIN_PAIRS = 3  # configurations that both studies ran to their end, for a ratio of their costs
MORE, LESS, AGREES, UNCLEAR = "more", "less", "agrees", "unclear"


def complete_of(frame: Frame, study: str) -> pd.DataFrame:
    """The trials of a study that ran to their end, the best first, by what tells their configurations apart."""
    trials = frame.of([study]).complete
    named: pd.DataFrame = trials.set_axis(configurations(trials, frame.hyperparameters).to_list())
    once: pd.DataFrame = named[~named.index.duplicated()]
    return once


def ratios(frame: Frame, first: str, second: str) -> pd.DataFrame:
    """What configurations cost in the second study, as a multiple of what the same ones cost in the first.

    Returns:
        A row per cost that three configurations or more have in both: metric, configurations, ratio (the geometric
        mean), low, high (its 95 % interval), p_value and p_holm (of a paired t-test of logarithms, adjusted over the
        costs), and verdict: "more" or "less" where p_holm is below 0.01 and the ratio beyond 5 %, of memory also 0.1
        MB; "agrees" where the interval lies within that; else "unclear".
    """
    one, other = complete_of(frame, first), complete_of(frame, second)
    rows = []
    for cost in SYSTEM_FIGURES:
        if cost not in frame.trials:
            continue
        both = pd.concat([one[cost], other[cost]], axis=1, keys=["first", "second"], join="inner").astype(float)
        both = both[(both > 0).all(axis=1)]
        if len(both) < MIN_PAIRS:
            continue
        logs = np.log(both["second"] / both["first"]).to_numpy()
        error = max(float(stats.sem(logs)), 1e-12)
        reach = error * float(stats.t.ppf(0.975, len(logs) - 1))
        p = 2 * float(stats.t.sf(abs(logs.mean()) / error, len(logs) - 1))
        ends = np.exp([logs.mean(), logs.mean() - reach, logs.mean() + reach])
        size = SMALL_MB / float(both["first"].median()) if is_memory(cost) else 0.0
        row = {"metric": cost, "configurations": len(both)} | dict(zip(("ratio", "low", "high"), ends, strict=True))
        rows.append(row | {"p_value": p, "small": max(SMALL, size)})
    table: pd.DataFrame = pd.DataFrame(rows)
    if rows:
        table["p_holm"] = holm(table["p_value"])
        table["verdict"] = [_verdict(row) for row in rows_of(table)]
        table = table.drop(columns="small")
    return table


def ratio_in_words(row: dict[str, Any]) -> str:
    """A row of ``ratios``, such as ``1.3 times (1.2 to 1.4)``."""
    ratio, low, high = (digits(row[name], 3) for name in ("ratio", "low", "high"))
    return with_interval(ratio, low, high, unit="times")


def differing_hosts(frame: Frame, *studies: str) -> str:
    """The machines that studies ran on, in words, where these differ; else empty."""
    trials = frame.trials
    of = {study: sorted(set(trials.loc[trials["study"] == study, "host"].dropna())) for study in studies}
    hosts = [" and ".join(map(str, each)) or "an unknown machine" for each in of.values()]
    return "; ".join(hosts) if len(set(hosts)) > 1 or any(len(each) > 1 for each in of.values()) else ""


def answer(frame: Frame) -> Answer:
    """What each study under limits lost beside its full study, and whether the machine was the same to both."""
    rows, sentences = [], list[str]()
    for study in map(str, frame.studies.index[frame.studies["limits"].notna()]):
        full = full_study(frame, study)
        if full is not None:
            row = _lost(frame, full, study)
            rows.append(row)
            sentences += _in_words(frame, row)
    table: pd.DataFrame = pd.DataFrame(rows)
    return Answer("pairs", tuple(sentences), table)


def _lost(frame: Frame, full: str, study: str) -> dict[str, Any]:
    """What limits stopped that meets them in the full study, and how much worse the best is that they left.

    Of the configurations that both studies began. What a scheduler, a time limit or a person ended, limits have not.
    """
    two, score = frame.of([full, study]), str(frame.studies.loc[full, "score"])
    whole = complete_of(frame, full)
    meets = judged(two).set_index("trial_id")["meets"]
    own = frame.trials[frame.trials["study"] == study]
    tried = configurations(own, frame.hyperparameters)
    able = whole[whole["trial_id"].map(meets).eq(True) & whole.index.isin(tried)]
    is_lost = able.index.isin(tried[own["stopped_by"] == BY_LIMITS])
    left_of = able[~is_lost]
    row = {"study": study, "limits": frame.studies.loc[study, "limits"], "feasible": len(able)}
    row |= {"feasible_stopped": int(is_lost.sum()), "score": score}
    sign = -1.0 if frame.studies.loc[full, "higher_is_better"] else 1.0
    for name in (score, score.replace("val_", "test_")):
        known = len(left_of) and name in able
        row[f"{name}_lost"] = sign * float(left_of[name].iloc[0] - able[name].iloc[0]) if known else math.nan
    cpu = next((each for each in rows_of(ratios(frame, full, study)) if each["metric"] == "cpu_seconds"), {})
    row |= {f"cpu_{name}": cpu.get(name) for name in ("ratio", "low", "high", "verdict")}
    return row | {"hosts": differing_hosts(frame, full, study)}


def _in_words(frame: Frame, row: dict[str, Any]) -> Iterator[str]:
    limits, score = f"`{row['limits']}`", row["score"]
    lost = row[f"{score}_lost"]
    if not row["feasible"]:
        yield f"None of the trials that ran under {limits} meets them in the full study."
    elif not row["feasible_stopped"]:
        yield f"{limits} stopped none of the trials that meet them ({row['feasible']})."
    else:
        left = f"the best of the others is {digits(lost, 2)} worse in {score}" if lost > 1e-9 else "not the best"
        left = "no other is left" if lost != lost else left
        yield f"{limits} stopped {row['feasible_stopped']} of {row['feasible']} trials that meet them: {left}."
    if row["hosts"]:
        yield f"It ran on another machine than the full study ({row['hosts']}): its saving compares two machines."
    elif row["cpu_verdict"] in (MORE, LESS):
        told = ratio_in_words({name: row[f"cpu_{name}"] for name in ("ratio", "low", "high")})
        yield f"Trials that ran to their end in both took {told} as much CPU time under limits: savings are off by it."


def _verdict(row: dict[str, Any]) -> str:
    apart = math.exp(abs(math.log(row["ratio"]))) - 1  # as much for half as for twice
    if row["p_holm"] < TOLD and apart > row["small"]:
        return MORE if row["ratio"] > 1 else LESS
    return AGREES if max(row["high"] - 1, 1 - row["low"]) <= row["small"] else UNCLEAR
