"""A study after its search: its result, its tables, and the page at its end, in its run and on a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import mlflow

from entrypoints.errors import UserError
from entrypoints.limits.costs import of_served
from entrypoints.limits.grammar import RelativeLimit
from entrypoints.reporting import questions
from entrypoints.reporting.questions import counts, decision, effects, limits_saved
from entrypoints.runs.links import how_to_open, run_view
from entrypoints.runs.mlflow_io import log_tables, search_runs
from entrypoints.runs.tags import (
    BEST_TRIAL_RUN_ID,
    BY_RACE,
    BY_TIME_LIMIT,
    FEASIBLE,
    LEAK,
    NO_INTERVAL,
    NOTE,
    STUDY_KEY,
    STUDY_LIMITS,
)
from entrypoints.study import finalists
from entrypoints.study.pages import FOLDS, LIMITS, SCORE, STOPPED, STUDIES, TABLE, TRAINING, save_pages
from entrypoints.study.study import Study
from entrypoints.trials.frame import Frame, StudyRows, frame_of
from entrypoints.trials.reading import IMPORTANCE, of_model, rows_of
from mlflow_gate.metrics import SERVED
from mlflow_sysmetrics.recording.tags import BY_LIMITS

if TYPE_CHECKING:
    from entrypoints.models.best_model import BestModel, LoggedModel

# What a trial has in trials.json beside its configuration and every figure outside ``system/`` and ``fold/``.
OF_TRIAL = ("trial_id", "run_id", "status", "diverged", "number")
PAGES = {
    SCORE: "score against cost",
    TABLE: "table",
    TRAINING: "during training",
    FOLDS: "fold by fold",
    LIMITS: "who met the limits",
    STOPPED: "what was stopped, and why",
    STUDIES: "all studies",
}


def decide(study: Study) -> None:
    """Decide what a study has found, and leave its tables in its run, in place of those of an earlier command.

    The runs of its trials are told whether they meet its limits.
    """
    finalists.choose(study)
    _tell_trials(study)
    _log_tables(study)
    if study.trial_limits.rules:
        study.full = _full_study(study)


def add_model(study: Study, refitted: BestModel) -> None:
    """Add the score of the chosen model on the test part, or why no interval of that is known."""
    why_none = refitted.test.why_unknown
    if why_none:
        study.run.client.set_tag(study.run.run_id, NO_INTERVAL, why_none)
    study.facts |= of_model(refitted.figures, study.score.validated) | {"no_interval": why_none or None}


def add_importance(study: Study, columns: list[dict[str, Any]]) -> None:
    """Add what each column is worth to the model, which is left in the study's run."""
    study.importance = columns
    if columns:
        log_tables(study.run.client, study.run.run_id, {IMPORTANCE: columns})


def add_leak(study: Study, leak: str) -> None:
    """Add the sentence on a column that may be a leak, also to the study's run; an empty one is nothing."""
    if leak:
        study.facts["leak"] = leak
        study.run.client.set_tag(study.run.run_id, LEAK, leak)


def frame_at_end(study: Study) -> Frame:
    """The study, beside the full one that its savings are counted against, or else with forecasts of its trials."""
    frame = study.frame
    if study.full or not (study.trial_limits.rules or study.races):
        return frame
    trials = frame.trials
    # What a trial has done says more than a forecast, which there is of a grid alone.
    shares = {}
    for trial in study.trials.values():
        if trial.figures.get("steps"):
            shares[trial.trial_id] = trial.figures["steps"] / trial.configuration.trial_steps(study.split)
    own = limits_saved.seconds(trials).div(trials["trial_id"].map(shares).astype(float), axis=0)
    forecasts_s = {trial.trial_id: study.forecasts.get(trial.configuration.id) for trial in study.trials.values()}
    full_s = trials["trial_id"].map(forecasts_s).astype(float)
    took = limits_saved.seconds(frame.ended)
    scales = took.sum() / full_s[took.index].sum() if len(took) else (1.0, 1.0)
    columns = {name: full_s * scale for name, scale in zip(limits_saved.FORECASTS, scales, strict=True)}
    columns = {name: own[unit].fillna(columns[name]) for name, unit in zip(columns, own, strict=True)}
    return replace(frame, trials=trials.assign(**columns))


def metrics(study: Study, frame: Frame) -> dict[str, float]:
    """The study's own figures that do not depend on a result."""
    own = frame.of([study.run.run_id]).trials
    stopped = own["status"] == "KILLED"
    found = {
        "trials": len(own),
        "stopped": stopped.sum(),
        "failed": (own["status"] == "FAILED").sum(),
        "restarts": study.restarts,
        "diverged": own["diverged"].sum(),
        "search_time_s": study.search_s,
        "elapsed_s": time.time() - study.run.start,
        f"baseline_{study.score.validated}": fmean(study.baseline),
    }
    if study.forecasts:
        found["forecast_time_s"] = study.forecast_s
    # The full time is unknown if the search or one of its trials was interrupted or cut short.
    whole = not study.is_continued and len(own) == study.size and not stopped.any()
    if whole and study.forecasts and study.search_s > 0:
        found["forecast_error_percent"] = (study.forecast_s / study.search_s - 1) * 100
    if study.limits.rules:
        found["feasible"] = own["feasible"].eq(True).sum()
    if study.races:
        found["raced"] = (own["stopped_by"] == BY_RACE).sum()
    is_shortened = study.trial_limits.rules or study.races
    saving = limits_saved.saving(frame, study.run.run_id) if is_shortened else None
    if saving:
        found |= saving.figures
    return {name: float(number) for name, number in found.items()}


def tell(study: Study, model: LoggedModel, command: Mapping[str, float]) -> str:
    """Leave the study's metrics, best trial and page in its run; return what to print.

    Args:
        study: with a result.
        model: its model.
        command: what the whole command has cost until now, as far as that is known.
    """
    best = study.best
    assert best is not None
    study.facts |= {**command, "model": model.uri, "model_run_id": best.run_id}
    frame = frame_at_end(study)
    links = save_pages(study, frame)
    mlflow.log_metrics(metrics(study, frame) | dict(command), step=0)
    mlflow.set_tag(BEST_TRIAL_RUN_ID, str(best.run_id))
    from entrypoints.reporting import pages  # draws, for which no trial need wait

    experiment_id = study.run.experiment_id
    trial = run_view(experiment_id, best.run_id)
    process = run_view(experiment_id, best.run_id, "system-metrics")
    where = [
        f"Compare the trials: {_in_markdown(links)}.",
        f"Open next: [the best trial]({trial}), or [what its process did]({process}).",
        *_not_judged(study, model),
    ]
    said = pages.write(study.run, questions.ask(questions.END, frame), where)
    opening = how_to_open(links[SCORE], mlflow.get_tracking_uri())
    judge = "".join(f"\n{line}" for line in _not_judged(study, model)).replace("`", "").replace("**", "")
    return f"\n{said}{judge}\nCompare all trials in the MLflow UI:\n{opening}\n"


def tell_no_result(study: Study, command: Mapping[str, float]) -> str:
    """Leave what is known of a study that has no model to choose, and return why in one sentence."""
    study.facts |= command
    frame = frame_at_end(study)
    mlflow.log_metrics(metrics(study, frame) | dict(command), step=0)
    why = f"{decision.why_none(frame, study.decision)}; {counts.counted(frame)}{_advice(study)}"
    links = save_pages(study, frame)
    saved = limits_saved.answer(frame).sentences
    said = "\n".join(f"- {sentence}" for sentence in saved)
    note = f"**No model was chosen**: {why}.\n\nCompare its trials: {_in_markdown(links)}.\n\n{said}"
    study.run.client.set_tag(study.run.run_id, NOTE, note)
    return why


def _tell_trials(study: Study) -> None:
    """Tell the runs of trials: each knew only the earlier ones, and none knew what its model costs as served."""
    if not any(isinstance(limit, RelativeLimit) or limit.metric.name in SERVED for limit in study.limits.rules):
        return
    for _, trial in study.frame.ended.dropna(subset=["run_id"]).iterrows():
        is_within = "unknown" if trial["feasible"] is None else str(trial["feasible"]).lower()
        study.run.client.set_tag(trial["run_id"], FEASIBLE, is_within)


def _log_tables(study: Study) -> None:
    rows: list[dict[str, Any]] = []
    for trial in study.trials.values():
        row = trial.row()
        about = {name: row[name] for name in OF_TRIAL}
        rows.append(about | trial.configuration.searched | study.settings.shared | trial.figures)
    frame = study.frame
    tables: dict[str, list[Any]] = {"trials.json": rows}
    for file, table in (
        ("folds.json", frame.folds.drop(columns="study")),
        ("noise.json", effects.noise_table(frame)),
    ):
        if len(table):
            tables[file] = table.to_dict("records")
    log_tables(study.run.client, study.run.run_id, tables)


def _full_study(study: Study) -> Sequence[StudyRows]:
    """The newest finished study without limits that ran all configurations of this one to their end, if there is one.

    On the same machine if there is one there.
    """
    own, client = study.rows(), study.run.client
    elsewhere: list[StudyRows] = []
    wanted = f"attributes.status = 'FINISHED' and tags.`{STUDY_KEY}` = '{study.key}'"
    for run in search_runs(client, study.run.experiment_id, wanted):
        if STUDY_LIMITS in run.data.tags:
            continue
        try:
            full = rows_of(client, run)
        except UserError:  # its trials were deleted
            continue
        frame = frame_of([own, full])
        trials, is_own = frame.trials, frame.trials["study"] == own.study
        ran = ~is_own & (trials["status"] == "FINISHED") & trials["elapsed_s"].notna()
        if set(frame.configurations[is_own]) <= set(frame.configurations[ran]):
            if limits_saved.is_on_one_machine(frame, own.study, full.study):
                return [full]
            elsewhere = elsewhere or [full]
    return elsewhere


def _not_judged(study: Study, model: LoggedModel) -> Sequence[str]:
    """What to do about limits of which is not known whether the served model meets them."""
    if not study.not_judged:
        return []
    rate = f" --rate {study.settings.rate:g}" if study.settings.rate else ""
    command = f'mlflow-sysmetrics served {model.uri}{rate} --limits "{of_served(study.limits)}"'
    return [f"**Judge it on a quiet machine** with `{command}`: {'; '.join(study.not_judged)}."]


def _advice(study: Study) -> str:
    """What to do where no trial can be chosen, as the end of a sentence."""
    trials, score = study.trials.values(), study.score.validated
    is_cut = len(trials) < study.size or any(trial.stopped_by == BY_TIME_LIMIT for trial in trials)
    if is_cut and study.settings.time_limit_s:
        return "; raise time_limit_s, or shorten the trials with length, max_rows or folds"
    if study.decision.judged["broken"].notna().any():
        return ""  # the decision says what to do
    errors = [trial.error for trial in trials if trial.error]
    if errors:
        return f"; the first error was {errors[0]}"
    if any(trial.complete and score not in trial.figures for trial in trials):
        return f"; use another metric than {score.removeprefix('val_')}"
    if any(trial.stopped_by == BY_LIMITS and not trial.diverged for trial in trials):
        return "; loosen the limits"
    return "; lower the learning rates or length"


def _in_markdown(links: Mapping[str, str]) -> str:
    return " · ".join(f"[{said}]({links[page]})" for page, said in PAGES.items() if page in links)
