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
from entrypoints.runs.mlflow_io import figures_of, load_rows, search_runs
from entrypoints.runs.tags import (
    BEST_TRIAL_RUN_ID,
    COPIES,
    DATASET,
    LEAK,
    NO_INTERVAL,
    SCORE,
    SEARCHED,
    STUDY_KEY,
    STUDY_LIMITS,
    TRAINING_STEP,
)
from entrypoints.trials.frame import OF_POINT, Row, StudyRows, trial_row
from mlflow_sysmetrics.recording.tags import TRIAL_ID
from mlflow_sysmetrics.ui import trials_of

Array = NDArray[np.float64]
MAX_TRIALS = 200  # of a study whose curves are read
MAX_POINTS = 200  # of one curve
IMPORTANCE = "importance.json"  # of a study's run, the table of its model


def rows_of(client: MlflowClient, run: Run, curves: Collection[str] = ()) -> StudyRows:
    """A study, however it ended, as a part of a frame.

    Args:
        client: of the store.
        run: of ``tune`` or ``early_stop``.
        curves: the metrics whose points are read, beside the score, of at most 200 trials a study that ran to their
            end over training steps, spread evenly over the order of their starts: at most 200 points each, the first
            and the last included.

    Raises:
        UserError: the study has no trials.
    """
    study = run.info.run_id
    trials = list(search_runs(client, run.info.experiment_id, trials_of(study), "ASC"))
    if not trials:
        raise UserError(f"study={study}: {run.info.run_name} has no trials; give the run id of a tune or early_stop")
    about = _study(client, run)
    rows = []
    for trial in trials:
        data, info = trial.data, trial.info
        ids = {"trial_id": _trial_id(trial), "run_id": info.run_id, "name": info.run_name}
        rows.append(trial_row(figures_of(trial), data.tags, data.params, **ids, status=info.status))
    known = {row["trial_id"] for row in rows}
    folds = [row for row in _rows_if_there(client, study, "folds.json") if row["trial_id"] in known]
    points: list[pd.DataFrame] = []
    importance: Sequence[dict[str, Any]] = ()
    if curves:
        ended = [trial for trial, row in zip(trials, rows, strict=True) if _has_curves(row)]
        points += _curves(client, study, ended, {*curves, str(about["score"])})
        importance = _rows_if_there(client, study, IMPORTANCE)
    searched = [str(name) for name in json.loads(run.data.tags.get(SEARCHED, "[]"))]
    return StudyRows(study, about, rows, searched, folds, points, importance)


def _has_curves(row: Row) -> bool:
    """Whether a trial of the search has trained step by step to its end."""
    is_whole = row["status"] == "FINISHED" and not row["diverged"]
    return is_whole and row["axis"] == TRAINING_STEP and not row["role"]


def _trial_id(run: Run) -> str:
    return str(run.data.tags.get(TRIAL_ID) or run.info.run_id)


def _study(client: MlflowClient, run: Run) -> dict[str, Any]:
    """The row of a study, by the names of ``frame.OF_STUDY``."""
    info, tags, params, figures = run.info, run.data.tags, run.data.params, run.data.metrics
    if SCORE not in tags:
        raise UserError(
            f"study={info.run_id}: {info.run_name} is not a study of tune or early_stop; give the run of one"
        )
    known = json.loads(tags[SCORE])
    tables = run.inputs.dataset_inputs if run.inputs else []
    return {
        **known,
        **of_model(figures, str(known["score"])),
        "name": info.run_name,
        "experiment_id": info.experiment_id,
        "dataset": tags.get(DATASET),
        "digest": tables[0].dataset.digest if tables else None,
        "key": tags.get(STUDY_KEY),
        "limits": tags.get(STUDY_LIMITS),
        "choose": params.get("choose"),
        "rate": None if params.get("rate", "none") == "none" else float(params["rate"]),
        "search": params.get("search"),
        "seed": int(params.get("seed", 0)),
        "model": _model(client, run),
        "model_run_id": tags.get(BEST_TRIAL_RUN_ID),
        "command_cpu_seconds": figures.get("command_cpu_seconds"),
        "command_elapsed_s": figures.get("command_elapsed_s"),
        "leak": tags.get(LEAK),
        "copies": tags.get(COPIES),
        "no_interval": tags.get(NO_INTERVAL),
    }


def of_model(figures: Mapping[str, float], score: str) -> dict[str, float | None]:
    """What a study's figures say of its model on the test part, by the names of ``frame.OF_STUDY``.

    Args:
        figures: of the model, or of the study's run.
        score: the metric that ranks the trials.
    """
    score = score.removeprefix("val_")
    found = {"predicted_classes": figures.get("test_predicted_classes")}
    for name in ("test", "gain", "gain_over_baseline"):
        for end in ("", "_low", "_high"):
            found[f"{name}{end}"] = figures.get(f"{name}_{score}{end}")
    return found


def _model(client: MlflowClient, run: Run) -> str | None:
    """The address of the model that a study has logged; of one that was continued the last."""
    ids = [model.model_id for model in run.outputs.model_outputs] if run.outputs else []
    if len(ids) > 1:
        ids.sort(key=lambda model_id: client.get_logged_model(model_id).creation_timestamp)
    return f"models:/{ids[-1]}" if ids else None


def _rows_if_there(client: MlflowClient, run_id: str, file: str) -> list[dict[str, Any]]:
    """The rows of a study's table, which one lacks that was interrupted."""
    try:
        return load_rows(client, run_id, file)
    except (MlflowException, OSError):
        return []


def _curves(client: MlflowClient, study: str, trials: Sequence[Run], names: Collection[str]) -> Iterator[pd.DataFrame]:
    """The curves of trials of one study that ran to their end."""
    for number in _spread(len(trials), MAX_TRIALS):
        run = trials[number]
        for name in [name for name in run.data.metrics if name in names]:
            curve = _by_step(client.get_metric_history(run.info.run_id, name))
            curve = curve[np.isfinite(curve[:, 1])]
            curve = curve[_spread(len(curve), MAX_POINTS)]
            columns = (study, _trial_id(run), name, curve[:, 0], curve[:, 1])
            yield pd.DataFrame(dict(zip(OF_POINT, columns, strict=True)))


def _by_step(points: Sequence[Metric]) -> Array:
    """Step and value, the last one of each step."""
    last = {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}
    return np.array(sorted(last.items()), dtype=float).reshape(-1, 2)


def _spread(count: int, most: int) -> list[int]:
    """The numbers of evenly spaced members of a sequence, the first and the last included."""
    return [int(number) for number in np.linspace(0, max(count - 1, 0), min(count, most)).round()]
