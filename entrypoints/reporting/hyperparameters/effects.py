"""What each hyperparameter does to what trials cost and score.

Effects are on the ranks of a metric over the trials, so that a few extreme trials do not decide them. All trials of a
study share one split of one dataset: its p-values say that an effect is more than the other hyperparameters and noise
make it, in these trials, and nothing of other data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from entrypoints.limits.costs import BESIDE, OF_INTERVALS
from entrypoints.limits.noise import SHARE, TOLD_P, Noise, small, worth_telling
from entrypoints.reporting.hyperparameters.change import change, is_factor
from entrypoints.reporting.hyperparameters.metric_ranks import (
    Placed,
    matched_p,
    omega_squared,
    smallest_p,
    without_place,
)
from entrypoints.reporting.hyperparameters.trial_levels import TrialLevels, design, trial_levels
from entrypoints.reporting.number_levels import MANY
from entrypoints.reporting.statistics import holm

if TYPE_CHECKING:
    from entrypoints.reporting.studies import Study

MIN_SHARE = 0.05  # of the variance: smaller effects are not reported
MIN_TRIALS = 3  # of a level, for it to be named as an end


def metrics(study: Study) -> list[str]:
    """Those with at least two different values over the complete trials, in column order.

    Without what is said of a cost once more, since each test weakens the others; of the bundle's studies also without
    the costs of intervals, whose last value is not of the trial.
    """
    trials, left_out = study.complete, (*BESIDE, *(OF_INTERVALS if study.is_of_bundle else ()))
    names = [name for name in study.figures if name not in left_out]
    return [name for name in names if len(np.unique(_known(trials[name]))) > 1]


def effects(study: Study) -> pd.DataFrame:
    """The effect of each hyperparameter on each metric, over the trials that ran to their end and did not diverge.

    Returns:
        A row per metric and hyperparameter:

        - trials, left_out: those counted, and those of the study that diverged, did not end, or lack the figure
        - levels: of the hyperparameter; quartiles where a number has more than 12 values
        - share_of_variance: omega squared of the metric's ranks, at least 0 (Hays, Statistics, 1963; as in Kirk,
          Experimental Design, 1995): what the hyperparameter alone explains, less what chance would
        - place_share, place_taken_out: the share of the variance of the metric's ranks that the place in the order
          explains beyond the hyperparameters, NaN where it is not known; where ``Study.order`` tells it, it is taken
          out first
        - spearman: the rank correlation with a number; NaN for words
        - p_value, p_holm: of the Kruskal-Wallis test on these ranks, or twice the smaller one of that and of Friedman's
          test over the trials that differ in this hyperparameter alone, if there are any; and adjusted over all rows
        - smallest_p: the p-value if the metric of no level overlapped with that of another
        - out_of_reach: whether so few trials could never show the effect, since even that p-value is none that is told
        - lowest, lowest_at, highest, highest_at: the smallest and the largest median over the levels with at least
          three trials, and where; where both levels hold the same configurations, of these alone; where the place was
          taken out, as if all had run in the middle of the order
        - difference: of these two, as a share of the median of all
        - first, first_at, second, second_at: the same two, in the order of the levels
        - change, change_low, change_high, change_in: by how much the metric is more or less at the second than at the
          first, with a 95 % interval that allows for the choice of two among all levels, in words such as ``times
          less``; NaN where the trials are too few. matched, medians_agree: as of ``Change``
        - few_trials_at: the levels with fewer than three trials, and their number
        - told: whether it is worth a sentence: p_holm is below 0.01, the share of the variance at least 5 %, and the
          difference larger than the metric's noise and, but for the score, than 5 %; and the interval of the change,
          if there is one, leaves out 0

        Shares and p-values are NaN where there is one level only, or as many levels as trials. No rows and no columns
        where no metric varies.
    """
    trials = study.complete
    factors = [trial_levels(trials, name, study.hyperparameters) for name in study.hyperparameters]
    gone = {name: _without_trials(study, name) for name in study.hyperparameters}
    placed = placed_metrics(study, factors)
    rows = [
        _effect(metric, trials[metric].to_numpy(float), each, factor, study, gone[factor.name])
        for metric, each in placed.items()
        for factor in factors
    ]
    table: pd.DataFrame = pd.DataFrame(rows)
    if not rows:
        return table
    table["p_holm"] = holm(table["p_value"])
    table["out_of_reach"] = (table["p_holm"] >= TOLD_P) & (table["smallest_p"] >= needed_p(table["p_holm"]))
    table["told"] = [
        told and not change_low <= 0
        for told, change_low in zip(worth_a_sentence(study, table), table["change_low"], strict=True)
    ]
    return table


def needed_p(p_holm: Iterable[float]) -> float:
    """The p-value that one more effect needs, of those with these adjusted ones (Holm)."""
    return TOLD_P / max(sum(p >= TOLD_P for p in p_holm), 1)


def placed_metrics(study: Study, factors: Sequence[TrialLevels]) -> dict[str, Placed]:
    """Each metric over the complete trials, without what their place in the order explains, where that is told."""
    trials = study.complete
    places = pd.to_numeric(trials["place"], errors="coerce").to_numpy(float)
    known, told = design(factors, len(trials)), {name for name, order in study.order.items() if order.told}
    return {
        metric: without_place(trials[metric].to_numpy(float), places, known, matters=metric in told)
        for metric in metrics(study)
    }


def worth_a_sentence(study: Study, table: pd.DataFrame) -> list[bool]:
    """Which rows are. A small difference of the score matters, if it is more than noise.

    Args:
        study: with its noises.
        table: columns metric, share_of_variance, p_holm and difference.
    """
    return [
        row["share_of_variance"] >= MIN_SHARE
        and worth_telling(
            row["p_holm"],
            row["difference"],
            _noise(study, row["metric"]),
            small=0.0 if row["metric"] == study.score else small(row["metric"], _typical(study, row["metric"])),
        )
        for row in table.to_dict("records")
    ]


def size(values: NDArray[np.float64]) -> float:
    """What a difference is a share of."""
    return float(abs(np.median(values)) or np.abs(values).mean() or 1.0)


def _noise(study: Study, metric: str) -> float:
    known: Noise | None = study.noises.get(metric)
    if known is None:
        return 0.0
    return known.as_share(1.0 if known.unit == SHARE else _typical(study, metric))


def _typical(study: Study, metric: str) -> float:
    return size(_known(study.complete[metric]))


def _effect(
    metric: str,
    values: NDArray[np.float64],
    placed: Placed,
    factor: TrialLevels,
    study: Study,
    gone: list[str],
) -> dict[str, Any]:
    counted = np.isfinite(values) & (factor.codes >= 0)
    values, (present, codes) = values[counted], np.unique(factor.codes[counted], return_inverse=True)
    ranks = stats.rankdata(placed.values[counted])
    share = omega_squared(ranks, codes)
    row: dict[str, Any] = {
        "metric": metric,
        "hyperparameter": factor.name,
        "trials": len(values),
        "left_out": len(study.trials) - len(values),
        "levels": len(present),
        "share_of_variance": share,
        "place_share": placed.share,
        "place_taken_out": placed.taken_out,
        "spearman": np.nan if factor.numbers is None else _spearman(factor.numbers[counted], values),
        "p_value": np.nan,
        "smallest_p": np.nan,
    }
    counts = np.bincount(codes, minlength=len(present))
    if not np.isnan(share):
        of_all = float(stats.kruskal(*(ranks[codes == code] for code in range(len(present)))).pvalue)
        tests = [(of_all, smallest_p(counts))]
        if factor.others is not None:
            tests.append(matched_p(ranks, codes, factor.others[counted]))
        p_values = [p for p, _ in tests if not np.isnan(p)]
        row["p_value"] = min(1.0, len(p_values) * min(p_values))  # Bonferroni
        row["smallest_p"] = len(p_values) * np.nanmin([smallest for _, smallest in tests])
    few = [
        f"{factor.levels[level]} ({count})" for level, count in zip(present, counts, strict=True) if count < MIN_TRIALS
    ]
    row["few_trials_at"] = ", ".join(few + [f"{level} (0)" for level in gone])
    return row | _ends(metric, placed.steady[counted], factor, counted, study.score)


def _without_trials(study: Study, name: str) -> list[str]:
    """The levels that were tried, and at which no trial ran to its end without diverging."""
    column = study.trials[name]
    if column.nunique() > MANY:
        return []
    left = set(study.complete[name].dropna())
    tried = trial_levels(study.trials, name, [name])
    return [level for code, level in enumerate(tried.levels) if column[tried.codes == code].iloc[0] not in left]


def _ends(
    metric: str, values: NDArray[np.float64], factor: TrialLevels, counted: NDArray[np.bool_], score: str | None
) -> dict[str, Any]:
    """The levels with the smallest and the largest median, and the change between; empty without two levels."""
    of_level = factor.codes[counted]
    names = np.arange(len(values)) if factor.others is None else factor.others[counted]
    known: pd.Series[float] = pd.Series(values, index=names)
    groups = {int(level): known[of_level == level] for level in np.unique(of_level)}
    groups = {level: group for level, group in groups.items() if len(group) >= MIN_TRIALS}
    if len(groups) < 2:
        return {"difference": np.nan, "change_low": np.nan}
    medians = {level: float(group.median()) for level, group in groups.items()}
    first, second = sorted([min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)])
    if first == second:  # all medians are equal
        first, second = min(groups), max(groups)
    found = change(
        metric,
        groups[first],
        groups[second],
        as_factor=is_factor(metric, score, values),
        comparisons=comb(len(groups), 2),
    )
    ends = [(found.first, factor.levels[first]), (found.second, factor.levels[second])]
    (lowest, lowest_at), (highest, highest_at) = sorted(ends, key=lambda end: end[0])
    return {
        "lowest": lowest,
        "lowest_at": lowest_at,
        "highest": highest,
        "highest_at": highest_at,
        "difference": (highest - lowest) / size(values),
        "first": found.first,
        "first_at": factor.levels[first],
        "second": found.second,
        "second_at": factor.levels[second],
        **found.row(),
    }


def _spearman(numbers: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    if len(values) < 3 or np.ptp(numbers) == 0 or np.ptp(values) == 0:
        return float("nan")
    return float(stats.spearmanr(numbers, values).statistic)


def _known(column: pd.Series[Any]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.to_numpy(float)
    return values[np.isfinite(values)]
