"""Runs of MLflow -> the frame of their studies: the one reader for reports and for studies that look for another."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from entrypoints.errors import UserError
from entrypoints.frame import OF_POINT, StudyRows
from entrypoints.mlflow_io import figures_of, load_rows, search_runs
from entrypoints.settings import SHARED
from entrypoints.tags import (
    BEST_TRIAL_RUN_ID,
    DATASET,
    DIVERGED,
    FEASIBLE,
    FORMER_NUMBER,
    LEAK,
    NO_INTERVAL,
    NUMBER,
    REPEAT,
    SCORE,
    SEARCHED,
    STOP_HOW,
    STUDY_KEY,
    STUDY_LIMITS,
)
from mlflow_sysmetrics.host import SYSTEM_FACTS
from mlflow_sysmetrics.metrics import SUMMARY
from mlflow_sysmetrics.tags import (
    HOST_PREFIX,
    KIND,
    STOP_METRIC,
    STOPPED_BY,
    STUDY_ID,
    TRIAL_ID,
)
from mlflow_sysmetrics.ui import trials_of

Array = NDArray[np.float64]
SCORES = {"val_rmse": False, "val_accuracy": True}  # usual ones of studies, and whether higher is better
MAX_TRIALS = 200  # of a study whose curves are read
MAX_POINTS = 200  # of one curve
IMPORTANCE = "importance.json"  # of a study's run, the table of its model
SERIES = "system/"  # the beginning of what is read by the clock, not by the step


def rows_of(
    client: MlflowClient,
    run: Run,
    metric: str | None = None,
    mode: str | None = None,
    curves: Collection[str] = (),
) -> StudyRows:
    """A study, however it ended, as a part of a frame.

    Args:
        client: of the store.
        run: of ``tune`` or ``early_stop``, or one that trials of another Tune script are nested under.
        metric: what ranks the trials of another script's study; by default ``val_rmse`` or ``val_accuracy``.
        mode: min or max: which of its values are better.
        curves: the metrics whose points are read, beside the score, of at most 200 trials a study that ran to their
            end, spread evenly over the order of their starts: at most 200 points each, the first and the last included.
            Those of ``system/`` are by seconds since the trial's first sample, the others by step. Of other scripts'
            studies all metrics that have several steps are read as well.

    Raises:
        UserError: the study has no trials, or the metric does not fit.
    """
    study = run.info.run_id
    trials = list(search_runs(client, run.info.experiment_id, trials_of(study), "ASC"))
    if not trials:
        raise UserError(
            f"study={study}: {run.info.run_name} has no trials; give the id of a run of tune or early_stop, or of one "
            "around the trials of a SystemMetricsCallback"
        )
    about = _study(client, run, trials, metric, mode)
    own = about["own"]
    rows = [_row(trial) for trial in trials]
    ids = {row["trial_id"] for row in rows}
    folds = [row for row in _rows_if_there(client, study, "folds.json") if row["trial_id"] in ids] if own else ()
    points: list[pd.DataFrame] = []
    importance: Sequence[dict[str, Any]] = ()
    if curves:
        ended = [
            run for run, row in zip(trials, rows, strict=True) if row["status"] == "FINISHED" and not row["diverged"]
        ]
        points += _curves(client, study, ended, {*curves, str(about["score"])}, own=own)
        importance = _rows_if_there(client, study, IMPORTANCE) if own else ()
    return StudyRows(study, about, rows, _searched(run, trials, own=own), folds, points, importance)


def _trial_id(run: Run) -> str:
    return str(run.data.tags.get(TRIAL_ID) or run.info.run_id)


def _row(run: Run) -> dict[str, Any]:
    """A trial in the frame, be it of a study or of another script."""
    info = run.info
    about = {"trial_id": _trial_id(run), "run_id": info.run_id, "name": info.run_name, "status": info.status}
    return {**figures_of(run), **said_of_trial(run.data.tags), **about, "params": run.data.params}


def said_of_trial(tags: Mapping[str, str]) -> dict[str, Any]:
    """What the tags of a trial's run say about it, by the names of ``frame.ABOUT``."""
    number = tags.get(NUMBER, tags.get(FORMER_NUMBER))
    return {
        "number": None if number is None else int(number),
        "repeat": int(tags.get(REPEAT, 0)),
        "diverged": tags.get(DIVERGED) == "true",
        "feasible": {"true": True, "false": False}.get(tags.get(FEASIBLE, "")),
        "host": _host(tags),
        "stopped_by": tags.get(STOPPED_BY),
        "stop_how": tags.get(STOP_HOW),
        "stop_metric": tags.get(STOP_METRIC),
    }


def _host(tags: Mapping[str, str]) -> str | None:
    """The machine that the tags of a run name, in words; not its system, which an update changes. None: unknown."""
    facts = {name.removeprefix(HOST_PREFIX): tags[name] for name in sorted(tags) if name.startswith(HOST_PREFIX)}
    said = [
        value if fact == "cpu_model" else f"{fact} {value}" for fact, value in facts.items() if fact not in SYSTEM_FACTS
    ]
    return ", ".join(said) or None


def _study(
    client: MlflowClient, run: Run, trials: Sequence[Run], metric: str | None, mode: str | None
) -> dict[str, Any]:
    """The row of a study, by the names of ``frame.OF_STUDY``."""
    info, tags = run.info, run.data.tags
    own = tags.get(KIND) == "study" and STUDY_ID not in tags
    names = list(dict.fromkeys(name for trial in trials for name in figures_of(trial)))
    said = json.loads(tags.get(SCORE, "{}"))
    scores = {said["score"]: said["higher_is_better"]} if said else SCORES
    score, higher_is_better = _ranking(info.run_name, names, own, metric, mode, scores)
    shared = {name: value for name, value in trials[0].data.params.items() if _is_shared(name, value, trials)}
    params = shared | run.data.params
    tables = run.inputs.dataset_inputs if run.inputs else []
    figures = run.data.metrics
    scored = str(score).removeprefix("val_")
    return {
        "name": info.run_name,
        "experiment_id": info.experiment_id,
        "dataset": tags.get(DATASET) or shared.get("dataset"),
        "digest": tables[0].dataset.digest if tables else None,
        "key": tags.get(STUDY_KEY),
        "limits": tags.get(STUDY_LIMITS),
        "score": score,
        "higher_is_better": higher_is_better,
        "baseline": said.get("baseline"),
        "choose": params.get("choose"),
        "seed": int(params["seed"]) if own and "seed" in params else None,
        "model": _model(client, run),
        "model_run_id": tags.get(BEST_TRIAL_RUN_ID),
        "own": own,
        "command_cpu_seconds": figures.get("command_cpu_seconds"),
        "command_elapsed_s": figures.get("command_elapsed_s"),
        "leak": tags.get(LEAK),
        "duplicate_rows_percent": (
            None if params.get("duplicates") == "together" else figures.get("duplicate_rows_percent")
        ),
        "expected": figures.get(f"expected_{scored}"),
        "expected_low": figures.get(f"expected_{scored}_low"),
        "expected_high": figures.get(f"expected_{scored}_high"),
        "left_out": figures.get(f"left_out_{scored}"),
        "test": figures.get(f"test_{scored}"),
        "no_interval": tags.get(NO_INTERVAL),
        "adaptive": (params.get("search") == "tpe" or params.get("scheduler", "none") != "none") if own else None,
    }


def _model(client: MlflowClient, run: Run) -> str | None:
    """The address of the model that a study has logged; of one that was continued the last."""
    ids = [model.model_id for model in run.outputs.model_outputs] if run.outputs else []
    if len(ids) > 1:
        ids.sort(key=lambda model_id: client.get_logged_model(model_id).creation_timestamp)
    return f"models:/{ids[-1]}" if ids else None


def _is_shared(name: str, value: str, trials: Sequence[Run]) -> bool:
    return all(trial.data.params.get(name) == value for trial in trials)


def _searched(run: Run, trials: Sequence[Run], *, own: bool) -> list[str]:
    """What may be a hyperparameter: first what the study has searched, in its order."""
    said = [str(name) for name in json.loads(run.data.tags.get(SEARCHED, "null")) or []]
    names = sorted({name for trial in trials for name in trial.data.params} - set(said))
    varied = [name for name in names if not _is_shared(name, trials[0].data.params.get(name, ""), trials)]
    return said + [name for name in varied if not own or name not in SHARED]


def _ranking(
    study: str, metrics: Sequence[str], own: bool, metric: str | None, mode: str | None, scores: Mapping[str, bool]
) -> tuple[str | None, bool]:
    """What ranks the trials of a study, else the first of ``scores`` that they have, and whether higher is better."""
    score = next((name for name in scores if name in metrics), None)
    if metric is None:
        if mode is not None:
            raise UserError(f"mode={mode}: it says which values of a metric are better; add metric=<name>")
        return score, scores.get(score or "", False)
    if own and metric != score:
        raise UserError(f"metric={metric}: the trials of {study} are ranked by {score}; leave metric out")
    if metric not in metrics:
        raise UserError(f"metric={metric}: the trials of {study} have no such metric; use one of {', '.join(metrics)}")
    if mode is None and metric not in scores:
        raise UserError(
            f"metric={metric}: tell the report which values are better; add mode=min for the lowest or mode=max for "
            "the highest"
        )
    return metric, scores[metric] if mode is None else mode == "max"


def _rows_if_there(client: MlflowClient, run_id: str, file: str) -> list[dict[str, Any]]:
    """The rows of a study's table, which one lacks that was interrupted."""
    try:
        return load_rows(client, run_id, file)
    except (MlflowException, OSError):
        return []


def _curves(
    client: MlflowClient, study: str, trials: Sequence[Run], names: Collection[str], *, own: bool
) -> Iterator[pd.DataFrame]:
    """The curves of trials of one study that ran to their end."""
    for number in _spread(len(trials), MAX_TRIALS):
        run = trials[number]
        points: dict[str, Sequence[Metric]] = {}
        for name in run.data.metrics:
            is_curve = name in names if own or name.startswith(SERIES) else name not in SUMMARY
            if is_curve:
                points[name] = client.get_metric_history(run.info.run_id, name)
        times = [point.timestamp for name in points if name.startswith(SERIES) for point in points[name]]
        for name, history in points.items():
            is_series = name.startswith(SERIES)
            curve = _by_time(history, min(times)) if is_series else _by_step(history)
            if own or len(curve) > 1:
                curve = curve[np.isfinite(curve[:, 1])]
                curve = curve[_spread(len(curve), MAX_POINTS)]
                axis = "seconds" if is_series else "step"
                columns = (study, _trial_id(run), name, axis, curve[:, 0], curve[:, 1])
                yield pd.DataFrame(dict(zip(OF_POINT, columns, strict=True)))


def _by_step(points: Sequence[Metric]) -> Array:
    """Step and value, the last one of each step."""
    last = {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}
    return np.array(sorted(last.items()), dtype=float).reshape(-1, 2)


def _by_time(points: Sequence[Metric], began_ms: int) -> Array:
    """Seconds since the beginning, and value."""
    ordered = sorted(points, key=lambda point: (point.timestamp, point.step))
    return np.array([((point.timestamp - began_ms) / 1000, point.value) for point in ordered]).reshape(-1, 2)


def _spread(count: int, most: int) -> list[int]:
    """The numbers of evenly spaced members of a sequence, the first and the last included."""
    return [int(number) for number in np.linspace(0, max(count - 1, 0), min(count, most)).round()]
