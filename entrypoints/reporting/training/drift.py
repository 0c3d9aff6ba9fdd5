"""What metrics do while trials train: at which level they are, and whether they rise, fall or stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from entrypoints.limits.noise import SHARE, SMALL, SMALL_MB, Noise, worth_telling
from entrypoints.reporting.statistics import MIN_VALUES, holm, median_interval, signed_rank_p
from entrypoints.reporting.training.curves import STEPS

RISES, FALLS, STEADY, UNCLEAR, TOO_FEW = "rises", "falls", "steady", "unclear", "too few trials"
MIN_POINTS = 4  # of a trial
SMALL_PERCENT = 100 * SMALL
_RATES = ("cpu_percent", "step_time_ms")  # of an interval; a trial's first one is its warm-up
COST_CURVES = (*_RATES, "memory_mb")
_TREND = ("batch_size", "level", "start", "end", "change", "change_percent", "rising")


def drift(curves: pd.DataFrame, noises: Mapping[str, Noise] | None = None) -> pd.DataFrame:
    """Whether each metric changes while trials train; a trial is one observation, since its points hang together.

    Args:
        curves: as ``curves.read`` returns them.
        noises: of the study's figures, among them the last value of each curve.

    Returns:
        A row per axis, metric and group of ``curves``:

        - trials: those with at least 4 points, which the rest of the row is about. Of CPU percent and step time of
          intervals the first is left out: caches are cold in it, and the driver is busy with the trial's start
        - level, start, end: the medians over trials of the curve's median, of its first and of its last value
        - change, change_percent: the median over trials of the change from beginning to end along the curve's Theil-Sen
          line (Sen, JASA 63, 1968), in the metric's unit, and in percent of the size of its median value (of its mean
          size where the median is 0)
        - low, high, low_percent, high_percent: that median's 95 % interval from order statistics (the sign test's:
          exact without any assumption on the distribution, and needs 6 trials; Conover 1999, section 3.2)
        - rising_share: the share of trials that rise by the Mann-Kendall measure, Kendall's tau against time above 0
        - p_value, p_holm: of Wilcoxon's signed-rank test that trials' changes lie around 0, as it is and adjusted
          over all tests of the table; NaN for fewer than 6 trials
        - verdict: "rises" or "falls" where p_holm is below 0.01 and the change larger than the noise of the metric and
          than 5 %, or of memory than 0.1 MB: most of it are libraries, of which 5 % are more than many models.
          "steady" where the interval lies within 5 % of 0, else "unclear"; "too few trials" for fewer than 6
        - p_batch_size, p_batch_size_holm: of the costs by training step, where at least two batch sizes have 6 trials:
          of the Kruskal-Wallis test that their changes in percent are alike, as it is and adjusted over all tests

        A single jump of a curve may leave the Theil-Sen line level: rising_share, start and end show it.
    """
    rows = []
    for (axis, metric, group), part in curves.groupby(["axis", "metric", "group"], sort=False):
        found = _trends(part, str(metric))
        tested = _by_size(found) if axis == STEPS and metric in COST_CURVES else []
        rows.append(
            {"axis": axis, "metric": metric, "group": group, **_middle(found)}
            | {"rising_share": float(found["rising"].mean()) if len(found) else np.nan}
            | {"p_value": signed_rank_p(found["change_percent"].to_numpy(float)), "p_batch_size": _p_between(tested)}
        )
    table: pd.DataFrame = pd.DataFrame(rows)
    if not rows:
        return table
    adjusted = holm(np.concatenate([table["p_value"].to_numpy(float), table["p_batch_size"].to_numpy(float)]))
    table["p_holm"], table["p_batch_size_holm"] = adjusted[: len(table)], adjusted[len(table) :]
    table["verdict"] = [_verdict(row, _noise(row["metric"], noises or {})) for row in table.to_dict("records")]
    return table


def by_batch_size(curves: pd.DataFrame, drift: pd.DataFrame, noises: Mapping[str, Noise] | None = None) -> pd.DataFrame:
    """What each batch size does, of the costs whose trend was tested for a difference between them.

    Args:
        curves: as ``curves.read`` returns them.
        drift: the table of these curves.
        noises: as of ``drift``.

    Returns:
        A row per metric, group and batch size with at least 6 trials, with the columns of ``drift`` on its trials, and:

        - rest, rest_percent: the medians of change and change_percent over the trials of all other batch sizes
        - told: whether it is worth a sentence that this one differs: of its metric and group it differs most from the
          rest, by more than noise and than what is small, as in ``drift``, its 95 % interval does not hold
          rest_percent, and p_batch_size_holm is below 0.01
    """
    rows = []
    for test in drift[drift["p_batch_size"].notna()].to_dict("records") if len(drift) else []:
        metric, group = test["metric"], test["group"]
        part = curves[(curves["axis"] == STEPS) & (curves["metric"] == metric) & (curves["group"] == group)]
        found, sizes = _trends(part, metric), []
        for own in _by_size(found):
            of = {"metric": metric, "group": group, "batch_size": own["batch_size"].iloc[0]}
            rest = found[found["batch_size"] != of["batch_size"]]
            others = {"rest": rest["change"].median(), "rest_percent": rest["change_percent"].median()}
            sizes.append(of | _middle(own) | others | {"told": False})
        most = max(sizes, key=lambda row: abs(row["change_percent"] - row["rest_percent"]))
        difference = (most["change_percent"] - most["rest_percent"]) / 100
        most["told"] = not most["low_percent"] <= most["rest_percent"] <= most["high_percent"] and worth_telling(
            test["p_batch_size_holm"], difference, _noise(metric, noises or {}), _small(metric, most["level"])
        )
        rows += sizes
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _trends(part: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row per trial with enough points of this metric."""
    warm_up = 1 if metric in _RATES else 0
    rows = [
        _trend(trial)
        for _, whole in part.groupby("run_id", sort=False)
        if (trial := whole[warm_up:])["at"].nunique() >= MIN_POINTS
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(_TREND))
    return table


def _trend(trial: pd.DataFrame) -> dict[str, Any]:
    at, value = trial["at"].to_numpy(float), trial["value"].to_numpy(float)
    level, constant = float(np.median(value)), np.ptp(value) == 0
    change = 0.0 if constant else float(stats.theilslopes(value, at).slope) * float(np.ptp(at))
    return {
        "batch_size": trial["batch_size"].iloc[0] if "batch_size" in trial else np.nan,
        "level": level,
        "start": float(value[0]),
        "end": float(value[-1]),
        "change": change,
        "change_percent": 100 * change / (abs(level) or float(np.abs(value).mean())) if change else 0.0,
        "rising": not constant and float(stats.kendalltau(at, value).statistic) > 0,
    }


def _middle(trends: pd.DataFrame) -> dict[str, Any]:
    """The medians of some trials' trends, and the intervals of the changes."""
    low, high = median_interval(trends["change"].to_numpy(float))
    low_percent, high_percent = median_interval(trends["change_percent"].to_numpy(float))
    medians = {name: trends[name].median() for name in ("level", "start", "end", "change", "change_percent")}
    intervals = {"low": low, "high": high, "low_percent": low_percent, "high_percent": high_percent}
    return {"trials": len(trends)} | medians | intervals


def _by_size(trends: pd.DataFrame) -> list[pd.DataFrame]:
    """The trends of each batch size with enough trials; nothing where there are not two of them."""
    sizes = [own for _, own in trends.groupby("batch_size") if len(own) >= MIN_VALUES]
    return sizes if len(sizes) > 1 else []


def _p_between(sizes: list[pd.DataFrame]) -> float:
    if not sizes:
        return np.nan
    changes = [own["change_percent"].to_numpy(float) for own in sizes]
    return 1.0 if np.ptp(np.concatenate(changes)) == 0 else float(stats.kruskal(*changes).pvalue)


def _noise(metric: str, noises: Mapping[str, Noise]) -> float:
    """That of a curve's last value; the thread's series has that of the curve of the same quantity."""
    known = noises.get(metric.removeprefix("system/process_"))
    return known.as_share(1.0) if known and known.unit == SHARE else 0.0


def _small(metric: str, level: float) -> float:
    """The change that is not worth a sentence, as a share of the level."""
    return SMALL_MB / level if metric.endswith("memory_mb") and level > 0 else SMALL


def _verdict(row: Mapping[Any, Any], noise: float) -> str:
    if row["trials"] < MIN_VALUES:
        return TOO_FEW
    if worth_telling(row["p_holm"], row["change_percent"] / 100, noise, _small(row["metric"], row["level"])):
        return RISES if row["change_percent"] > 0 else FALLS
    if row["low_percent"] >= -SMALL_PERCENT and row["high_percent"] <= SMALL_PERCENT:
        return STEADY
    return UNCLEAR
