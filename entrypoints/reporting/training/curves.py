"""The curves of a study's trials, read back from MLflow as one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from numpy.typing import NDArray

from entrypoints.mlflow_io import figures_of, runs_with_points
from mlflow_sysmetrics.measurement import SUMMARY

if TYPE_CHECKING:
    from entrypoints.reporting.studies import Study

STEPS, SECONDS = "training step", "seconds"
MAX_POINTS = 200  # of one curve, evenly spaced; Theil and Sen's slope takes the square of them
COLUMNS = ("run_id", "group", "batch_size", "metric", "axis", "at", "value", "sd")
_CURVES = ("train_loss", "val_loss", "cpu_percent", "memory_mb", "step_time_ms")
_SERIES = ("system/process_cpu_percent", "system/process_memory_mb")
Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def read(client: MlflowClient, study: Study, most: int = 200) -> pd.DataFrame:
    """The curves of at most ``most`` trials that ran to their end, spread evenly over the order in which they began.

    Of the bundle's studies: by training step, from the first report on, the losses, the score, and the CPU percent,
    memory and step time of each interval; by seconds since the trial's first sample the thread's CPU percent and
    memory. Of other studies every metric with more than one step, except for the summary of a process, and the same two
    series.

    Returns:
        A row per point: run_id, group (the trial's algorithm, empty if it has none), batch_size (NaN if it has none),
        metric, axis ("training step" or "seconds"), at, value and sd (of the bundle's score its standard deviation over
        folds, else NaN). At most 200 points of a curve, evenly spaced, without NaN and infinity.
    """
    ended = study.trials[study.trials["run_id"].isin(study.complete["run_id"])]["run_id"].tolist()
    chosen = [ended[place] for place in _spread(len(ended), most)]
    # What is sampled all the time may be long, and so may all that is another script's: it is read run by run.
    reported = (*_CURVES, str(study.score), f"{study.score}_sd") if study.is_of_bundle else ()
    runs = runs_with_points(client, chosen, reported)
    parts = [part for run, points in runs for part in _of_trial(client, run, points, study)]
    nothing: pd.DataFrame = pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(parts, ignore_index=True) if parts else nothing


def _of_trial(
    client: MlflowClient, run: Run, reported: Mapping[str, list[Metric]], study: Study
) -> Iterator[pd.DataFrame]:
    """The curves of one trial; of the bundle's those that it reported are given."""
    if study.is_of_bundle:
        spreads = dict(zip(*_by_step(reported.get(f"{study.score}_sd", [])), strict=True))
        for name in (*_CURVES, str(study.score)):
            if name in reported:
                at, value = _by_step(reported[name])
                after = at > 0  # at 0 nothing was trained yet
                yield _table(run, name, STEPS, (at[after], value[after]), spreads if name == study.score else {})
    else:
        for name in sorted(figures_of(run).keys() - set(SUMMARY)):  # as it is so far, these rise by themselves
            at, value = _by_step(_history(client, run, name))
            if len(at) > 1:
                yield _table(run, name, STEPS, (at, value))
    series = {name: _history(client, run, name) for name in _SERIES if name in run.data.metrics}
    began_ms = min((point.timestamp for points in series.values() for point in points), default=0)
    for name, history in series.items():
        yield _table(run, name, SECONDS, _by_time(history, began_ms))


def _table(run: Run, metric: str, axis: str, points: Points, spreads: dict[float, float] | None = None) -> pd.DataFrame:
    at, value = _thinned(*points)
    curve: pd.DataFrame = pd.DataFrame(
        {
            "run_id": run.info.run_id,
            "group": run.data.params.get("algorithm", ""),
            "batch_size": pd.to_numeric(run.data.params.get("batch_size", "nan"), errors="coerce"),
            "metric": metric,
            "axis": axis,
            "at": at,
            "value": value,
            "sd": [(spreads or {}).get(step, np.nan) for step in at],
        }
    )
    return curve


def _history(client: MlflowClient, run: Run, metric: str) -> list[Metric]:
    """All points of a metric."""
    return list(client.get_metric_history(run.info.run_id, metric))


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
    """Evenly spaced places of a sequence, the first and the last included."""
    places: NDArray[np.int64] = np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64)
    return places
