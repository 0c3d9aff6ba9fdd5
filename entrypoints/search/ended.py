"""A study after its search, asked with the questions of a report: its result, its tables and its figures."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from entrypoints.datasets.prepared import Prepared
from entrypoints.frame import Frame, frame_of
from entrypoints.limits.duration_forecast import Forecast
from entrypoints.mlflow_io import log_tables
from entrypoints.reporting.questions import decision, effects, limits_saved, pareto
from entrypoints.runs import RecordedRun
from entrypoints.search.full_study import beside_full, other_hosts, study_key
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record, TrialRecord
from entrypoints.settings import StudySettings
from entrypoints.tags import FEASIBLE


@dataclass(frozen=True)
class Ended:
    """A study after its search.

    Attributes:
        run: its run.
        settings: what it has searched.
        record: of its trials.
        forecast_s: how long the search was expected to take.
        rows: the largest batch that is possible.
        frame: of the study alone.
        noise: of ``effects.noise``.
        decision: which trial to take.
        saving: what its limits saved; None without limits.
        on_other_host: how the machine differs on which the full study ran that a saving is counted against; or empty.
    """

    run: RecordedRun
    settings: StudySettings
    record: Record
    forecast_s: float
    rows: int
    frame: Frame
    noise: pd.DataFrame
    decision: decision.Decision
    saving: limits_saved.Saving | None = None
    on_other_host: str = ""

    @property
    def best(self) -> TrialRecord | None:
        """The trial whose configuration is the result."""
        chosen = self.decision.chosen
        return None if chosen is None else self.record.trials[chosen["trial_id"]]


def ended(run: RecordedRun, plan: Plan, data: Prepared, record: Record, forecast: Forecast) -> Ended:
    """Ask what a study has found; the runs of its trials are told whether they meet its limits."""
    settings, criteria = plan.settings, record.criteria
    about = {
        "name": data.name,
        "experiment_id": run.experiment_id,
        "dataset": settings.dataset,
        "digest": data.digest,
        "key": study_key(settings, data),
        "criteria": str(criteria) if criteria.rules else None,
        "folds": settings.folds,
        "rows": data.split.fit_rows,
        "features": len(data.feature_names),
        "seed": settings.seed,
    }
    own = record.rows(run.run_id, about)
    frame = frame_of([own])
    noise = effects.noise(frame)
    made = Ended(
        *(run, settings, record, forecast.search_s, data.split.max_batch_size),
        *(frame, noise, decision.decide(frame, noise=noise)),
    )
    if not criteria.rules:
        return made
    if any(limit.statistic for limit in criteria.limits):  # each trial knew only the earlier ones
        for _, trial in frame.ended.dropna(subset=["run_id"]).iterrows():
            run.client.set_tag(trial["run_id"], FEASIBLE, str(trial["feasible"]).lower())
    beside = beside_full(run.client, own)
    saving = limits_saved.saving(beside or _priced(frame, record, plan, forecast), run.run_id)
    return replace(made, saving=saving, on_other_host=other_hosts(beside) if beside else "")


def _priced(frame: Frame, record: Record, plan: Plan, forecast: Forecast) -> Frame:
    """With what each trial would have cost by the forecast, which is unknown of those that may converge."""
    seconds = zip(plan.trials, forecast.trials_s, strict=True)
    by_place = {trial.place: trial_s for trial, trial_s in seconds if not trial.may_converge}
    full_s = [by_place.get(trial.configuration.place) for trial in record.trials.values()]
    expected = {name: pd.Series(full_s, frame.trials.index, dtype=float) for name in limits_saved.FORECASTS}
    return replace(frame, trials=frame.trials.assign(**expected))


def log_results(study: Ended) -> None:
    """Leave the study's tables in its run, in place of those that an earlier command has left there."""
    record, frame = study.record, study.frame
    tables = {"folds.json": frame.folds.drop(columns="study"), "noise.json": study.noise}
    if record.criteria.rules:
        within = frame.trials[frame.trials["feasible"].eq(True)]
        of = replace(frame, trials=within) if len(within) else frame
        tables["pareto.json"] = pareto.front(of, decision.margins(frame, study.noise))
    if study.saving:
        tables["budget.json"] = study.saving.reasons.assign(counted_against=study.saving.full or "forecast")
    rows: dict[str, list[Any]] = {"trials.json": [_row(trial, study.settings) for trial in record.trials.values()]}
    rows |= {file: table.to_dict("records") for file, table in tables.items() if len(table)}
    log_tables(study.run.client, study.run.run_id, rows)


def _row(trial: TrialRecord, settings: StudySettings) -> dict[str, Any]:
    """A trial in trials.json: ids, how it ended, configuration and every figure outside ``system/``."""
    about = {name: getattr(trial, name) for name in ("trial_id", "run_id", "status", "diverged", "converged")}
    place = {"place": trial.configuration.place, "repeat": trial.configuration.repeat}
    return about | place | trial.configuration.searched | settings.shared | trial.figures


def metrics(study: Ended) -> dict[str, float]:
    """The study's own figures that do not depend on a result."""
    record, trials, saving = study.record, study.frame.trials, study.saving
    stopped, converged = trials["status"] == "KILLED", trials["converged"]
    found = {
        "trials": len(trials),
        "stopped": stopped.sum(),
        "failed": (trials["status"] == "FAILED").sum(),
        "restarts": record.restarts,
        "diverged": trials["diverged"].sum(),
        "converged": converged.sum(),
        "search_time_s": record.search_s,
        "forecast_time_s": study.forecast_s,
        "elapsed_s": record.before_s + time.time() - study.run.start,
    }
    # The full time is unknown if the search or one of its trials was interrupted or cut short, or a trial converged.
    whole = not record.before_s and len(trials) == record.planned and not stopped.any() and not converged.any()
    if whole and record.search_s > 0:
        found["forecast_error_percent"] = (study.forecast_s / record.search_s - 1) * 100
    if record.criteria.rules:
        found["feasible"] = (trials["feasible"].eq(True) & (trials["repeat"] == 0)).sum()
        found["skipped"] = (trials["stop_how"] == "skipped").sum()
    if saving:
        found |= {
            f"{name}_{unit}": getattr(saving, f"{name}_{unit}")
            for name, units in {
                "spent": ("cpu_s", "wall_s"),
                "saved": ("cpu_s", "wall_s", "cpu_percent", "wall_percent"),
            }.items()
            for unit in units
        }
    return {name: float(number) for name, number in found.items()}
