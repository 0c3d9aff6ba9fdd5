"""What the same configurations cost in two studies, compared one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from entrypoints.frame import Frame, configurations
from entrypoints.limits.costs import SYSTEM_FIGURES
from entrypoints.limits.noise import small
from entrypoints.reporting.statistics import REPORTED, holm, mean_of
from entrypoints.reporting.words import with_interval

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
        mean = mean_of(np.log(both["second"] / both["first"]).to_numpy())
        row: dict[str, Any] = {"metric": cost, "configurations": len(both), "p_value": mean.p_value}
        row |= {"ratio": math.exp(mean.value), "low": math.exp(mean.low), "high": math.exp(mean.high)}
        rows.append(row | {"small": small(cost, float(both["first"].median()))})
    for row, p_holm in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = float(p_holm)
        row["verdict"] = _verdict(row, row.pop("small"))
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _verdict(row: dict[str, Any], small: float) -> str:
    apart = math.exp(abs(math.log(row["ratio"]))) - 1  # as much for half as for twice
    if row["p_holm"] < REPORTED and apart > small:
        return MORE if row["ratio"] > 1 else LESS
    is_within = row["high"] <= 1 + small and row["low"] >= 1 - small
    return AGREES if is_within else UNCLEAR


def ratio_in_words(row: dict[str, Any]) -> str:
    """A row of ``ratios``, such as ``1.3 times (1.2 to 1.4)``."""
    return with_interval(row["ratio"], row["low"], row["high"], "times", count=3)


def differing_hosts(frame: Frame, *studies: str) -> str:
    """The machines that studies ran on, in words, where these differ; else empty."""
    by_study = frame.trials.dropna(subset=["host"]).groupby("study")["host"].unique()
    hosts = [sorted(by_study.get(study, [])) for study in studies]
    if all(each == hosts[0] and len(each) < 2 for each in hosts):
        return ""
    return "; ".join(" and ".join(each) or "an unknown machine" for each in hosts)
