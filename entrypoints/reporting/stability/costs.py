"""How costs differ between studies that trained the same configurations: compared one by one, never pooled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.limits.costs import COSTS, SYSTEM_FIGURES, USUAL_NOISE
from entrypoints.limits.noise import SHARE, small, worth_telling
from entrypoints.reporting import hosts, statistics
from entrypoints.reporting.findings import Findings, records
from entrypoints.reporting.studies import Study

OF_MEDIAN = 1.5  # the limit of whose decisions is told, as a default limit: this multiple of the median
MORE, LESS, AGREES, UNCLEAR, TOO_FEW = "more", "less", "agrees", "unclear", "too few configurations"


def add(found: Findings, studies: Mapping[str, Study], complete: Mapping[str, pd.DataFrame]) -> None:
    """Add the table ``stability_costs``, and a sentence for what cannot be compared.

    It has a row per figure and study (second), against the first whose trials had one host:

    - configurations: those complete in both; median_first, median_second: over them
    - ratio, low, high: the median of second / first over configurations, and its 95 % interval; NaN for fewer than six
    - low_90, high_90: the middle 90 % of the ratios
    - within_percent: how far the interval reaches from 1
    - noise_percent: of one configuration from run to run, in the noisier of the two studies
    - small_percent: what is not worth a sentence, 5 %, and of memory 0.1 MB
    - p_value, p_holm: of Wilcoxon's signed-rank test that the logarithms of the ratios lie around 0
    - verdict: "more" or "less" where p_holm is below 0.01 and the ratio further from 1 than noise and small_percent;
      "agrees" where the interval is within small_percent of 1; else "unclear"; "too few configurations": below six
    - limit, limit_changes: of a cost 1.5 times the first's median, and how many configurations meet it in one study
      alone

    Args:
        found: gets them.
        studies: by what the page calls them.
        complete: of each the configurations that came to their end, by what tells them apart.
    """
    for name, study in studies.items():
        if mixed := hosts.differing([study]):
            found.open_questions.append(
                f"Costs of {name}: its trials ran on {hosts.kind(mixed)} that differ ({hosts.called(study, mixed)}), "
                f"so they are not those of one {hosts.kind(mixed).removesuffix('s')}."
            )
    names = [name for name, study in studies.items() if not hosts.differing([study])]
    rows, zero = [], dict[str, None]()
    for figure in SYSTEM_FIGURES:
        for second in names[1:]:
            first = names[0]
            if figure not in complete[first] or figure not in complete[second]:
                continue
            both: pd.DataFrame = pd.DataFrame({each: complete[each][figure] for each in (first, second)}).dropna()
            if both.empty:
                continue
            if (both <= 0).any(axis=None):
                zero |= {f"`{figure}`": None}
                continue
            rows.append(_cost(figure, both, _noise([studies[first], studies[second]], figure)))
    table: pd.DataFrame = pd.DataFrame(rows)
    if rows:
        table["p_holm"] = statistics.holm(table["p_value"])
        table["verdict"] = [_verdict_of_cost(row) for row in records(table)]
    found.add("stability_costs", table)
    if zero:
        found.open_questions.append(f"{', '.join(zero)}: 0 in some trials, so that studies have no ratio.")
    if not rows:
        found.open_questions.append("Costs: there is no system figure that two studies of one host each have.")


def _cost(figure: str, both: pd.DataFrame, noise: float) -> dict[str, Any]:
    """One figure in two studies (columns), by configuration."""
    first, second = both.columns
    logs: NDArray[np.float64] = np.log(both[second].to_numpy(float) / both[first].to_numpy(float))
    low, high = np.exp(statistics.median_interval(logs))
    low_90, high_90 = np.exp(np.quantile(logs, (0.05, 0.95)))
    limit = OF_MEDIAN * float(both[first].median()) if figure in COSTS else math.nan
    return {
        "figure": figure,
        "first": first,
        "second": second,
        "configurations": len(both),
        "median_first": both[first].median(),
        "median_second": both[second].median(),
        "ratio": float(np.exp(np.median(logs))),
        "low": low,
        "high": high,
        "low_90": low_90,
        "high_90": high_90,
        "within_percent": 100 * max(abs(low - 1), abs(high - 1)),
        "noise_percent": 100 * noise,
        "small_percent": 100 * small(figure, float(both[first].median())),
        "p_value": statistics.signed_rank_p(logs),
        "limit": limit,
        "limit_changes": int((both.le(limit).sum(axis=1) == 1).sum()),
    }


def _noise(studies: Sequence[Study], figure: str) -> float:
    """The larger of the studies' noises, as a share; where it is unknown, what is usual."""
    known = [study.noises[figure] for study in studies if figure in study.noises]
    shares = [each.noise for each in known if each.noise is not None and each.unit == SHARE]
    return max(shares, default=USUAL_NOISE.get(figure, 0.0))


def _verdict_of_cost(row: Mapping[str, Any]) -> str:
    if row["configurations"] < statistics.MIN_VALUES:
        return TOO_FEW
    apart = math.exp(abs(math.log(row["ratio"]))) - 1  # as much for half as for twice
    if worth_telling(row["p_holm"], apart, row["noise_percent"] / 100, row["small_percent"] / 100):
        return MORE if row["ratio"] > 1 else LESS
    return AGREES if row["within_percent"] <= row["small_percent"] else UNCLEAR
