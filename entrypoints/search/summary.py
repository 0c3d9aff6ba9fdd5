"""A study after its search: its frame, its tables, and the page at its end, in its run and on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow import MlflowClient

from entrypoints import views
from entrypoints.errors import UserError
from entrypoints.frame import Frame, StudyRows, frame_of
from entrypoints.limits.costs import SERVED, of_served, of_trials
from entrypoints.limits.grammar import RelativeLimit
from entrypoints.links import how_to_open, run_view
from entrypoints.mlflow_io import log_tables, search_runs
from entrypoints.models.trial_record import Trial
from entrypoints.reading import IMPORTANCE, of_model, rows_of
from entrypoints.reporting import questions
from entrypoints.reporting.questions import counts, decision, effects, limits_saved
from entrypoints.runs import RecordedRun
from entrypoints.search.pages import save_pages
from entrypoints.search.plan import Plan, study_key
from entrypoints.search.record import Record
from entrypoints.search.warm_up import Forecast
from entrypoints.tags import BEST_TRIAL_RUN_ID, BY_TIME_LIMIT, FEASIBLE, NO_INTERVAL, NOTE, STUDY_KEY, STUDY_LIMITS
from mlflow_sysmetrics.tags import BY_LIMITS

if TYPE_CHECKING:
    from entrypoints.models.best_model import BestModel, LoggedModel

# What a trial has in trials.json beside its configuration and every figure outside ``system/``.
OF_TRIAL = ("trial_id", "run_id", "status", "diverged", "number", "repeat")
PAGES = {
    views.SCORE: "score against cost",
    views.TABLE: "table",
    views.TRAINING: "during training",
    views.LIMITS: "who met the limits",
    views.STOPPED: "what was stopped, and why",
    views.STUDIES: "all studies",
}


@dataclass(frozen=True)
class Summary:
    """A study after its search.

    Attributes:
        run: its run.
        plan: what it has searched.
        record: of its trials.
        forecast: how long the search was expected to take.
        frame: of the study, and, of one under limits, maybe of the full one that it is compared with.
        decision: which trial to take.
        not_judged: the limits on the served model of the result of which is not known whether it meets them, and why.
    """

    run: RecordedRun
    plan: Plan
    record: Record
    forecast: Forecast
    frame: Frame
    decision: decision.Decision
    not_judged: tuple[str, ...] = ()

    def without_result(self) -> Summary:
        """The same, where no trial of those that may meet the limits does."""
        none = replace(self.decision, case=decision.Case.NONE_MEETS_LIMITS, best=None, cheapest=None)
        return replace(self, decision=none)

    def known(self, **about: Any) -> Summary:
        """The same with what is known of the study since."""
        studies = self.frame.studies.copy()
        for name, fact in about.items():
            studies.loc[self.frame.first, name] = fact
        return replace(self, frame=replace(self.frame, studies=studies))

    @property
    def best(self) -> Trial | None:
        """The trial whose configuration is the result."""
        chosen = self.decision.chosen
        return None if chosen is None else self.record.trials[chosen["trial_id"]]


def summarise(
    run: RecordedRun,
    plan: Plan,
    record: Record,
    forecast: Forecast,
    leak: str = "",
    choose: Callable[[Callable[[], Summary]], Summary] = lambda decided: decided(),
) -> Summary:
    """Ask what a study has found, and leave its tables in its run, in place of those of an earlier command.

    The runs of its trials are told whether they meet its limits. ``choose`` may tell the record more of trials, and
    have the study decided again.
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
        "search": settings.search,
        "seed": settings.seed,
        "planned": record.planned,
        "leak": leak or None,
    }

    def rows() -> StudyRows:
        return record.rows(run.run_id, about, plan.trials)

    def decided() -> Summary:
        frame = frame_of([rows()])
        return Summary(run, plan, record, forecast, frame, decision.decide(frame))

    study = choose(decided)
    _tell_trials(study)
    _log_tables(study)
    if of_trials(limits).rules:
        beside = _beside_full(run.client, rows())
        study = replace(study, frame=_priced(study) if beside is None else beside)
    return study


def with_model(study: Summary, refitted: BestModel) -> Summary:
    """With what the refitted model has on the test part, or why no interval of that is known."""
    why_none = refitted.test.why_unknown
    if why_none:
        study.run.client.set_tag(study.run.run_id, NO_INTERVAL, why_none)
    return study.known(**of_model(refitted.figures, study.record.score), no_interval=why_none or None)


def with_importance(study: Summary, columns: list[dict[str, Any]]) -> Summary:
    """With what each column is worth to the model, which is left in its run."""
    if not columns:
        return study
    log_tables(study.run.client, study.run.run_id, {IMPORTANCE: columns})
    table: pd.DataFrame = pd.DataFrame(columns).assign(study=study.run.run_id)
    return replace(study, frame=replace(study.frame, importance=table))


def metrics(study: Summary) -> dict[str, float]:
    """The study's own figures that do not depend on a result."""
    record, forecast_s = study.record, study.forecast.search_s
    own = study.frame.of([study.run.run_id]).trials
    stopped = own["status"] == "KILLED"
    found = {
        "trials": len(own),
        "stopped": stopped.sum(),
        "failed": (own["status"] == "FAILED").sum(),
        "restarts": record.restarts,
        "diverged": own["diverged"].sum(),
        "search_time_s": record.search_s,
        "forecast_time_s": forecast_s,
        "elapsed_s": time.time() - study.run.start,
        f"baseline_{record.score}": fmean(study.plan.baseline),
    }
    # The full time is unknown if the search or one of its trials was interrupted or cut short.
    whole = not record.is_continued and len(own) == record.planned and not stopped.any()
    if whole and record.search_s > 0:
        found["forecast_error_percent"] = (forecast_s / record.search_s - 1) * 100
    if record.limits.rules:
        found["feasible"] = (own["feasible"].eq(True) & (own["repeat"] == 0)).sum()
        found["skipped"] = (own["stop_how"] == "skipped").sum()
    saving = limits_saved.saving(study.frame, study.run.run_id) if of_trials(record.limits).rules else None
    if saving:
        units = ("cpu_s", "wall_s", "cpu_percent", "wall_percent")
        names = ["spent_cpu_s", "spent_wall_s", *(f"saved_{unit}" for unit in units)]
        found |= {name: getattr(saving, name) for name in names}
    return {name: float(number) for name, number in found.items()}


def tell(study: Summary, model: LoggedModel, command: Mapping[str, float]) -> str:
    """Leave the study's metrics, best trial and page in its run; return what to print.

    Args:
        study: with a result.
        model: its model.
        command: what the whole command has cost until now, as far as that is known.
    """
    best = study.best
    assert best is not None
    mlflow.log_metrics(metrics(study) | dict(command), step=0)
    mlflow.set_tag(BEST_TRIAL_RUN_ID, str(best.run_id))
    frame = study.known(**command, model=model.uri, model_run_id=best.run_id).frame
    links = save_pages(study.run, study.plan, study.record, frame)
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
    opening = how_to_open(links[views.SCORE], mlflow.get_tracking_uri())
    judge = "".join(f"\n{line}" for line in _not_judged(study, model)).replace("`", "").replace("**", "")
    return f"\n{said}{judge}\nCompare all trials in the MLflow UI:\n{opening}\n"


def tell_no_result(study: Summary, command: Mapping[str, float]) -> str:
    """Leave what is known of a study that has no model to choose, and return why in one sentence."""
    mlflow.log_metrics(metrics(study) | dict(command), step=0)
    why = f"{decision.why_none(study.frame, study.decision)}; {counts.counted(study.frame)}{_advice(study)}"
    links = save_pages(study.run, study.plan, study.record, study.frame)
    saved = limits_saved.answer(study.frame).sentences if study.record.limits.rules else ()
    said = "\n".join(f"- {sentence}" for sentence in saved)
    note = f"**No model was chosen**: {why}.\n\nCompare its trials: {_in_markdown(links)}.\n\n{said}"
    study.run.client.set_tag(study.run.run_id, NOTE, note)
    return why


def _tell_trials(study: Summary) -> None:
    """Tell the runs of trials: each knew only the earlier ones, and none knew what its model costs as served."""
    limits = study.record.limits
    if not any(isinstance(limit, RelativeLimit) or limit.metric.name in SERVED for limit in limits.bounds):
        return
    for _, trial in study.frame.ended.dropna(subset=["run_id"]).iterrows():
        is_within = "unknown" if trial["feasible"] is None else str(trial["feasible"]).lower()
        study.run.client.set_tag(trial["run_id"], FEASIBLE, is_within)


def _log_tables(study: Summary) -> None:
    rows: list[dict[str, Any]] = []
    for trial in study.record.trials.values():
        row = trial.row()
        about = {name: row[name] for name in OF_TRIAL}
        rows.append(about | trial.configuration.searched | study.plan.settings.shared | trial.figures)
    tables: dict[str, list[Any]] = {"trials.json": rows}
    for file, table in (
        ("folds.json", study.frame.folds.drop(columns="study")),
        ("noise.json", effects.noise_table(study.frame)),
    ):
        if len(table):
            tables[file] = table.to_dict("records")
    log_tables(study.run.client, study.run.run_id, tables)


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
            if limits_saved.is_on_one_machine(frame, own.study, run.info.run_id):
                return frame
            elsewhere = elsewhere or frame
    return elsewhere


def _priced(study: Summary) -> Frame:
    """With what each trial would have cost by the forecast.

    It is scaled to what trials that ran to their end have taken: of CPU, too, where it is of the wall time.
    """
    seconds = study.forecast.trials_s
    ran = [trial.configuration for trial in study.record.trials.values()]
    by_number = {configuration.number: seconds[configuration.id] for configuration in ran}
    trials = study.frame.trials
    full_s = trials["number"].map(by_number).astype(float)
    took = limits_saved.seconds(trials)[trials.index.isin(study.frame.ended.index) & full_s.notna()]
    scales = took.sum() / full_s[took.index].sum() if len(took) else (1.0, 1.0)
    columns = {name: full_s * scale for name, scale in zip(limits_saved.FORECASTS, scales, strict=True)}
    return replace(study.frame, trials=trials.assign(**columns))


def _not_judged(study: Summary, model: LoggedModel) -> Sequence[str]:
    """What to do about limits of which is not known whether the served model meets them."""
    if not study.not_judged:
        return []
    command = f'mlflow-sysmetrics served {model.uri} --limits "{of_served(study.record.limits)}"'
    return [f"**Judge it on a quiet machine** with `{command}`: {'; '.join(study.not_judged)}."]


def _advice(study: Summary) -> str:
    """What to do where no trial can be chosen, as the end of a sentence."""
    own = study.frame.of([study.run.run_id]).trials
    errors = [trial.error for trial in study.record.trials.values() if trial.error]
    cut = (own["stopped_by"] == BY_TIME_LIMIT).any() or len(own) < study.record.planned
    if cut and study.plan.settings.time_limit_s:
        return "; raise time_limit_s, or shorten the trials with length, max_rows or folds"
    if study.decision.judged["broken"].notna().any():
        return ""  # the decision says what to do
    if errors:
        return f"; the first error was {errors[0]}"
    if (own["status"].eq("FINISHED") & ~own["diverged"] & own[study.record.score].isna()).any():
        return f"; use another metric than {study.record.score.removeprefix('val_')}"
    by_limits = (own["stopped_by"] == BY_LIMITS) & ~own["diverged"]
    return "; loosen the limits" if by_limits.any() else "; lower the learning rates or length"


def _in_markdown(links: Mapping[str, str]) -> str:
    return " · ".join(f"[{said}]({links[page]})" for page, said in PAGES.items() if page in links)
