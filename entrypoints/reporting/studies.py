"""Finished studies read back from MLflow as tables: what each trial chose, how it ended and what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.limits.noise import Noise
from entrypoints.limits.order_effect import Order
from entrypoints.links import IS_FEASIBLE, trials_view
from entrypoints.mlflow_io import load_rows, search_runs
from entrypoints.tags import CRITERIA, DATASET, SEARCHED, STUDY_KEY
from entrypoints.trial_run import TrialRun, hosts
from entrypoints.views import LIMITS, SCORE, TABLE
from mlflow_sysmetrics.tags import KIND, STUDY_ID
from mlflow_sysmetrics.ui import Shown, saved_link, trials_of

NOISE = "noise.json"
SCORES = {"val_rmse": False, "val_accuracy": True}  # of the bundle's own studies, and whether higher is better
# What a trial's row has of its run: the names in TrialRun.
ABOUT = (
    *("trial_id", "run_id", "name", "place", "status", "diverged", "feasible"),
    *("stop_how", "stop_reason", "stop_metric", "stop_step"),
)


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        run: the study's own run.
        trials: one row per trial, in the order in which they began: the columns ``ABOUT``, then each hyperparameter,
            then every figure (the last value of a metric outside ``system/``), NaN where a trial lacks it. A
            hyperparameter is a number where all of its texts are, else the text. ``place`` (in the order of the study,
            from 1 on), ``feasible`` and the columns ``stop_*`` are None where nothing is known of it.
        folds: one row per trial and fold: ``trial_id``, ``fold`` and the fold's figures; empty if there are none.
        hyperparameters: the names of those that vary over the trials.
        score: the figure that ranks the trials; None where that is not known.
        higher_is_better: of the score.
        trained_on: the trials' own parameter ``dataset``, if they have one.
        noises: how much each figure differs from run to run; empty where that was not measured.
        order: what the order of the trials did to each figure.
        hosts: the facts of the machines that its trials ran on, by name: one value each where they are alike.
        fixed: the parameters that are the same in all trials, as texts.
        views: the links of its saved pages in the UI, by their names in ``views``.
    """

    run: Run
    trials: pd.DataFrame
    folds: pd.DataFrame
    hyperparameters: list[str]
    score: str | None
    higher_is_better: bool
    trained_on: str | None = None
    noises: Mapping[str, Noise] = field(default_factory=dict)
    order: Mapping[str, Order] = field(default_factory=dict)
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict)

    def page(self, name: str = SCORE) -> str:
        """The link of one of its pages; of all its trials, the best first, where that is not saved."""
        if name in self.views:
            return self.views[name]
        also = IS_FEASIBLE if name == LIMITS else ""
        shown: Shown = "TABLE" if name in (TABLE, LIMITS) else "CHART"
        ascending = not self.higher_is_better
        return trials_view(self.experiment_id, self.run_id, self.score, ascending=ascending, also=also, shown=shown)

    @property
    def experiment_id(self) -> str:
        """MLflow's id of its experiment."""
        return str(self.run.info.experiment_id)

    @property
    def run_id(self) -> str:
        """MLflow's id of the study's run."""
        return str(self.run.info.run_id)

    @property
    def name(self) -> str:
        """The name of the study's run."""
        return str(self.run.info.run_name)

    @property
    def criteria(self) -> str | None:
        """The limits that its trials were under; None: a full study."""
        return tag(self.run, CRITERIA)

    @property
    def key(self) -> str | None:
        """Equal for studies that train the same configurations in the same way; None where it is not known."""
        return tag(self.run, STUDY_KEY)

    @property
    def dataset(self) -> str | None:
        """The dataset's name or absolute path; None where it is not known."""
        return tag(self.run, DATASET) or self.trained_on

    @property
    def data_digest(self) -> str | None:
        """MLflow's digest of the table that it was trained on; None where it is not recorded."""
        inputs = self.run.inputs.dataset_inputs if self.run.inputs else []
        return str(inputs[0].dataset.digest) if inputs else None

    @property
    def task(self) -> Task:
        """The task of the bundle's own studies, which their score tells."""
        return "classification" if self.higher_is_better else "regression"

    @property
    def is_of_bundle(self) -> bool:
        """Whether its trials report like the bundle's, so that what each metric means is known."""
        return self.score is not None and {"training_time_s", "mean_step_time_ms", self.score} <= set(self.figures)

    @property
    def figures(self) -> list[str]:
        """The names of the figures that trials have."""
        return [name for name in self.trials.columns if name not in (*ABOUT, *self.hyperparameters)]

    @property
    def complete(self) -> pd.DataFrame:
        """The trials that came to their end and did not diverge, the best first if a score is known."""
        ended = (self.trials["status"] == "FINISHED") & ~self.trials["diverged"].astype(bool)
        complete: pd.DataFrame = self.trials[ended]
        if self.score is not None:
            complete = complete.sort_values(self.score, ascending=not self.higher_is_better, kind="stable")
        return complete


def study_of(client: MlflowClient, run: Run, metric: str | None = None, mode: str | None = None) -> Study:
    """The study in this run, however it ended.

    Args:
        client: of the store.
        run: of ``tune`` or ``early_stop``, or one that trials of another Tune script are nested under.
        metric: what ranks the trials of another script's study; by default ``val_rmse`` or ``val_accuracy``.
        mode: min or max: which of its values are better.

    Raises:
        UserError: it has no trials, or the metric does not fit.
    """
    found = map(TrialRun.of, search_runs(client, run.info.experiment_id, trials_of(run.info.run_id), "ASC"))
    each = [trial for trial in found if not trial.repeat]  # each configuration counts once
    if not each:
        raise UserError(
            f"study={run.info.run_id}: {run.info.run_name} has no trials; give the id of a run of tune or early_stop, "
            "or of one around the trials of a SystemMetricsCallback"
        )
    about = pd.DataFrame([{name: getattr(trial, name) for name in ABOUT} for trial in each], dtype=object)
    params = [trial.params for trial in each]
    chosen = _hyperparameters(pd.DataFrame(params, dtype=object), json.loads(tag(run, SEARCHED) or "null") or [])
    measured = pd.DataFrame([trial.figures for trial in each], dtype=float)
    # A name that has another meaning here already keeps that.
    measured = measured.drop(columns=[name for name in measured if name in ABOUT or name in chosen])
    trials = pd.concat([about.astype({"diverged": bool}), chosen, measured], axis=1)
    own = tag(run, KIND) == "study" and tag(run, STUDY_ID) is None
    score, higher_is_better = _ranking(run, [str(name) for name in measured.columns], own, metric, mode)
    folds = _folds(client, run.info.run_id) if own else _NO_FOLDS
    folds = folds[folds["trial_id"].isin(trials["trial_id"])]
    trained_on = None if "dataset" in chosen else params[0].get("dataset")
    rows = _rows(client, run.info.run_id, NOISE) if own else []
    noises = {row["figure"]: Noise.read(row) for row in rows}
    order = {row["figure"]: Order.read(row) for row in rows}
    facts = {name: tuple(sorted(values)) for name, values in hosts(each).items()}
    searched = [str(name) for name in chosen.columns]
    fixed = {name: value for name, value in params[0].items() if name not in searched}
    views = _views(client, run)
    return Study(run, trials, folds, searched, score, higher_is_better, trained_on, noises, order, facts, fixed, views)


def _views(client: MlflowClient, run: Run) -> dict[str, str]:
    experiment_id = run.info.experiment_id
    tags = client.get_experiment(experiment_id).tags
    shown: dict[str, Shown] = {SCORE: "CHART", TABLE: "TABLE", LIMITS: "TABLE"}
    links = {name: saved_link(tags, experiment_id, run.info.run_id, name, mode) for name, mode in shown.items()}
    return {name: link for name, link in links.items() if link}


def _hyperparameters(params: pd.DataFrame, searched: list[str]) -> pd.DataFrame:
    """The parameters that vary, those that the study says it has searched first and in its order."""
    varied = [name for name in params if name not in ABOUT and params[name].nunique(dropna=False) > 1]
    varied.sort(key=lambda name: (searched.index(name) if name in searched else len(searched), name))
    chosen: pd.DataFrame = pd.DataFrame({name: _numbers(params[name]) for name in varied}, index=params.index)
    return chosen


def _numbers(texts: pd.Series[str]) -> pd.Series[float] | pd.Series[str]:
    known = texts.dropna()
    numbers = pd.to_numeric(known, errors="coerce")
    return numbers.reindex(texts.index) if np.isfinite(numbers.astype(float)).all() else texts


def _ranking(run: Run, figures: list[str], own: bool, metric: str | None, mode: str | None) -> tuple[str | None, bool]:
    """The figure that ranks the trials of a study, and whether higher is better."""
    score = next((name for name in SCORES if name in figures), None)
    if metric is None:
        if mode is not None:
            raise UserError(f"mode={mode}: it says which values of a metric are better; add metric=<name>")
        return score, SCORES.get(score or "", False)
    if own and metric != score:
        raise UserError(f"metric={metric}: the trials of {run.info.run_name} are ranked by {score}; leave metric out")
    if metric not in figures:
        raise UserError(
            f"metric={metric}: the trials of {run.info.run_name} have no such metric; use one of {', '.join(figures)}"
        )
    if mode is None and metric not in SCORES:
        raise UserError(
            f"metric={metric}: tell the report which values are better; add mode=min for the lowest or mode=max for "
            "the highest"
        )
    return metric, SCORES[metric] if mode is None else mode == "max"


_NO_FOLDS: pd.DataFrame = pd.DataFrame(columns=["trial_id", "fold"])


def _folds(client: MlflowClient, run_id: str) -> pd.DataFrame:
    """The table of a study's folds, which ends before a study does that has no model to choose."""
    rows = _rows(client, run_id, "folds.json")
    folds: pd.DataFrame = pd.DataFrame(rows)
    return folds if rows else _NO_FOLDS


def _rows(client: MlflowClient, run_id: str, path: str) -> list[dict[str, Any]]:
    """The rows of a study's table, which earlier versions and studies without a result lack."""
    try:
        return load_rows(client, run_id, path)
    except (MlflowException, OSError):
        return []


def tag(run: Run, name: str) -> str | None:
    """A run's tag; None where it has none of this name."""
    value = run.data.tags.get(name)
    return None if value is None else str(value)
