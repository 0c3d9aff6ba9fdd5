"""The pages of a study in the MLflow UI, by names from which a person chooses in the menu *Views*.

They are there from the study's start, and are made again as its trials have turned out.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click
import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from entrypoints.limits.costs import of_served
from entrypoints.limits.grammar import Limits
from entrypoints.reporting import expectation
from entrypoints.reporting.questions import limits_applied
from entrypoints.reporting.questions.decision import differing_costs
from entrypoints.reporting.words import digits
from entrypoints.runs.links import how_to_open, run_view
from entrypoints.runs.tags import AXIS, DIVERGED, FEASIBLE, FOLD, OF_FOLD, STUDY_LIMITS, TRAINING_STEP, Axis
from entrypoints.search.run_names import searched, varied
from entrypoints.study.study import Study
from entrypoints.trials.frame import Frame
from mlflow_sysmetrics.recording.tags import BY_LIMITS, KIND, STOP_REASON, STOPPED_BY
from mlflow_sysmetrics.ui import (
    FIRST,
    Page,
    Section,
    bars,
    lines,
    metric,
    parallel,
    param,
    save,
    scatter,
    tag,
    trials_of,
)

if TYPE_CHECKING:
    from entrypoints.models.best_model import LoggedModel

SCORE, TABLE, TRAINING, FOLDS, LIMITS, STOPPED = FIRST, "table", "training", "folds", "limits", "stopped"
PROGRESS = "progress"
BEST_SO_FAR, SPENT_CPU_S = "best_so_far", "search_cpu_seconds"  # curves of a study's run
STUDIES, REPORTS = "studies", "reports"
EXPERIMENT = "all"  # whose views the last two are
COSTS = (
    "training_time_s",
    "mean_step_time_ms",
    "cpu_seconds",
    "mean_cpu_percent",
    "peak_memory_mb",
    "model_memory_mb",
    "inference_latency_ms",
    "peak_gpu_memory_mb",
)
_TIME, _LATENCY = "training_time_s", "inference_latency_ms"
_ONE_MODEL, _PROCESS = "model_memory_mb", "peak_memory_mb"
_SEEN_MB = 1.0  # below it one model's memory is nothing to compare
_CURVES = ("cpu_percent", "step_time_ms", "memory_mb")
_OF_MODEL = ("refit_", "served_")  # what figures of a logged model begin with that are costs
MAX_STUDIES = 10  # whose views are kept, the newest
_OF_A_STUDY = re.compile(r"mlflow\.sharedViewState\.sysmetrics-([0-9a-f]{32})-")


def save_pages(study: Study, frame: Frame) -> dict[str, str]:
    """Save the pages of a study and of its experiment in the UI, and return their links by the names above."""
    run = study.run
    names = frame.hyperparameters or varied(study.spaces) or searched(study.spaces)
    axes = {algorithm.axis for algorithm in study.algorithms}
    pages = of_study(frame, run.start, names, study.limits, axes, differing_costs(frame))
    links = save(run.client, run.experiment_id, run.run_id, pages)
    links |= save(run.client, run.experiment_id, EXPERIMENT, of_experiment(study.score.validated))
    with contextlib.suppress(MlflowException):  # old views are not worth a study
        remove_old(run.client, run.experiment_id)
    return links


def remove_old(client: MlflowClient, experiment_id: str) -> None:
    """Remove the views of all but the newest studies; those that a user has changed stay."""
    written: list[tuple[int, str, str]] = []  # when, the study, the tag
    for key, value in client.get_experiment(experiment_id).tags.items():
        study = _OF_A_STUDY.match(key)
        if study is None:
            continue
        with contextlib.suppress(ValueError):  # no view
            view = json.loads(value)
            if view.get("sysmetrics"):  # until a user changes it in the UI
                written.append((view["createdAt"], study[1], key))
    newest: list[str] = []
    for _, study_id, key in sorted(written, reverse=True):
        if study_id not in newest:
            newest.append(study_id)
        if newest.index(study_id) >= MAX_STUDIES:
            client.delete_experiment_tag(experiment_id, key)


def open_from_the_start(study: Study) -> None:
    """Save the pages while no trial of this command has begun, and say how to watch them fill."""
    links = save_pages(study, study.frame)
    click.echo("Watch the trials in the MLflow UI:")
    click.echo(how_to_open(links[SCORE], mlflow.get_tracking_uri()))


def described(frame: Frame, searched: Mapping[str, object], model: LoggedModel, not_judged: Sequence[str]) -> str:
    """The description of a registered version: what it is, what to expect of it, what it costs, and its limits.

    Args:
        frame: of its study.
        searched: its hyperparameters.
        model: as it is logged.
        not_judged: the limits of which is not known whether it meets them, and why.
    """
    study = frame.studies.iloc[0]
    link = run_view(study["experiment_id"], frame.first)
    configuration = ", ".join(f"{name}={choice}" for name, choice in searched.items())
    facts = [f"{configuration}, from [a study of {study['name']}]({link})"]
    expected = expectation.in_words(study)
    facts.append(f"{expected[:1].upper()}{expected[1:]}")
    costs = [f"{name} {digits(cost, 3)}" for name, cost in model.figures.items() if name.startswith(_OF_MODEL)]
    facts.append(f"Costs: {', '.join(costs)}")
    if study["limits"]:
        facts.append(f"Of its limits, `{study['limits']}`, it meets all that are judged")
    facts += [sentence.rstrip(".") for sentence in limits_applied.answer(frame).sentences]
    facts += [f"Not judged: {why}" for why in not_judged]
    return "\n".join(f"- {fact}." for fact in facts if fact)


def of_study(
    frame: Frame,
    start: float,
    searched: Sequence[str],
    limits: Limits,
    axes: Collection[Axis],
    differing: Collection[str] = (),
) -> dict[str, Page]:
    """The pages of a study's trials; where diverged ones would spoil an axis they are left out.

    The trial whose model is the result, once there is one, is pinned on each of them, and named on those with charts.

    Args:
        frame: of the study.
        start: when it began, in unix seconds.
        searched: the names of its hyperparameters.
        limits: the limits on its trials.
        axes: of its trials.
        differing: the costs in which trials differ by more than noise; the axes of all others would show noise alone.
    """
    score = frame.score
    ascending = not frame.higher_is_better
    comparable = _comparable(frame.trials)
    title = f"{frame.studies['name'].iloc[0]} {time.strftime('%d %b %H:%M', time.localtime(start))}"
    trials = trials_of(frame.first)
    sound = f"{trials} and tags.`{DIVERGED}` = 'false'"
    learns = frame.studies["search"].iloc[0] == "tpe"
    why = [tag(STOP_REASON)] if limits.rules or learns else []
    result = frame.trials[frame.trials["run_id"] == frame.studies["model_run_id"].iloc[0]]
    page = partial(Page, sort_by=score, ascending=ascending, wide=why, pinned=result["run_id"].tolist())
    shown = [*map(param, searched), metric(score), *map(metric, _costs(comparable)), *why]
    heading = "; ".join(["Score against cost", *(f"the result is {name}" for name in result["name"])])
    costs = _axes(comparable, differing)
    against = [
        Section(heading, [scatter(name, score) for name in (*costs, *of_served(limits).metrics)]),
        # Without served figures, which finalists alone have: it hides runs that lack one.
        Section("Hyperparameters, costs and score", [parallel(_shared(frame, searched), [*costs, score])], columns=1),
    ]
    best = f"{sound} and attributes.status = 'FINISHED'"
    scored = best if learns else sound  # a trial that was raced has the score of where it ended, or none
    own = f"attributes.run_id = '{frame.first}'"
    pages = {
        SCORE: page(f"{title} · score against cost", scored, columns=shown, sections=against),
        TABLE: page(f"{title} · table", trials, "TABLE", columns=shown, sections=against),
    }
    if TRAINING_STEP in axes:
        trained = f"{best} and {tag(AXIS)} = '{TRAINING_STEP}'"
        during = f"{title} · during training, the ten best"
        pages[TRAINING] = page(during, trained, columns=shown, sections=_training(score), all_runs=False)
    if FOLD in axes:
        fitted = f"{best} and {tag(AXIS)} = '{FOLD}'"
        by_fold = f"{title} · fold by fold, the ten best"
        pages[FOLDS] = page(by_fold, fitted, columns=shown, sections=_folds(score), all_runs=False)
    pages[PROGRESS] = page(f"{title} · best score so far", own, sections=_progress())
    if not limits.rules:
        return pages
    limited = [tag(FEASIBLE), *why, *map(metric, dict.fromkeys([score, *limits.metrics])), *map(param, searched)]
    bounds = [Section(", ".join(map(str, limits.rules)), [bars(name) for name in limits.metrics], columns=2)]
    within = f"{title} · within the limits"
    pages[LIMITS] = page(within, trials, "TABLE", columns=limited, sections=bounds)
    stopped = f"{trials} and tags.`{STOPPED_BY}` = '{BY_LIMITS}'"
    reasons = f"{title} · what was stopped, and why"
    curves = _training(score, log=ascending) if TRAINING_STEP in axes else []
    curves += _folds(score) if FOLD in axes else []
    pages[STOPPED] = page(reasons, stopped, "TABLE", columns=limited, sections=curves, all_runs=False)
    return pages


def _costs(trials: pd.DataFrame) -> list[str]:
    """The costs that these trials have; of a study that has just begun, all but that of a GPU, which none may have."""
    if trials.empty:
        return list(COSTS[:-1])
    return [name for name in COSTS if name in trials and trials[name].notna().any()]


def _shared(frame: Frame, searched: Sequence[str]) -> list[str]:
    """The hyperparameters that all trials have: those of one algorithm alone would hide the trials of others."""
    return [name for name in searched if name not in frame.trials or frame.trials[name].notna().all()]


def _axes(trials: pd.DataFrame, differing: Collection[str]) -> list[str]:
    """The costs that scores are drawn against; the training time where trials differ in none.

    The memory that tells trials apart is that of one model, or of the process where models are small.
    """
    is_seen = _ONE_MODEL in trials and trials[_ONE_MODEL].max() >= _SEEN_MB
    axes = [_TIME, _ONE_MODEL if is_seen else _PROCESS, _LATENCY]
    if len(trials) < 2:
        return axes
    return [name for name in axes if name in differing] or [_TIME]


def of_experiment(score: str = "val_rmse") -> dict[str, Page]:
    """The pages over all studies of an experiment. Sorted by a metric: else the UI folds those of ``main`` away."""
    scored = dict.fromkeys(("rmse", "accuracy", score.removeprefix("val_")))
    # By validation scores, each that of the best of many, studies cannot be compared.
    scores = [f"test_{name}{end}" for name in scored for end in ("", "_low", "_high")]
    costs = ("served_p95_ms", "served_memory_mb", "refit_training_time_s", "refit_memory_growth_mb", "refit_latency_ms")
    figures = [*scores, *costs, "search_time_s", "trials", "feasible", "saved_cpu_percent"]
    limits = tag(STUDY_LIMITS)
    columns = [param("dataset"), *map(metric, figures), limits]
    studies, reports = (f"tags.`{KIND}` = '{kind}'" for kind in ("study", "report"))
    return {
        STUDIES: Page("All studies", studies, "TABLE", "search_time_s", columns=columns, wide=[limits]),
        REPORTS: Page("Reports", reports, "TABLE", "trials", columns=["attributes.`Description`"]),
    }


def _comparable(trials: pd.DataFrame) -> pd.DataFrame:
    """Those whose figures say what their configuration costs: what else than limits ended has those of where it was."""
    ended = (trials["status"] == "FINISHED") | (trials["stopped_by"] == BY_LIMITS)
    found: pd.DataFrame = trials[ended & ~trials["diverged"]]
    return found


def _progress() -> list[Section]:
    against = [lines(BEST_SO_FAR, against=axis) for axis in ("time-relative", SPENT_CPU_S)]
    return [Section("Best score so far, against time and against the CPU seconds of all trials", against, columns=2)]


def _training(score: str, log: bool = False) -> list[Section]:
    """The curves of trials; `log` for errors of trials that may be stopped on their way to infinity."""
    of_score = [lines(score, log=log), lines("val_loss", log=True), lines(score, log=log, against=_TIME)]
    return [
        Section("Score during training", of_score),
        Section("Costs during training", [lines(each) for each in _CURVES]),
    ]


def _folds(score: str) -> list[Section]:
    """What the model of each fold shows. Between two folds there is nothing, so this is no curve of training."""
    values = [lines(f"{OF_FOLD}{name}") for name in (score, "val_loss", _TIME)]
    return [Section("The model of each fold, by the number of the fold", values)]
