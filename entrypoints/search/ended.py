"""A study after its search, asked with the questions of a report: its result, its tables, and what it says of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd

from entrypoints.datasets.prepared import Prepared
from entrypoints.frame import Frame, frame_of
from entrypoints.limits.costs import USUAL_NOISE
from entrypoints.limits.duration_forecast import Forecast
from entrypoints.limits.judging import Z
from entrypoints.limits.noise import MIN_DEGREES
from entrypoints.links import compare_view, how_to_open, run_view
from entrypoints.mlflow_io import log_tables
from entrypoints.reporting.questions import decision, effects, limits_saved, pareto
from entrypoints.reporting.words import value
from entrypoints.runs import RecordedRun
from entrypoints.search import edges
from entrypoints.search.full_study import beside_full, other_hosts, study_key
from entrypoints.search.pages import in_markdown
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record, TrialRecord, costs
from entrypoints.search_space import is_distribution
from entrypoints.settings import StudySettings
from entrypoints.tags import BEST_PREFIX, BEST_TRIAL_ID, BEST_TRIAL_RUN_ID, BY_TIME_LIMIT, FEASIBLE
from entrypoints.text import listed
from entrypoints.views import SCORE
from mlflow_sysmetrics.limits import Limit
from mlflow_sysmetrics.tags import BY_CRITERIA, BY_PERSON, BY_TUNE

if TYPE_CHECKING:
    from entrypoints.models.best_model import LoggedModel

TOP = 5
SHOWN = ("training_time_s", "mean_step_time_ms", "peak_memory_mb", "mean_cpu_percent", "inference_latency_ms")
MOSTLY = 0.5  # of the trials
NOTE = "mlflow.note.content"


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
    tables: dict[str, list[dict[str, Any]]] = {
        "trials.json": [_row(trial, study.settings) for trial in record.trials.values()],
        "folds.json": frame.folds.drop(columns="study").to_dict("records"),  # type: ignore[dict-item]
        "noise.json": study.noise.to_dict("records"),  # type: ignore[dict-item]
    }
    if record.criteria.rules:
        within = frame.trials[frame.trials["feasible"].eq(True)]
        of = replace(frame, trials=within) if len(within) else frame
        tables["pareto.json"] = pareto.front(of, decision.margins(frame, study.noise)).to_dict("records")  # type: ignore[assignment]
    if study.saving:
        against = study.saving.full or "forecast"
        tables["budget.json"] = study.saving.reasons.assign(counted_against=against).to_dict("records")  # type: ignore[assignment]
    log_tables(study.run.client, study.run.run_id, {file: rows for file, rows in tables.items() if rows})


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


def log_study(study: Ended, model: LoggedModel, links: Mapping[str, str]) -> str:
    """Leave the study's metrics, best trial and description in its run; return the last words on the terminal."""
    best = study.best
    assert best is not None
    known = study.frame.studies.assign(model=model.uri, model_run_id=best.run_id)
    take, *others = decision.answer(replace(study.frame, studies=known)).sentences
    others += [*_said(study), _refitted(study, model)]
    mlflow.log_metrics(metrics(study), step=0)
    mlflow.set_tags(
        {
            BEST_TRIAL_RUN_ID: str(best.run_id),
            BEST_TRIAL_ID: best.trial_id,
            **{f"{BEST_PREFIX}{key}": str(value) for key, value in best.configuration.searched.items()},
            NOTE: _description(study, take, others, links),
        }
    )
    return _closing(study, [take, *others], links)


def log_study_without_result(study: Ended, links: Mapping[str, str]) -> str:
    """Leave what is known of a study that has no model to choose, and return why in one sentence."""
    mlflow.log_metrics(metrics(study), step=0)
    why = f"{study.decision.nothing}; {counted(study)}{_advice(study)}"
    said = "\n".join(f"- {sentence}" for sentence in _of_limits(study))
    note = f"**No model was chosen**: {why}.\n\nCompare its trials: {in_markdown(links)}.\n\n{said}"
    study.run.client.set_tag(study.run.run_id, NOTE, note)
    return why


def counted(study: Ended) -> str:
    """What became of the trials, in counts that add up."""
    record, trials = study.record, study.frame.trials
    sound, by = ~trials["diverged"], trials["stopped_by"]
    ran = sound & (trials["status"] == "FINISHED")
    converged = (ran & trials["converged"]).sum()
    diverged = trials[~sound]
    counts = {
        f"ran to the end{f' ({converged} of them converged)' if converged else ''}": ran.sum(),
        "stopped by the limits": (sound & (by == BY_CRITERIA)).sum(),
        "stopped by the scheduler": (sound & (by == BY_TUNE)).sum(),
        "stopped by a person": (sound & (by == BY_PERSON)).sum(),
        f"cut off by time_limit_s={study.settings.time_limit_s or 0:g}": (sound & (by == BY_TIME_LIMIT)).sum(),
        f"diverged{_in_common(study.frame, diverged)}": len(diverged),
        "failed": (sound & (trials["status"] == "FAILED")).sum(),
        "not started": record.planned - len(trials),
    }
    said = f"{record.planned} trials: {', '.join(f'{count} {what}' for what, count in counts.items() if count)}"
    again = f"; {record.restarts} times a trial began again because its process or node had died"
    return said + (again if record.restarts else "")


def _in_common(frame: Frame, trials: pd.DataFrame) -> str:
    """Which trials these are, in brackets: what all have in common, or else the names of some."""
    alike = [
        f"{name} {trials[name].iloc[0]}" for name in frame.hyperparameters if trials[name].nunique(dropna=False) == 1
    ]
    if not alike or len(trials) < 2:
        return f" ({listed(trials['name'], 3)})"
    return f" (all with {', '.join(alike)})"


def _advice(study: Ended) -> str:
    """What to do where no trial can be chosen, as the end of a sentence."""
    trials = study.frame.trials
    errors = [trial.error for trial in study.record.trials.values() if trial.error]
    if (trials["stopped_by"] == BY_TIME_LIMIT).any() or len(trials) < study.record.planned:
        return "; raise time_limit_s, or shorten the trials with max_steps, max_epochs, max_rows or folds"
    if study.decision.judged["broken"].notna().any():
        return ""  # the decision says what to do
    if errors:
        return f"; the first error was {errors[0]}"
    by_limits = (trials["stopped_by"] == BY_CRITERIA) & ~trials["diverged"]
    return "; loosen the criteria" if by_limits.any() else "; lower the learning rates or max_steps"


def _description(study: Ended, take: str, others: Sequence[str], links: Mapping[str, str]) -> str:
    """The study's page in the UI; its first lines, the result and the links, are seen before it is unfolded."""
    experiment_id, best = study.run.experiment_id, str(study.decision.chosen["run_id"])  # type: ignore[index]
    top = [str(run_id) for run_id in _ranked(study)["run_id"].head(TOP)]
    lines = [
        take,
        f"Compare the trials: {in_markdown(links)}.",
        "",
        *(f"- {sentence}" for sentence in others),
        "",
        f"Open next: [the best trial]({run_view(experiment_id, best)}),",
        f"[what its process did]({run_view(experiment_id, best, 'system-metrics')}), or",
        f"[the {len(top)} best in parallel coordinates]({compare_view(experiment_id, top)}).",
    ]
    return "\n".join(lines)


def _closing(study: Ended, sentences: Sequence[str], links: Mapping[str, str]) -> str:
    """The end of the command's output: the best trials, what is said of them, and how to look at all of them."""
    ranked = _ranked(study).head(TOP)
    ranked.index = pd.RangeIndex(1, len(ranked) + 1)
    figures = {name: partial(value, name) for name in (study.record.score, *SHOWN) if name in ranked}
    table = ranked[[*study.frame.hyperparameters, *figures]].to_string(formatters=figures, na_rep="-")  # type: ignore[arg-type]
    said = [re.sub(r"\*\*|`", "", sentence) for sentence in sentences]
    opening = how_to_open(links[SCORE], mlflow.get_tracking_uri())
    return "\n".join(["", table, "", *said, "Compare all trials in the MLflow UI:", opening, ""])


def _said(study: Ended) -> Iterator[str]:
    """What became of the trials, what limits did, and where the search may have been too narrow."""
    yield f"{counted(study)}."
    yield from _of_limits(study)
    chosen, margin, space = study.decision.chosen, study.decision.margin, study.settings.space
    if chosen is not None and margin is not None:
        not_listed = {name for name, values in space.items() if is_distribution(values)}
        not_listed |= set() if "batch_size" in space else {"batch_size"}
        yield from edges.sentences(study.frame, chosen, margin, study.rows, not_listed)


def _refitted(study: Ended, model: LoggedModel) -> str:
    """The score of the logged model, and what training it alone took."""
    figures, score = model.figures, study.record.score.replace("val_", "test_")
    growth_mb = figures.get("refit_memory_growth_mb")
    memory = "" if growth_mb is None else f" with {growth_mb:.1f} MB"
    return (
        f"The model is refitted on the whole training part: {score} {value(score, figures[score])}, trained in "
        f"{figures['refit_training_time_s']:.2g} s{memory}."
    )


def _of_limits(study: Ended) -> Iterator[str]:
    """What the limits saved, which of them were not applied, and which cannot tell trials apart."""
    criteria, record = study.record.criteria, study.record
    if study.saving:
        yield from limits_saved.sentences_of(study.saving, str(criteria))
    if study.on_other_host:
        yield f"The full study ran on another machine ({study.on_other_host}): part of the saving may be the machine's."
    finished = costs(record.trials.values())
    for limit in criteria.limits:
        number = limit.resolve(finished)
        if number is None:
            few = sum(limit.metric.name in figures for figures in finished) < limit.after
            why = f"fewer than {limit.after} trials have the figure" if few else f"the {limit.statistic} is negative"
            yield f"`{limit}` was not applied in the end: {why}."
        elif _is_within_noise(study, limit, number):
            yield f"`{limit}` cannot tell the trials apart: most are as close to it as equal trials to each other."


def _is_within_noise(study: Ended, limit: Limit, number: float) -> bool:
    """Whether most trials are so near to a limit that it would stop none of them for certain."""
    name, ended = limit.metric.name, study.frame.ended
    known = study.noise[(study.noise["metric"] == name) & (study.noise["degrees_of_freedom"] >= MIN_DEGREES)]
    share = USUAL_NOISE.get(name, 0.0) if known.empty else known["noise"].iloc[0]
    band = Z * share * abs(number)
    if name not in ended or not band:
        return False
    endings = [trial.ending for trial in study.record.trials.values() if trial.ending]
    told_apart = sum(ending.stop.criterion == str(limit) for ending in endings)
    near = (ended[name] - number).abs() <= band
    return bool(near.sum() > MOSTLY * (ended[name].notna().sum() + told_apart))


def _ranked(study: Ended) -> pd.DataFrame:
    """The trials that can be chosen, the best first."""
    complete = study.frame.complete
    return complete[complete["feasible"].eq(True)] if study.record.criteria.rules else complete
