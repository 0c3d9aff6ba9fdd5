"""How metrics change while trials train: their curves, and for each metric whether it rises, falls or stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric
from numpy.typing import NDArray
from scipy import stats

from entrypoints.limits.noise import SHARE, SMALL, Noise, worth_telling
from entrypoints.reporting.statistics import MIN_VALUES, holm, median_interval, signed_rank_p

if TYPE_CHECKING:
    from entrypoints.reporting.studies import Study

STEPS, SECONDS = "training step", "seconds"
RISES, FALLS, STEADY, UNCLEAR, TOO_FEW = "rises", "falls", "steady", "unclear", "too few trials"
MAX_POINTS = 200  # of one curve, evenly spaced; Theil and Sen's slope takes the square of them
MIN_POINTS = 4  # of a trial, and
SMALL_PERCENT = 100 * SMALL
_CURVES = ("train_loss", "val_loss", "cpu_percent", "memory_mb", "step_time_ms")
_RATES = ("cpu_percent", "step_time_ms")  # of an interval; a trial's first one is its warm-up
_SERIES = ("system/process_cpu_percent", "system/process_memory_mb")
_POINTS = ("run_id", "group", "metric", "axis", "at", "value")
_DRIFT = (
    "axis",
    "metric",
    "group",
    "trials",
    "start",
    "end",
    "change_percent",
    "low_percent",
    "high_percent",
    "rising_share",
    "p_value",
    "p_holm",
    "verdict",
)
Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class _Trend:
    """One trial's curve of one metric."""

    start: float
    end: float
    change_percent: float
    rising: bool


def curves(client: MlflowClient, study: Study, most: int = 200) -> pd.DataFrame:
    """The curves of at most ``most`` trials that ran to their end, spread evenly over the order in which they began.

    Of the bundle's studies: by training step, from the first report on, the losses, the score, and the CPU percent,
    memory and step time of each interval; by seconds since the trial's first sample the thread's CPU percent and
    memory. Of other studies every metric with more than one step, and the same two series.

    Returns:
        A row per point: run_id, group (the trial's algorithm, empty if it has none), metric, axis ("training step" or
        "seconds"), at and value. At most 200 points of a curve, evenly spaced, without NaN and infinity.
    """
    ended = study.trials[study.trials["run_id"].isin(study.complete["run_id"])]["run_id"].tolist()
    parts = [part for place in _spread(len(ended), most) for part in _of_trial(client, ended[place], study)]
    nothing: pd.DataFrame = pd.DataFrame(columns=list(_POINTS))
    return pd.concat(parts, ignore_index=True) if parts else nothing


def drift(curves: pd.DataFrame, noises: Mapping[str, Noise] | None = None) -> pd.DataFrame:
    """Whether each metric changes while trials train; a trial is one observation, since its points hang together.

    Args:
        curves: see there.
        noises: of the study's figures, among them the last value of each curve.

    Returns:
        A row per axis, metric and group of ``curves``:

        - trials: those with at least 4 points, which the rest of the row is about. Of CPU percent and step time of
          intervals the first is left out: caches are cold in it, and the driver is busy with the trial's start
        - start, end: the medians over trials of the first and the last value
        - change_percent: the median over trials of the change from beginning to end along the curve's Theil-Sen line
          (Sen, JASA 63, 1968), in percent of the size of its median value (of its mean size where the median is 0)
        - low_percent, high_percent: that median's 95 % interval from order statistics (the sign test's: exact
          without any assumption on the distribution, and needs 6 trials; Conover 1999, section 3.2)
        - rising_share: the share of trials that rise by the Mann-Kendall measure, Kendall's tau against time above 0
        - p_value, p_holm: of Wilcoxon's signed-rank test that trials' changes lie around 0, as it is and adjusted
          over all rows; NaN for fewer than 6 trials
        - verdict: "rises" or "falls" where p_holm is below 0.01 and the change larger than 5 % and than the noise of
          the metric, "steady" where the interval lies within 5 % of 0, else "unclear"; "too few trials" for fewer
          than 6

        A single step of a curve may leave the Theil-Sen line level: rising_share, start and end show it.
    """
    groups = curves.groupby(["axis", "metric", "group"], sort=False)
    rows = [_row(str(axis), str(metric), str(group), part) for (axis, metric, group), part in groups]
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(_DRIFT))
    table["p_holm"] = holm(table["p_value"])
    table["verdict"] = [_verdict(row, _noise(row["metric"], noises or {})) for row in table.to_dict("records")]
    return table


def _of_trial(client: MlflowClient, run_id: str, study: Study) -> Iterator[pd.DataFrame]:
    """The curves of one trial."""
    run = client.get_run(run_id)
    group, ours = run.data.params.get("algorithm", ""), _is_ours(study)
    wanted = (*_CURVES, study.score) if ours else sorted(run.data.metrics)

    def table(metric: str, axis: str, points: Points) -> pd.DataFrame:
        at, value = _thinned(*points)
        columns = {"run_id": run_id, "group": group, "metric": metric, "axis": axis, "at": at, "value": value}
        curve: pd.DataFrame = pd.DataFrame(columns)
        return curve

    for name in wanted:
        if name in run.data.metrics and not name.startswith("system/"):
            at, value = _by_step(client.get_metric_history(run_id, name))
            if ours:
                yield table(name, STEPS, (at[at > 0], value[at > 0]))  # at 0 nothing was trained yet
            elif len(at) > 1:
                yield table(name, STEPS, (at, value))
    series = {name: client.get_metric_history(run_id, name) for name in _SERIES if name in run.data.metrics}
    began_ms = min((point.timestamp for points in series.values() for point in points), default=0)
    for name, history in series.items():
        yield table(name, SECONDS, _by_time(history, began_ms))


def _is_ours(study: Study) -> bool:
    """Whether its trials report like the bundle's, so that what each metric means is known."""
    return study.score is not None and {"training_time_s", "mean_step_time_ms", study.score} <= set(study.figures)


def _by_step(history: list[Metric]) -> Points:
    """The last value at each step."""
    values = {point.step: point.value for point in sorted(history, key=lambda point: point.timestamp)}
    return np.array(sorted(values), dtype=float), np.array([values[step] for step in sorted(values)], dtype=float)


def _by_time(history: list[Metric], began_ms: int) -> Points:
    points = sorted((point.timestamp, point.step, point.value) for point in history)
    times = np.array([timestamp for timestamp, _, _ in points], dtype=float)
    return (times - began_ms) / 1000, np.array([value for _, _, value in points], dtype=float)


def _thinned(at: NDArray[np.float64], value: NDArray[np.float64]) -> Points:
    known = np.isfinite(value)
    at, value = at[known], value[known]
    kept = _spread(len(at), MAX_POINTS)
    return at[kept], value[kept]


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """So many places of a sequence, evenly spaced, with the first and the last of them."""
    places: NDArray[np.int64] = np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64)
    return places


def _row(axis: str, metric: str, group: str, part: pd.DataFrame) -> dict[str, Any]:
    warm_up = 1 if metric in _RATES else 0
    trends = [
        _trend(trial["at"].to_numpy(float), trial["value"].to_numpy(float))
        for _, whole in part.groupby("run_id", sort=False)
        if (trial := whole[warm_up:])["at"].nunique() >= MIN_POINTS
    ]
    changes = np.array([trend.change_percent for trend in trends])
    low, high = median_interval(changes)
    return {
        "axis": axis,
        "metric": metric,
        "group": group,
        "trials": len(trends),
        "start": _median(trend.start for trend in trends),
        "end": _median(trend.end for trend in trends),
        "change_percent": _median(changes),
        "low_percent": low,
        "high_percent": high,
        "rising_share": float(np.mean([trend.rising for trend in trends])) if trends else np.nan,
        "p_value": signed_rank_p(changes),
    }


def _trend(at: NDArray[np.float64], value: NDArray[np.float64]) -> _Trend:
    size = float(abs(np.median(value)) or np.abs(value).mean())
    constant = np.ptp(value) == 0
    slope = 0.0 if constant else float(stats.theilslopes(value, at).slope)
    return _Trend(
        start=float(value[0]),
        end=float(value[-1]),
        change_percent=100 * slope * float(np.ptp(at)) / size if slope else 0.0,
        rising=not constant and float(stats.kendalltau(at, value).statistic) > 0,
    )


def _noise(metric: str, noises: Mapping[str, Noise]) -> float:
    """That of a curve's last value; the thread's series has that of the curve of the same quantity."""
    known = noises.get(metric.removeprefix("system/process_"))
    return known.as_share(1.0) if known and known.unit == SHARE else 0.0


def _verdict(row: Mapping[Any, Any], noise: float) -> str:
    if row["trials"] < MIN_VALUES:
        return TOO_FEW
    if worth_telling(row["p_holm"], row["change_percent"] / 100, noise):
        return RISES if row["change_percent"] > 0 else FALLS
    if row["low_percent"] >= -SMALL_PERCENT and row["high_percent"] <= SMALL_PERCENT:
        return STEADY
    return UNCLEAR


def _median(values: Iterable[float]) -> float:
    """Of those that are known."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if known else np.nan
