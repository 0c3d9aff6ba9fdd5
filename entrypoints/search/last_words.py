"""What a study says at its end, in its run and on the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

import mlflow
import pandas as pd

from entrypoints import views
from entrypoints.frame import Frame, level
from entrypoints.limits.judging import resolved
from entrypoints.limits.noise import is_memory
from entrypoints.links import how_to_open, run_view
from entrypoints.reporting.questions import decision, limits_saved
from entrypoints.reporting.words import digits, percent, value
from entrypoints.search import edges
from entrypoints.search.ended import Ended, metrics
from entrypoints.search.pages import save_pages
from entrypoints.tags import BEST_TRIAL_RUN_ID, BY_TIME_LIMIT
from entrypoints.text import listed
from mlflow_sysmetrics.limits import Limit, Limits
from mlflow_sysmetrics.tags import BY_LIMITS, BY_PERSON, BY_TUNE

if TYPE_CHECKING:
    from entrypoints.models.best_model import LoggedModel

TOP = 5
SHOWN = ("training_time_s", "mean_step_time_ms", "peak_memory_mb", "mean_cpu_percent", "inference_latency_ms")
MOSTLY = 0.5  # of the trials
NOTE = "mlflow.note.content"
PAGES = {
    views.SCORE: "score against cost",
    views.TABLE: "table",
    views.TRAINING: "during training",
    views.LIMITS: "who met the limits",
    views.STOPPED: "what was stopped, and why",
    views.STUDIES: "all studies",
}


def tell(study: Ended, model: LoggedModel) -> str:
    """Leave the study's metrics, best trial and description in its run; return the last words on the terminal."""
    best, links = study.best, _pages(study)
    assert best is not None
    known = study.frame.studies.assign(model=model.uri, model_run_id=best.run_id)
    take, *others = decision.answer(replace(study.frame, studies=known)).sentences
    sentences = [
        take,
        *_spoilt(study, model),
        *others,
        f"{counted(study)}.",
        *_of_limits(study),
        *edges.sentences(study.frame, study.decision, study.plan.settings.space, study.data.split.max_batch_size),
        _refitted(study, model),
    ]
    mlflow.log_metrics(metrics(study), step=0)
    mlflow.set_tags(
        {
            BEST_TRIAL_RUN_ID: str(best.run_id),
            NOTE: _description(study, sentences, links),
        }
    )
    return _closing(study, sentences, links)


def tell_no_result(study: Ended) -> str:
    """Leave what is known of a study that has no model to choose, and return why in one sentence."""
    mlflow.log_metrics(metrics(study), step=0)
    why = f"{study.decision.nothing}; {counted(study)}{_advice(study)}"
    said = "\n".join(f"- {sentence}" for sentence in _of_limits(study))
    note = f"**No model was chosen**: {why}.\n\nCompare its trials: {_in_markdown(_pages(study))}.\n\n{said}"
    study.run.client.set_tag(study.run.run_id, NOTE, note)
    return why


def counted(study: Ended) -> str:
    """What became of the trials, in counts that add up."""
    record, trials, limit_s = study.record, study.frame.trials, study.plan.settings.time_limit_s or 0.0
    became = trials["stopped_by"].where(trials["stopped_by"].notna(), trials["status"])
    became = became.mask(trials["diverged"], "diverged").mask(_unscored(study), "unscored")
    converged = int((trials["converged"] & (became == "FINISHED")).sum())
    words = {
        "FINISHED": f"ran to the end{f' ({converged} of them converged)' if converged else ''}",
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


def _unscored(study: Ended) -> pd.Series[bool]:
    """Which trials ran to their end without a score that is defined."""
    trials = study.frame.trials
    missing = trials[study.record.score].isna() if study.record.score in trials else True
    return (trials["status"] == "FINISHED") & ~trials["diverged"] & missing


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
    cut = (trials["stopped_by"] == BY_TIME_LIMIT).any() or len(trials) < study.record.planned
    if cut and study.plan.settings.time_limit_s:
        return "; raise time_limit_s, or shorten the trials with max_steps, max_epochs, max_rows or folds"
    if study.decision.judged["broken"].notna().any():
        return ""  # the decision says what to do
    if errors:
        return f"; the first error was {errors[0]}"
    if _unscored(study).any():
        return f"; use another metric than {study.record.score.removeprefix('val_')}"
    by_limits = (trials["stopped_by"] == BY_LIMITS) & ~trials["diverged"]
    return "; loosen the limits" if by_limits.any() else "; lower the learning rates or max_steps"


def _description(study: Ended, sentences: Sequence[str], links: Mapping[str, str]) -> str:
    """The study's page in the UI; its first lines, the result and the links, are seen before it is unfolded."""
    experiment_id, best = study.run.experiment_id, study.best.run_id if study.best else None
    take, *others = sentences
    lines = [
        take,
        f"Compare the trials: {_in_markdown(links)}.",
        "",
        *(f"- {sentence}" for sentence in others),
        "",
        f"Open next: [the best trial]({run_view(experiment_id, best)}), or",
        f"[what its process did]({run_view(experiment_id, best, 'system-metrics')}).",
    ]
    return "\n".join(lines)


def _pages(study: Ended) -> dict[str, str]:
    return save_pages(study.run, study.plan, study.record, study.frame)


def _in_markdown(links: Mapping[str, str]) -> str:
    return " · ".join(f"[{said}]({links[page]})" for page, said in PAGES.items() if page in links)


def _closing(study: Ended, sentences: Sequence[str], links: Mapping[str, str]) -> str:
    """The end of the command's output: the best trials, what is said of them, and how to look at all of them."""
    ranked = _ranked(study).head(TOP)
    ranked.index = pd.RangeIndex(1, len(ranked) + 1)
    figures = {name: partial(value, name) for name in (study.record.score, *SHOWN) if name in ranked}
    chosen = ranked[[*study.frame.hyperparameters]].map(lambda each: "-" if pd.isna(each) else level(each))
    table = pd.concat([chosen, ranked[[*figures]]], axis=1).to_string(formatters=figures, na_rep="-")
    said = [re.sub(r"\*\*|`", "", sentence) for sentence in sentences]
    opening = how_to_open(links[views.SCORE], mlflow.get_tracking_uri())
    return "\n".join(["", table, "", *said, "Compare all trials in the MLflow UI:", opening, ""])


def _ranked(study: Ended) -> pd.DataFrame:
    """The trials that can be chosen: the chosen one, then the best."""
    complete, chosen = study.frame.complete, study.decision.chosen
    able = complete[complete["feasible"].eq(True)] if study.record.limits.rules else complete
    return able if chosen is None else able.loc[[chosen.name, *able.index.drop([chosen.name])]]


def _refitted(study: Ended, model: LoggedModel) -> str:
    """The score of the logged model, what training it alone took, and its latency."""
    score, figures = study.record.score.replace("val_", "test_"), model.figures
    growth_mb = figures.get("refit_memory_growth_mb")
    memory = "" if growth_mb is None else f" with {value('memory_growth_mb', growth_mb)} MB"
    training_s = value("training_time_s", figures["refit_training_time_s"])
    latency_ms = value("inference_latency_ms", figures["refit_latency_ms"])
    return (
        f"Refitted on the whole training part it has {score} {value(score, figures[score])}, trained in "
        f"{training_s} s{memory}; it predicts a row of a DataFrame in {latency_ms} ms."
    )


def _spoilt(study: Ended, model: LoggedModel) -> Iterator[str]:
    """A warning where the logged model is no better than the baseline, although those of the folds are."""
    name = study.record.score.replace("val_", "test_")
    baseline = fmean(study.plan.baseline)
    sign = 1 if study.plan.score.higher_is_better else -1
    refitted = model.figures[name]
    assert study.best is not None
    of_folds = study.best.figures.get(name, math.nan)
    if sign * refitted <= sign * baseline < sign * of_folds:
        yield (
            "**Do not use the logged model**: trained on the whole training part it has "
            f"{name} {value(name, refitted)}, no better than the baseline ({value(name, baseline)}), while the models "
            f"of the folds have {value(name, of_folds)}; leave this configuration out."
        )


def _of_limits(study: Ended) -> Iterator[str]:
    """What the limits saved, which of them were not applied, and which cannot tell trials apart."""
    limits = study.record.limits
    if study.saving:
        yield from limits_saved.sentences_of(study.saving, str(limits))
    if study.hosts:
        yield f"The full study ran on other machines ({study.hosts}): part of the saving may be theirs."
    finished = study.record.costs
    for limit in limits.bounds:
        acting = resolved(Limits((limit,)), finished).bounds
        if not acting:
            yield f"`{limit}` was not applied in the end: fewer than {limit.after} trials have the figure."
            continue
        noise = _noise_at(study, acting[0])
        if noise:
            yield f"`{limit}` cannot tell the trials apart: most are within noise ({noise}) of it."


def _noise_at(study: Ended, limit: Limit) -> str:
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
