"""A study after its search, asked with the questions of a report: its result, its tables, its figures, its pages."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd
from mlflow import MlflowClient

from entrypoints.datasets.prepared import Prepared
from entrypoints.errors import UserError
from entrypoints.frame import Frame, StudyRows, frame_of
from entrypoints.limits.duration_forecast import Forecast
from entrypoints.mlflow_io import log_tables, search_runs
from entrypoints.reading import rows_of, said_of_trial
from entrypoints.reporting.questions import decision, effects, limits_saved, pareto
from entrypoints.reporting.questions.pairs import differing_hosts
from entrypoints.runs import RecordedRun
from entrypoints.search.plan import Plan, study_key
from entrypoints.search.record import Record, TrialRecord
from entrypoints.tags import FEASIBLE, STUDY_KEY, STUDY_LIMITS


@dataclass(frozen=True)
class Ended:
    """A study after its search.

    Attributes:
        run: its run.
        plan: what it has searched.
        record: of its trials.
        data: what they were trained on.
        forecast: how long the search was expected to take.
        frame: of the study alone.
        noise: of ``effects.noise``.
        decision: which trial to take.
        saving: what its limits saved; None without limits.
        hosts: the machines, where the full study that a saving is counted against ran on another one; else empty.
    """

    run: RecordedRun
    plan: Plan
    record: Record
    data: Prepared
    forecast: Forecast
    frame: Frame
    noise: pd.DataFrame
    decision: decision.Decision
    saving: limits_saved.Saving | None = None
    hosts: str = ""

    @property
    def best(self) -> TrialRecord | None:
        """The trial whose configuration is the result."""
        chosen = self.decision.chosen
        return None if chosen is None else self.record.trials[chosen["trial_id"]]


def ended(run: RecordedRun, plan: Plan, data: Prepared, record: Record, forecast: Forecast) -> Ended:
    """Ask what a study has found, and leave its tables in its run, in place of those of an earlier command.

    The runs of its trials are told whether they meet its limits.
    """
    settings, limits = plan.settings, record.limits
    about = {
        "name": plan.table.name,
        "experiment_id": run.experiment_id,
        "dataset": settings.dataset,
        "digest": plan.table.digest,
        "key": study_key(settings, plan.table),
        "limits": str(limits) if limits.rules else None,
        "baseline": plan.baseline,
        "choose": settings.choose,
        "rows": data.split.fit_rows,
        "seed": settings.seed,
    }
    own = record.rows(run.run_id, about, plan)
    frame = frame_of([own])
    noise = effects.noise(frame)
    study = Ended(run, plan, record, data, forecast, frame, noise, decision.decide(frame, noise=noise))
    if limits.rules:
        if any(limit.statistic for limit in limits.bounds):  # each trial knew only the earlier ones
            for _, trial in frame.ended.dropna(subset=["run_id"]).iterrows():
                run.client.set_tag(trial["run_id"], FEASIBLE, str(trial["feasible"]).lower())
        beside = _beside_full(run.client, own)
        saving = limits_saved.saving(beside or _priced(study), run.run_id)
        study = replace(study, saving=saving, hosts=_other_hosts(beside) if beside else "")
    _log_tables(study)
    return study


def _beside_full(client: MlflowClient, own: StudyRows) -> Frame | None:
    """A study under limits, and the newest finished one without that ran all its configurations to their end.

    On the same machine if there is one.
    """
    elsewhere: Frame | None = None
    wanted = f"attributes.status = 'FINISHED' and tags.`{STUDY_KEY}` = '{own.about['key']}'"
    for run in search_runs(client, own.about["experiment_id"], wanted):
        if STUDY_LIMITS in run.data.tags:
            continue
        try:
            frame = frame_of([own, rows_of(client, run)])
        except UserError:  # its trials were deleted
            continue
        trials, is_own = frame.trials, frame.trials["study"] == own.study
        ran = ~is_own & (trials["status"] == "FINISHED") & trials["elapsed_s"].notna()
        if set(frame.configurations[is_own]) <= set(frame.configurations[ran]):
            if not _other_hosts(frame):
                return frame
            elsewhere = elsewhere or frame
    return elsewhere


def _other_hosts(frame: Frame) -> str:
    """How the machines of the two studies differ, in words; empty if they share one, or that is not known."""
    hosts = frame.trials.dropna(subset=["host"]).groupby("study")["host"].agg(set)
    shared = len(hosts) < 2 or set.intersection(*hosts)
    return "" if shared else differing_hosts(frame, *frame.studies.index)


def _priced(study: Ended) -> Frame:
    """With what each trial would have cost by the forecast, which is unknown of those that may converge.

    It is scaled to what trials that ran to their end have taken: of CPU, too, where it is of the wall time.
    """
    seconds = dict(zip((trial.id for trial in study.plan.trials), study.forecast.trials_s, strict=True))
    ran = [trial.configuration for trial in study.record.trials.values() if not trial.configuration.may_converge]
    by_place = {configuration.place: seconds[configuration.id] for configuration in ran}
    trials = study.frame.trials
    full_s = trials["place"].map(by_place).astype(float)
    took = limits_saved.seconds(trials)[trials.index.isin(study.frame.ended.index) & full_s.notna()]
    scales = took.sum() / full_s[took.index].sum() if len(took) else (1.0, 1.0)
    columns = {name: full_s * scale for name, scale in zip(limits_saved.FORECASTS, scales, strict=True)}
    return replace(study.frame, trials=trials.assign(**columns))


def _log_tables(study: Ended) -> None:
    record, frame = study.record, study.frame
    tables = {"folds.json": frame.folds.drop(columns="study"), "noise.json": study.noise}
    if record.limits.rules:
        within = frame.trials[frame.trials["feasible"].eq(True)]
        of = replace(frame, trials=within) if len(within) else frame
        tables["pareto.json"] = pareto.front(of, decision.margins(frame, study.noise))
    if study.saving:
        tables["budget.json"] = study.saving.reasons.assign(counted_against=study.saving.full or "forecast")
    rows: dict[str, list[Any]] = {"trials.json": [_row(study, trial) for trial in record.trials.values()]}
    rows |= {file: table.to_dict("records") for file, table in tables.items() if len(table)}
    log_tables(study.run.client, study.run.run_id, rows)


def _row(study: Ended, trial: TrialRecord) -> dict[str, Any]:
    """A trial in trials.json: ids, how it ended, configuration and every figure outside ``system/``."""
    said = said_of_trial(trial.tags)
    about = {name: getattr(trial, name) for name in ("trial_id", "run_id", "status")}
    about |= {"diverged": said["diverged"], "converged": said["converged"]}
    about |= {"place": trial.configuration.place, "repeat": trial.configuration.repeat}
    return about | trial.configuration.searched | study.plan.settings.shared | trial.figures


def metrics(study: Ended) -> dict[str, float]:
    """The study's own figures that do not depend on a result."""
    record, trials, saving, forecast_s = study.record, study.frame.trials, study.saving, study.forecast.search_s
    stopped, converged = trials["status"] == "KILLED", trials["converged"]
    found = {
        "trials": len(trials),
        "stopped": stopped.sum(),
        "failed": (trials["status"] == "FAILED").sum(),
        "restarts": record.restarts,
        "diverged": trials["diverged"].sum(),
        "converged": converged.sum(),
        "search_time_s": record.search_s,
        "forecast_time_s": forecast_s,
        "elapsed_s": record.before_s + time.time() - study.run.start,
        f"baseline_{record.score}": fmean(study.plan.baseline),
    }
    # The full time is unknown if the search or one of its trials was interrupted or cut short, or a trial converged.
    whole = not record.before_s and len(trials) == record.planned and not stopped.any() and not converged.any()
    if whole and record.search_s > 0:
        found["forecast_error_percent"] = (forecast_s / record.search_s - 1) * 100
    if record.limits.rules:
        found["feasible"] = (trials["feasible"].eq(True) & (trials["repeat"] == 0)).sum()
        found["skipped"] = (trials["stop_how"] == "skipped").sum()
    if saving:
        units = ("cpu_s", "wall_s", "cpu_percent", "wall_percent")
        names = ["spent_cpu_s", "spent_wall_s", *(f"saved_{unit}" for unit in units)]
        found |= {name: getattr(saving, name) for name in names}
    return {name: float(number) for name, number in found.items()}
