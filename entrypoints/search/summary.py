"""A study after its search: its result, tables and figures, and what it says of them, in its run and on a terminal."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import mlflow
import pandas as pd
from mlflow import MlflowClient

from entrypoints import views
from entrypoints.datasets.sysmetrics_raw_rows import PREDICT_METHOD, PREDICT_PROBA
from entrypoints.errors import UserError
from entrypoints.frame import Frame, StudyRows, frame_of, level
from entrypoints.limits.costs import SERVED, of_served, of_trials
from entrypoints.limits.grammar import Limits, RelativeLimit
from entrypoints.limits.judging import resolved
from entrypoints.limits.noise import is_memory
from entrypoints.links import how_to_open, run_view
from entrypoints.mlflow_io import log_tables, search_runs
from entrypoints.models.trial_record import Trial
from entrypoints.reading import IMPORTANCE, rows_of
from entrypoints.reporting.answer import Answer
from entrypoints.reporting.paired import differing_hosts
from entrypoints.reporting.questions import decision, effects, expected_score, importance, limits_saved, pareto
from entrypoints.reporting.questions.expected_score import MIN_FOLDS, Expected
from entrypoints.reporting.words import digits, percent, value, within
from entrypoints.runs import RecordedRun
from entrypoints.search import edges
from entrypoints.search.pages import save_pages
from entrypoints.search.plan import Plan, study_key
from entrypoints.search.record import Record
from entrypoints.search.warm_up import Forecast
from entrypoints.tags import BEST_TRIAL_RUN_ID, BY_TIME_LIMIT, FEASIBLE, NO_INTERVAL, NOTE, STUDY_KEY, STUDY_LIMITS
from entrypoints.text import listed
from mlflow_sysmetrics.limits import Limit
from mlflow_sysmetrics.tags import BY_LIMITS, BY_PERSON, BY_TUNE

if TYPE_CHECKING:
    from entrypoints.models.best_model import BestModel, LoggedModel

TOP = 5
FIGURE = "figures/importance.png"
SHOWN = ("training_time_s", "mean_step_time_ms", "peak_memory_mb", "mean_cpu_percent", "inference_latency_ms")
# What a trial has in trials.json beside its configuration and every figure outside ``system/``.
OF_TRIAL = ("trial_id", "run_id", "status", "diverged", "number", "repeat")
MOSTLY = 0.5  # of the trials
BY_CHANCE_PERCENT = 25.0  # by so much the CPU times of two equal commands may differ that did not run side by side
COMMAND_CPU, COMMAND_ELAPSED = "command_cpu_seconds", "command_elapsed_s"
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
        frame: of the study alone.
        noise: of ``effects.noise``.
        decision: which trial to take.
        saving: what its limits saved; None without limits.
        hosts: the machines, where the full study that a saving is counted against ran on another one; else empty.
        not_judged: the limits on the served model of the result of which is not known whether it meets them, and why.
    """

    run: RecordedRun
    plan: Plan
    record: Record
    forecast: Forecast
    frame: Frame
    noise: pd.DataFrame
    decision: decision.Decision
    saving: limits_saved.Saving | None = None
    hosts: str = ""
    not_judged: tuple[str, ...] = ()

    def without_result(self) -> Summary:
        """The same, where no trial of those that may meet the limits does."""
        none = replace(self.decision, case=decision.Case.NONE_MEETS_LIMITS, best=None, cheapest=None)
        return replace(self, decision=none)

    @property
    def best(self) -> Trial | None:
        """The trial whose configuration is the result."""
        chosen = self.decision.chosen
        return None if chosen is None else self.record.trials[chosen["trial_id"]]

    @property
    def baseline(self) -> float:
        """The score of a model that ignores all features."""
        return fmean(self.plan.baseline)

    @property
    def test_score(self) -> str:
        """The score on the test part, as a metric is called."""
        return self.record.score.replace("val_", "test_")


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
        "seed": settings.seed,
        "leak": leak or None,
        "adaptive": plan.learns or plan.scheduler != "none",
    }

    def decided() -> Summary:
        frame = frame_of([record.rows(run.run_id, about, plan.trials)])
        noise = effects.noise(frame)
        return Summary(run, plan, record, forecast, frame, noise, decision.decide(frame, noise=noise))

    study = choose(decided)
    own, frame = record.rows(run.run_id, about, plan.trials), study.frame
    # Each trial knew only the earlier ones, and none knew what its model costs as served.
    if any(isinstance(limit, RelativeLimit) or limit.metric.name in SERVED for limit in limits.bounds):
        for _, trial in frame.ended.dropna(subset=["run_id"]).iterrows():
            is_within = "unknown" if trial["feasible"] is None else str(trial["feasible"]).lower()
            run.client.set_tag(trial["run_id"], FEASIBLE, is_within)
    if of_trials(limits).rules:
        beside = _beside_full(run.client, own)
        saving = limits_saved.saving(_priced(study) if beside is None else beside, run.run_id)
        study = replace(study, saving=saving, hosts="" if beside is None else _other_hosts(beside))
    _log_tables(study)
    return study


def with_expected(study: Summary, refitted: BestModel) -> tuple[Summary, BestModel]:
    """With what the refitted model is expected to reach on other rows: figures of the model; or why that is not known.

    Args:
        study: with a result.
        refitted: its model.
    """
    chosen, split, score = study.decision.chosen, study.plan.split, study.plan.score
    assert chosen is not None
    share = len(split.train) / (len(split.train) + len(split.test))
    found = expected_score.expected(study.frame, study.noise, chosen, refitted.test, share)
    why_none = _no_interval(study, refitted, found)
    about: dict[str, Any] = {"test": refitted.test.value}
    if found is None or why_none:
        study.run.client.set_tag(study.run.run_id, NO_INTERVAL, why_none)
        about["no_interval"] = why_none
    else:
        about["expected"] = found.score.value
        about["expected_low"] = score.bounded(found.score.low)
        about["expected_high"] = score.bounded(found.score.high)
        about["left_out"] = found.left_out
        figures = {
            f"expected_{score.name}": about["expected"],
            f"expected_{score.name}_low": about["expected_low"],
            f"expected_{score.name}_high": about["expected_high"],
            f"left_out_{score.name}": found.left_out,
        }
        refitted = replace(refitted, figures=refitted.figures | figures)
    return replace(study, frame=replace(study.frame, studies=study.frame.studies.assign(**about))), refitted


def _no_interval(study: Summary, refitted: BestModel, found: Expected | None) -> str:
    """Why what to expect on other rows is not known; else empty."""
    if refitted.test.why_unknown:
        return refitted.test.why_unknown
    if found is not None:
        return ""
    if len(study.plan.split.folds) < MIN_FOLDS:
        return f"it takes {MIN_FOLDS} folds"
    return "without one of the folds no trial would be chosen"


def with_importance(study: Summary, columns: list[dict[str, Any]]) -> Summary:
    """With what each column is worth to the model, which is left in its run."""
    if not columns:
        return study
    log_tables(study.run.client, study.run.run_id, {IMPORTANCE: columns})
    table: pd.DataFrame = pd.DataFrame(columns).assign(study=study.run.run_id)
    return replace(study, frame=replace(study.frame, importance=table))


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


def _log_tables(study: Summary) -> None:
    frame = study.frame
    trials = []
    for trial in study.record.trials.values():
        row = trial.row()
        about = {name: row[name] for name in OF_TRIAL}
        trials.append(about | trial.configuration.searched | study.plan.settings.shared | trial.figures)
    tables = {"folds.json": frame.folds.drop(columns="study"), "noise.json": study.noise}
    if study.saving:
        within = frame.trials[frame.trials["feasible"].ne(False)]
        of = replace(frame, trials=within) if len(within) else frame
        tables["pareto.json"] = pareto.front(of, decision.least_differences(frame, study.noise))
        tables["budget.json"] = study.saving.reasons.assign(counted_against=study.saving.full or "forecast")
    rows: dict[str, list[Any]] = {"trials.json": trials}
    rows |= {file: table.to_dict("records") for file, table in tables.items() if len(table)}
    log_tables(study.run.client, study.run.run_id, rows)


def metrics(study: Summary) -> dict[str, float]:
    """The study's own figures that do not depend on a result."""
    record, trials, saving, forecast_s = study.record, study.frame.trials, study.saving, study.forecast.search_s
    stopped = trials["status"] == "KILLED"
    found = {
        "trials": len(trials),
        "stopped": stopped.sum(),
        "failed": (trials["status"] == "FAILED").sum(),
        "restarts": record.restarts,
        "diverged": trials["diverged"].sum(),
        "search_time_s": record.search_s,
        "forecast_time_s": forecast_s,
        "elapsed_s": time.time() - study.run.start,
        f"baseline_{record.score}": study.baseline,
    }
    # The full time is unknown if the search or one of its trials was interrupted or cut short.
    whole = not record.is_continued and len(trials) == record.planned and not stopped.any()
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


def tell(study: Summary, model: LoggedModel, command: Mapping[str, float]) -> str:
    """Leave the study's metrics, best trial and description in its run; return what to print.

    Args:
        study: with a result.
        model: its model.
        command: what the whole command has cost until now, as far as that is known.
    """
    best, links = study.best, save_pages(study.run, study.plan, study.record, study.frame)
    assert best is not None
    known = study.frame.studies.assign(model=model.uri, model_run_id=best.run_id)
    take, *others = decision.answer(replace(study.frame, studies=known), study.decision).sentences
    columns = importance.answer(study.frame)
    sentences = [
        take,
        *_not_judged(study, model),
        *_spoilt(study, best, model),
        *others,
        *_probabilities(study, model),
        f"{counted(study)}.",
        *of_limits(study, command),
        *edges.sentences(study.frame, study.decision, study.plan.settings.space, study.plan.split.max_batch_size),
        _refitted(study, model),
        *_gained(study, best, model),
        *columns.sentences,
    ]
    mlflow.log_metrics(metrics(study) | dict(command), step=0)
    mlflow.set_tags({BEST_TRIAL_RUN_ID: str(best.run_id), NOTE: _description(study, best, sentences, links, columns)})
    return _closing(study, sentences, links)


def tell_no_result(study: Summary, command: Mapping[str, float]) -> str:
    """Leave what is known of a study that has no model to choose, and return why in one sentence."""
    mlflow.log_metrics(metrics(study) | dict(command), step=0)
    why = f"{decision.why_none(study.frame, study.decision)}; {counted(study)}{_advice(study)}"
    said = "\n".join(f"- {sentence}" for sentence in of_limits(study, command))
    links = save_pages(study.run, study.plan, study.record, study.frame)
    note = f"**No model was chosen**: {why}.\n\nCompare its trials: {_in_markdown(links)}.\n\n{said}"
    study.run.client.set_tag(study.run.run_id, NOTE, note)
    return why


def counted(study: Summary) -> str:
    """What became of the trials, in counts that add up."""
    record, trials, limit_s = study.record, study.frame.trials, study.plan.settings.time_limit_s or 0.0
    became = trials["stopped_by"].where(trials["stopped_by"].notna(), trials["status"])
    became = became.mask(trials["diverged"], "diverged").mask(_unscored(study), "unscored")
    words = {
        "FINISHED": "ran to the end",
        BY_LIMITS: "stopped by the limits",
        BY_TUNE: "stopped by the scheduler",
        BY_PERSON: "stopped by a person",
        BY_TIME_LIMIT: f"cut off by time_limit_s={limit_s:g}",
        "diverged": f"diverged{_in_common(study.frame, trials[trials['diverged']])}",
        "unscored": f"have no score, since {record.score} is not defined for their predictions",
        "FAILED": "failed",
        "not started": "not started",
    }
    counts = became.value_counts().to_dict() | {"not started": record.planned - len(trials)}
    trial = "trial" if record.planned == 1 else "trials"
    said = f"{record.planned} {trial}: {', '.join(f'{counts[end]} {words[end]}' for end in words if counts.get(end))}"
    again = f"; {record.restarts} times a trial began again because its process or node had died"
    return said + (again if record.restarts else "")


def _unscored(study: Summary) -> pd.Series[bool]:
    """Which trials ran to their end without a score that is defined."""
    trials = study.frame.trials
    return (trials["status"] == "FINISHED") & ~trials["diverged"] & trials[study.record.score].isna()


def _in_common(frame: Frame, trials: pd.DataFrame) -> str:
    """Which trials these are, in brackets: what all have in common, or else the names of some."""
    alike = [name for name in frame.hyperparameters if trials[name].nunique(dropna=False) == 1]
    if not alike or len(trials) < 2:
        return f" ({listed(trials['name'], 3)})"
    return f" (all with {', '.join(f'{name} {trials[name].iloc[0]}' for name in alike)})"


def _advice(study: Summary) -> str:
    """What to do where no trial can be chosen, as the end of a sentence."""
    trials = study.frame.trials
    errors = [trial.error for trial in study.record.trials.values() if trial.error]
    cut = (trials["stopped_by"] == BY_TIME_LIMIT).any() or len(trials) < study.record.planned
    if cut and study.plan.settings.time_limit_s:
        return "; raise time_limit_s, or shorten the trials with length, max_rows or folds"
    if study.decision.judged["broken"].notna().any():
        return ""  # the decision says what to do
    if errors:
        return f"; the first error was {errors[0]}"
    if _unscored(study).any():
        return f"; use another metric than {study.record.score.removeprefix('val_')}"
    by_limits = (trials["stopped_by"] == BY_LIMITS) & ~trials["diverged"]
    return "; loosen the limits" if by_limits.any() else "; lower the learning rates or length"


def _description(
    study: Summary, best: Trial, sentences: Sequence[str], links: Mapping[str, str], columns: Answer
) -> str:
    """The study's page in the UI; its first lines, the result and the links, are seen before it is unfolded."""
    experiment_id = study.run.experiment_id
    take, *others = sentences
    lines = [
        take,
        f"Compare the trials: {_in_markdown(links)}.",
        "",
        *(f"- {sentence}" for sentence in others),
        "",
        f"Open next: [the best trial]({run_view(experiment_id, best.run_id)}), or",
        f"[what its process did]({run_view(experiment_id, best.run_id, 'system-metrics')}).",
    ]
    if columns.draw is not None:
        mlflow.log_figure(columns.draw(), FIGURE)
        figure = f"![{columns.name}](get-artifact?path={quote(FIGURE, safe='')}&run_uuid={study.run.run_id})"
        lines += ["", "### Which columns matter", "", figure, "", importance.in_markdown(columns.table)]
    return "\n".join(lines)


def _in_markdown(links: Mapping[str, str]) -> str:
    return " · ".join(f"[{said}]({links[page]})" for page, said in PAGES.items() if page in links)


def _closing(study: Summary, sentences: Sequence[str], links: Mapping[str, str]) -> str:
    """The end of the command's output: the best trials, what is said of them, and how to look at all of them."""
    ranked = _ranked(study).head(TOP)
    ranked.index = pd.RangeIndex(1, len(ranked) + 1)
    figures = {name: partial(value, name) for name in (study.record.score, *SHOWN) if name in ranked}
    chosen = ranked[[*study.frame.hyperparameters]].map(lambda each: "-" if pd.isna(each) else level(each))
    table = pd.concat([chosen, ranked[[*figures]]], axis=1).to_string(formatters=figures, na_rep="-")
    said = [re.sub(r"\*\*|`", "", sentence) for sentence in sentences]
    opening = how_to_open(links[views.SCORE], mlflow.get_tracking_uri())
    return "\n".join(["", table, "", *said, "Compare all trials in the MLflow UI:", opening, ""])


def _ranked(study: Summary) -> pd.DataFrame:
    """The trials that can be chosen: the chosen one, then the best."""
    complete, chosen = study.frame.complete, study.decision.chosen
    able = complete[complete["feasible"].ne(False)] if study.record.limits.rules else complete
    return able if chosen is None else able.loc[[chosen.name, *able.index.drop([chosen.name])]]


def _refitted(study: Summary, model: LoggedModel) -> str:
    """The score of the logged model, what training it alone took, and its latency."""
    figures = model.figures
    test = study.test_score
    score = digits(figures[test])
    if f"{test}_low" in figures:
        middle, ends = within(figures[test], figures[f"{test}_low"], figures[f"{test}_high"])
        score = f"{middle} ({ends} by its rows alone)"
    training_s = value("training_time_s", figures["refit_training_time_s"])
    latency_ms = value("inference_latency_ms", figures["refit_latency_ms"])
    memory = ""
    if "refit_memory_growth_mb" in figures:
        memory = f", which took {value('memory_growth_mb', figures['refit_memory_growth_mb'])} MB of memory"
    latency = "" if "served_cpu_ms" in figures else f"; it predicts a row of a DataFrame in {latency_ms} ms"
    return f"Refitted on the whole training part it has {test} {score}, trained in {training_s} s{memory}{latency}."


def _gained(study: Summary, best: Trial, model: LoggedModel) -> Iterator[str]:
    """What tuning gained over the library's defaults, where it has some and the rows of the test part tell."""
    name = study.plan.score.name
    gain, low, high = (model.figures.get(f"gain_{name}{end}", math.nan) for end in ("", "_low", "_high"))
    if math.isnan(gain):
        return
    defaults = f"{best.configuration.algorithm} with its library's defaults"
    middle, ends = within(gain, low, high)
    if low > 0:
        yield f"On the test part it is better than {defaults} by {middle} ({ends}) in `{name}`."
    elif high < 0:
        middle, ends = within(-gain, -high, -low)
        yield f"**On the test part it is worse** than {defaults} by {middle} ({ends}) in `{name}`."
    else:
        yield (
            f"It is no better than {defaults} beyond noise ({middle}; {ends} in `{name}`): tuning gained nothing that "
            "these rows can show."
        )


def _probabilities(study: Summary, model: LoggedModel) -> Iterator[str]:
    """How to ask for probabilities, where they were what the score ranked models by."""
    if model.has_probabilities and PREDICT_PROBA in study.plan.score.needs:
        params = f'params={{"{PREDICT_METHOD}": "{PREDICT_PROBA}"}}'
        yield f"For the probabilities of classes: `.predict(rows, {params})`; served, too (docs/table.md)."


def _not_judged(study: Summary, model: LoggedModel) -> Iterator[str]:
    """What to do about limits of which is not known whether the served model meets them."""
    if study.not_judged:
        command = f'mlflow-sysmetrics served {model.uri} --limits "{of_served(study.record.limits)}"'
        yield f"**Judge it on a quiet machine** with `{command}`: {'; '.join(study.not_judged)}."


def _spoilt(study: Summary, best: Trial, model: LoggedModel) -> Iterator[str]:
    """A warning where the logged model is no better than the baseline, although those of the folds are."""
    name = study.test_score
    sign = 1 if study.record.higher_is_better else -1
    refitted, of_folds = model.figures[name], best.figures.get(name, math.nan)
    if sign * refitted <= sign * study.baseline < sign * of_folds:
        yield (
            "**Do not use the logged model**: trained on the whole training part it has "
            f"{name} {value(name, refitted)}, no better than the baseline ({value(name, study.baseline)}), while the "
            f"models of the folds have {value(name, of_folds)}; leave this configuration out."
        )


def of_limits(study: Summary, command: Mapping[str, float]) -> Iterator[str]:
    """What the limits saved, which of them were not applied, and which cannot tell trials apart."""
    limits = study.record.limits
    if study.saving:
        yield from limits_saved.sentences_of(study.saving, str(limits))
        yield from _of_command(study, command)
    if study.hosts:
        yield f"The full study ran on other machines ({study.hosts}): part of the saving may be theirs."
    finished = study.record.costs
    for limit in limits.bounds:
        acting = resolved(Limits((limit,)), finished).bounds
        if isinstance(limit, RelativeLimit) and not acting:
            yield f"`{limit}` was not applied in the end: fewer than {limit.after} trials have the figure."
            continue
        noise = _noise_at(study, acting[0])
        if noise:
            yield f"`{limit}` cannot tell the trials apart: most are within noise ({noise}) of it."


def _of_command(study: Summary, command: Mapping[str, float]) -> Iterator[str]:
    """What the whole command took, beside that of the full study where this has run on the same machine."""
    if COMMAND_CPU not in command:
        return
    full = study.saving.full if study.saving else None
    of_full = {} if full is None or study.hosts else study.run.client.get_run(full).data.metrics
    cpu, elapsed = (f"{digits(command[name], 2)} s" for name in (COMMAND_CPU, COMMAND_ELAPSED))
    cpu += " of CPU time"
    if COMMAND_CPU in of_full:
        cpu += f" in place of {digits(of_full[COMMAND_CPU], 2)} s"
        elapsed += f" in place of {digits(of_full[COMMAND_ELAPSED], 2)} s"
        less = 100 * (1 - command[COMMAND_CPU] / of_full[COMMAND_CPU])
        cpu += f" ({percent(less)} less)" if less > BY_CHANCE_PERCENT else ""
    yield f"The whole command, with its start, Ray and the refit, took {cpu}, and by the clock {elapsed}."


def _noise_at(study: Summary, limit: Limit) -> str:
    """The noise at a limit, in words, if most trials are so near that chance says which meet it; else empty."""
    name, number, ended = limit.metric.name, limit.number, study.frame.ended
    noise = decision.noise_at(study.frame, study.noise).get(name, 0.0)
    if not noise:
        return ""
    band, words = noise, digits(noise, 2)
    if name != study.frame.score:
        band *= float(ended[name].mean()) if is_memory(name) else abs(number)
        words = percent(100 * noise)
    told_apart = (study.frame.trials["stop_metric"] == name).sum()
    near = (ended[name] - number).abs() <= band
    is_most = near.sum() > MOSTLY * (ended[name].notna().sum() + told_apart)
    return words if is_most else ""
