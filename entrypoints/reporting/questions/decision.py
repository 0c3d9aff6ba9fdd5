"""Which model to take, and what to expect of it; and what a cheaper or a better one would cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from entrypoints.frame import Frame, to_ten_digits
from entrypoints.limits.costs import SERVED, compared, of_served
from entrypoints.limits.noise import REPEATABILITY, SMALL, SMALL_MB, is_memory, noise_of
from entrypoints.reporting import expectation
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions.effects import ScoreNoise, fold_scores, noise_of_score
from entrypoints.reporting.statistics import REPORTED, over_folds
from entrypoints.reporting.verdicts import Verdict, judged, limits_of, with_served
from entrypoints.reporting.words import configuration, digits, percent, value, within
from entrypoints.settings import CHEAPEST

SHOWN_COSTS = ("training_time_s", "model_memory_mb", "peak_memory_mb", "inference_latency_ms")
ONE_CLASS = 0.8  # from this share of one class on, accuracy hides the others
MANY_COPIES_PERCENT = 1.0  # of the rows
# Differences that nobody would choose by; and those that, where the noise is not known, may be a process's first fit or
# the order in which processes started.
SMALL_S, UNSURE_S, UNSURE_MB = 0.02, 1.0, 1.0


class Case(Enum):
    """What a study comes to; each has a sentence of its own."""

    NONE_ENDED = auto()
    NONE_MEETS_LIMITS = auto()
    BEST = auto()
    BEST_OR_CHEAPEST = auto()  # the best, beside the cheapest that is as good
    CHEAPEST = auto()  # instead of the best, as the study asks


@dataclass(frozen=True, eq=False)
class Decision:
    """The trial to take, and its neighbours: rows of ``Frame.trials``.

    Attributes:
        case: what the study comes to. In the first two there is no trial to take.
        judged: of ``verdicts.judged``.
        best: of the trials that meet the limits the one with the best score, of equal scores the cheapest in training
            time. If no trial is known to meet the limits, of those that may.
        cheapest: of the equal ones, where it is cheaper than the best by more than noise.
        better: of those whose score is better beyond noise the one that breaks the limits least.
        noise: of the score.
        equal: the trials that may be chosen: no worse than the best by more than one standard error, the best first.
        cost: what is compared of them: the first cost with an upper limit, else the training time.
        beats_baseline: whether the chosen one is better than a model that ignores all features beyond noise; None where
            that is not known.
    """

    case: Case
    judged: pd.DataFrame
    best: pd.Series[Any] | None = None
    cheapest: pd.Series[Any] | None = None
    better: pd.Series[Any] | None = None
    noise: ScoreNoise = field(default_factory=ScoreNoise)
    equal: pd.DataFrame = field(default_factory=pd.DataFrame)
    cost: str | None = None
    beats_baseline: bool | None = None

    @property
    def chosen(self) -> pd.Series[Any] | None:
        """The trial to take."""
        return self.cheapest if self.case is Case.CHEAPEST else self.best

    def verdict(self, trial: pd.Series[Any]) -> dict[str, Any]:
        """What ``judged`` says of one of its trials."""
        return rows_of(self.judged.loc[[trial.name]])[0]


def decide(frame: Frame) -> Decision:
    """Choose among the trials of the first study.

    Args:
        frame: of it, and maybe of one under limits, whose limits count.
    """
    verdicts = judged(frame)
    trials = frame.complete.dropna(subset=[frame.score])
    if trials.empty and verdicts["broken"].isna().all():
        return Decision(Case.NONE_ENDED, verdicts)
    able = _within_limits(trials, verdicts)
    if able.empty:
        return Decision(Case.NONE_MEETS_LIMITS, verdicts)
    noise = noise_of_score(frame)
    best = able.iloc[0]
    worse = _worse(frame, trials, best)
    equal = able[worse.loc[able.index] <= np.nan_to_num(noise.error)]
    cost = next((name for name in compared(limits_of(frame)) if name in trials), None)
    cheapest = None if cost is None else _cheapest(frame, equal, cost)
    case, chosen = Case.BEST, best
    if cheapest is not None and (frame.studies["choose"] == CHEAPEST).any():
        case, chosen = Case.CHEAPEST, cheapest
    elif cheapest is not None:
        case = Case.BEST_OR_CHEAPEST
    better = trials[worse < -np.nan_to_num(noise.least_difference)]
    return Decision(
        case,
        verdicts,
        best,
        cheapest,
        _least_excess(better, verdicts),
        noise,
        equal,
        cost,
        _beats_baseline(frame, str(chosen["trial_id"]), noise),
    )


def _within_limits(trials: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """The trials that meet the limits; if none is known to, those that may."""
    verdict = verdicts.loc[trials.index, "verdict"]
    is_known = (verdict == Verdict.MEETS).any()
    able: pd.DataFrame = trials[verdict == (Verdict.MEETS if is_known else Verdict.UNKNOWN)]
    return able


def _worse(frame: Frame, trials: pd.DataFrame, chosen: pd.Series[Any]) -> pd.Series[float]:
    """By how much the score of each trial is worse than that of the chosen one."""
    sign = -1.0 if frame.higher_is_better else 1.0
    scores = to_ten_digits(trials[frame.score])
    worse: pd.Series[float] = sign * (scores - scores[trials.index == chosen.name].item())
    return worse


def _least_excess(trials: pd.DataFrame, verdicts: pd.DataFrame) -> pd.Series[Any] | None:
    """Of some trials the one that breaks the limits least."""
    if trials.empty:
        return None
    found: pd.Series[Any] = trials.loc[verdicts.loc[trials.index, "excess"].idxmin()]
    return found


def _cheapest(frame: Frame, equal: pd.DataFrame, cost: str) -> pd.Series[Any] | None:
    """Of equal trials the cheapest, if it costs less than the first by more than 5 %, than chance, and than a floor.

    Chance would make the cheapest of as many look so much cheaper in 1 % of studies (Bonferroni). Of several that are
    as cheap it is the best one. The noise of memory adds up: it is a share of the mean of all trials.
    """
    others = len(equal) - 1
    if not others:
        return None
    noise = noise_of(frame, cost)
    chance = noise.least_difference(2 * REPORTED / others)
    values = equal[cost]
    first = values.iloc[0]
    floor = _floor(cost, is_noise_known=noise.is_measured)
    if is_memory(cost):
        mean = float(frame.ended[cost].mean())
        below = first - max(floor, SMALL * first, chance * mean)
        as_cheap = values.min() + REPEATABILITY * noise.share * mean
    else:
        below = min(first - floor, first / (1 + max(SMALL, chance)))
        as_cheap = values.min() * (1 + REPEATABILITY * noise.share)
    cheap = equal[(values < below) & (values <= as_cheap)]
    return None if cheap.empty else cheap.iloc[0]


def _floor(cost: str, *, is_noise_known: bool) -> float:
    """The difference in a cost up to which none is called cheaper, in its unit."""
    if is_memory(cost):
        return SMALL_MB if is_noise_known else UNSURE_MB
    if _is_time(cost):
        return SMALL_S if is_noise_known else UNSURE_S
    return 0.0 if is_noise_known else math.inf


def _is_time(cost: str) -> bool:
    return cost.endswith(("_s", "seconds"))


def _beats_baseline(frame: Frame, trial_id: str, noise: ScoreNoise) -> bool | None:
    """By the difference on each fold. The least difference allows for the choice among all."""
    baseline, scores = frame.studies["baseline"].iloc[0], fold_scores(frame)
    if baseline is None or trial_id not in scores.index or scores.shape[1] != len(baseline):
        return None
    sign = 1.0 if frame.higher_is_better else -1.0
    gain = over_folds(sign * (scores.loc[trial_id].to_numpy() - to_ten_digits(pd.Series(baseline)).to_numpy()))
    return bool(gain.value > np.nanmax([gain.value - gain.low, noise.least_difference, 0.0]))


def differing_costs(frame: Frame, trials: pd.DataFrame | None = None) -> list[str]:
    """The costs in which trials differ by more than equal ones do; by default those that may be chosen."""
    trials = frame.complete if trials is None else trials
    found = []
    for cost in SHOWN_COSTS:
        if cost not in trials:
            continue
        typical = float(trials[cost].median())
        least = noise_of(frame, cost).least_difference() * typical
        if np.ptp(trials[cost].dropna()) > max(least, SMALL * typical, SMALL_MB if is_memory(cost) else 0.0):
            found.append(cost)
    return found


def answer(frame: Frame, decision: Decision | None = None) -> Answer:
    """The model to take and what to expect of it, as served, how it is loaded, and what to beware of."""
    decision = decision or decide(frame)
    if decision.chosen is None:
        return Answer("decision", open_question=f"Which model to take: {why_none(frame, decision)}.")
    sentences = [
        _take(frame, decision),
        *_cheaper(frame, decision),
        *_served(frame, decision.chosen),
        _load(frame, decision.chosen),
        *_better(frame, decision),
        *_warnings(frame, decision),
    ]
    return Answer("decision", tuple(sentences), _table(frame, decision), shown=_shown(frame, decision))


def why_none(frame: Frame, decision: Decision) -> str:
    """Why there is no trial to take, in a sentence without its full stop."""
    if decision.case is Case.NONE_ENDED:
        return "no trial ran to its end without diverging"
    none = f"no trial that ran to its end meets `{limits_of(frame)}`"
    verdicts = decision.judged
    if (verdicts.loc[frame.complete.index, "verdict"] == Verdict.UNKNOWN).any():
        none = f"no model that was served ({_count_served(frame)}, the first of the choice) meets `{limits_of(frame)}`"
    known = verdicts[verdicts["broken"].notna()]
    if known.empty:
        return none
    # One that was stopped is not named: its figure is that of the moment, and which is the lowest may be chance.
    ended = known[frame.trials.loc[known.index, "status"] == "FINISHED"]
    at = (known if ended.empty else ended)["excess"].idxmin()
    broken = str(known.loc[at, "broken"])
    nearest = f"the nearest had {broken} when it was stopped"
    if len(ended):
        nearest = f"the nearest, {configuration(frame.trials.loc[at], frame.hyperparameters)}, has {broken}"
    advice = "loosen these limits, or search other algorithms"
    if broken.startswith("peak_memory_mb"):
        advice += ", or limit model_memory_mb, in which the libraries do not count"
    return f"{none}; {nearest}; {advice}"


def study_with_model(frame: Frame, trial: pd.Series[Any]) -> pd.Series[Any] | None:
    """The first study that has logged a model of a trial's configuration."""
    same = frame.trials["run_id"][frame.configurations == configuration(trial, frame.hyperparameters)].dropna()
    logged = frame.studies[frame.studies["model_run_id"].isin(same) & frame.studies["model"].notna()]
    return None if logged.empty else logged.iloc[0]


def _take(frame: Frame, decision: Decision) -> str:
    """The trial to take, and what to expect of it on other rows."""
    chosen = decision.chosen
    assert chosen is not None
    algorithm = frame.studies["algorithm"].iloc[0]
    named = configuration(chosen, frame.hyperparameters)
    take = f"**Take algorithm={algorithm}, {named}**" if algorithm else f"**Take {named}**"
    how = "the best"
    if decision.case is Case.CHEAPEST:
        how = f"the cheapest that is as good as the best{_within_noise(decision)}"
    return f"{take}, {how}{_among(frame, decision)}: {_expect(frame, chosen)}."


def _among(frame: Frame, decision: Decision) -> str:
    """Among which trials it was chosen."""
    limits = limits_of(frame)
    assert decision.chosen is not None
    verdict = decision.verdict(decision.chosen)
    if limits.rules and verdict["verdict"] == Verdict.MEETS:
        served = _count_served(frame) if of_served(limits).rules else 0
        return f" within the limits{f' of those that were served ({served})' if served > 1 else ''}"
    trials = len(frame.complete)
    among = f" of {trials} trial{'' if trials == 1 else 's'}"
    if not limits.rules:
        return among
    return f"{among}, though whether it meets `{verdict['unknown'] or limits}` is not known"


def _expect(frame: Frame, trial: pd.Series[Any]) -> str:
    """The score of its refitted model on the test part, which chose nothing, or else that of its folds."""
    study = study_with_model(frame, trial)
    expected = "" if study is None else expectation.in_words(study)
    if study is None or not expected:
        return f"{frame.score} {value(frame.score, trial[frame.score])}"
    return expected + _gained(study)


def _gained(study: pd.Series[Any]) -> str:
    """What tuning gained over the library's defaults, where it has some and the rows of the test part tell."""
    gain, low, high = (study[name] for name in ("gain", "gain_low", "gain_high"))
    if pd.isna(low):
        return ""
    defaults = "its library's defaults"
    if low > 0:
        middle, ends = within(gain, low, high)
        return f", better than {defaults} by {middle} ({ends})"
    if high < 0:
        middle, ends = within(-gain, -high, -low)
        return f", **worse than {defaults}** by {middle} ({ends})"
    return f", no better than {defaults} beyond noise"


def _cheaper(frame: Frame, decision: Decision) -> Iterator[str]:
    """What is as good for less, where the study did not choose it."""
    cost, dear, cheap = decision.cost, decision.best, decision.cheapest
    if decision.case is not Case.BEST_OR_CHEAPEST or dear is None or cheap is None or cost is None:
        return
    saved = f"takes {percent(100 * cheap[cost] / dear[cost])} of its `{cost}`"
    if is_memory(cost):
        saved = f"takes {digits(dear[cost] - cheap[cost])} MB less `{cost}`"
    yield f"The cheapest that is as good{_within_noise(decision)} {saved}: `choose={CHEAPEST}` takes it."


def _within_noise(decision: Decision) -> str:
    return f" within noise ({digits(decision.noise.error)})" if decision.noise.error > 0 else ""


def _count_served(frame: Frame) -> int:
    trials = with_served(frame)
    return len(trials["served_cpu_ms"].dropna()) if "served_cpu_ms" in trials else 0


def _served(frame: Frame, trial: pd.Series[Any]) -> Iterator[str]:
    """What the model of a trial costs as it is served; nothing where it was not."""
    trials = with_served(frame)
    figures = trials[trials["trial_id"] == trial["trial_id"]].iloc[0]
    names = [name for name in SERVED if name in figures and math.isfinite(figures[name])]
    known = {name: digits(figures[name], 3 if is_memory(name) else 2) for name in names}
    if "served_cpu_ms" not in known:
        return
    answers, busy = "", "; the machine was too busy to time its answers"
    if "served_p50_ms" in known:
        slow = f" (95 %: {known['served_p95_ms']})" if "served_p95_ms" in known else ""
        answers, busy = f"answers a row in {known['served_p50_ms']} ms{slow}, and ", ""
    memory = f"{known['served_memory_mb']} MB and " if "served_memory_mb" in known else ""
    yield f"**As served** it {answers}takes {memory}{known['served_cpu_ms']} ms of CPU a row{busy}."


def _load(frame: Frame, trial: pd.Series[Any]) -> str:
    """How the model of a trial's configuration is loaded, or which run it has."""
    study = study_with_model(frame, trial)
    if study is None:
        return f"No model of it is logged; its run is `{trial['name']}`."
    return f'**Load it** with `mlflow.pyfunc.load_model("{study["model"]}")`.'


def _better(frame: Frame, decision: Decision) -> Iterator[str]:
    """What a better model would break."""
    better, score = decision.better, frame.score
    if better is not None:
        stop = decision.verdict(better)["broken"]
        breaks = f"has {stop}" if stop else "breaks the limits, or may"
        named = configuration(better, frame.hyperparameters)
        yield f"The next better one, {named} with {score} {value(score, better[score])}, {breaks}."


def _warnings(frame: Frame, decision: Decision) -> Iterator[str]:
    """What to beware of: a model that is no better than none, a leak, copies; only where there are."""
    study, score, chosen = frame.studies.iloc[0], frame.score, decision.chosen
    baseline = study["baseline"]
    if decision.beats_baseline is False:
        rare = ""
        if score == "val_accuracy" and fmean(baseline) >= ONE_CLASS:
            rare = " Accuracy hides rare classes: try metric=balanced_accuracy."
        yield f"**No model beats the baseline** beyond noise: ignoring all features is as good.{rare}"
    elif decision.beats_baseline and chosen is not None and _is_worse_refitted(frame, chosen):
        yield (
            "**Do not use the logged model**: trained on the whole training part it is no better than the baseline, "
            "while the models of the folds are; leave this configuration out."
        )
    if study["leak"]:
        yield f"**A leak?** {study['leak']}"
    share = study["duplicate_rows_percent"]
    if share is not None and share > MANY_COPIES_PERCENT:
        yield (
            f"{percent(share)} of the rows are exact copies of others, by which a model that memorises rows looks "
            "better: `-P duplicates=together` keeps copies on one side of each split."
        )


def _is_worse_refitted(frame: Frame, chosen: pd.Series[Any]) -> bool:
    """Whether the logged model is no better than the baseline on the test part, where those of the folds are."""
    study = study_with_model(frame, chosen)
    of_folds = chosen.get(frame.score.replace("val_", "test_"), math.nan)
    if study is None or pd.isna(study["test"]):
        return False
    sign = 1 if frame.higher_is_better else -1
    baseline = sign * fmean(frame.studies["baseline"].iloc[0])
    return bool(sign * study["test"] <= baseline < sign * of_folds)


def _roles(decision: Decision) -> dict[str, pd.Series[Any]]:
    """The trials of the table, by what they are."""
    roles = {"best": decision.best, "cheapest as good": decision.cheapest, "better, breaks limits": decision.better}
    return {role: trial for role, trial in roles.items() if trial is not None}


def _shown(frame: Frame, decision: Decision) -> pd.DataFrame:
    """What a page shows: the trials and the baseline; what differs, the score, the costs that differ."""
    score = frame.score
    trials: pd.DataFrame = pd.DataFrame(list(_roles(decision).values()))
    differ = [name for name in frame.hyperparameters if trials[name].astype(str).nunique() > 1]
    costs = [name for name in SHOWN_COSTS if name in trials]
    if len(trials) > 1:
        costs = differing_costs(frame, trials) or costs[:1]
    rows = trials[[*(differ or frame.hyperparameters), score, *costs]]
    table: pd.DataFrame = rows.set_axis(list(_roles(decision))).rename_axis("").reset_index()
    baseline = frame.studies["baseline"].iloc[0]
    if baseline is not None:
        table.loc[len(table)] = {"": "ignoring all features", score: fmean(baseline)}
    return table


def _table(frame: Frame, decision: Decision) -> pd.DataFrame:
    """A row for each of these trials with all numbers, and the address of its model where one is logged."""
    score = frame.score
    figures = [name for name in (score, *SHOWN_COSTS) if name in frame.trials]
    columns = dict.fromkeys([*frame.hyperparameters, *figures, "name", "run_id"])
    rows = []
    for role, trial in _roles(decision).items():
        verdict, study = decision.verdict(trial), study_with_model(frame, trial)
        row = {"role": role, **{name: trial[name] for name in columns}}
        row["chosen"] = trial is decision.chosen
        row["limits"] = str(verdict["verdict"])
        row["breaks"] = str(verdict["broken"]) if verdict["broken"] else None
        row |= (
            dict.fromkeys(("model", *expectation.NUMBERS)) if study is None else study[["model", *expectation.NUMBERS]]
        )
        rows.append(row)
    table: pd.DataFrame = pd.DataFrame(rows)
    table["noise"] = decision.noise.error
    table["least_significant_difference"] = decision.noise.least_difference
    table["as_good"] = len(decision.equal) - 1
    table["trials"] = len(frame.complete)
    return table
