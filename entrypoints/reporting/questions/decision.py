"""Which model to take, what it costs and how it is loaded; and what a cheaper or a better one would cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from entrypoints.frame import Frame, without_rounding
from entrypoints.limits.costs import SERVED, USUAL_NOISE, compared, of_served
from entrypoints.limits.noise import REPEATABILITY, SMALL, SMALL_MB, is_memory, small
from entrypoints.reporting import expectation
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions import effects
from entrypoints.reporting.statistics import REPORTED, by_noise, over_folds
from entrypoints.reporting.verdicts import Verdict, judged, limits_of, with_served
from entrypoints.reporting.words import configuration, digits, percent, value
from entrypoints.settings import CHEAPEST
from entrypoints.text import listed

SHOWN_COSTS = ("training_time_s", "model_memory_mb", "peak_memory_mb", "inference_latency_ms")
ONE_CLASS = 0.8  # from this share of one class on, accuracy hides the others
FOLDS = 10  # fewer may tell too little
MAX_NAMED = 3  # trials in a sentence
MANY_COPIES_PERCENT = 1.0  # of the rows
MAX_CHANCE = 1.0  # where by chance one may cost twice another, a study does not tell which takes less
# Differences that nobody would choose by; and those that, where the noise is not known, may be a process's first fit or
# the order in which processes started.
SMALL_S, UNSURE_S, UNSURE_MB = 0.02, 1.0, 1.0


class Case(Enum):
    """What a study comes to; each has a sentence of its own."""

    NOT_RANKED = auto()
    NONE_ENDED = auto()
    NONE_MEETS_LIMITS = auto()
    BEST = auto()
    BEST_OR_CHEAPEST = auto()  # the best, beside the cheapest that is as good
    CHEAPEST = auto()  # instead of the best, as the study asks


@dataclass(frozen=True, eq=False)
class Decision:
    """The trial to take, and its neighbours: rows of ``Frame.trials``.

    Attributes:
        case: what the study comes to. In the first three there is no trial to take.
        judged: of ``verdicts.judged``.
        best: of the trials that meet the limits the one with the best score, of equal scores the cheapest in training
            time. If no trial is known to meet the limits, of those that may.
        cheapest: of the equal ones, where it is cheaper than the best by more than noise.
        better: of those whose score is better beyond noise the one that breaks the limits least.
        least_difference: by how much the scores of two trials must differ to be told apart; None where that is not
            known.
        equal: the trials that may be chosen, the best first: no worse than that by more than the least difference, and
            better than the baseline where the best is.
        cost: what is compared of them: the first cost with an upper limit, else the training time.
        by_chance: the share by which the cheapest of as many equal trials may cost less by chance; NaN where the study
            does not show how much equal trials differ.
        unbeaten_within: the noise within which the best is no better than the baseline; NaN where it is better, or
            that is not known.
    """

    case: Case
    judged: pd.DataFrame
    best: pd.Series[Any] | None = None
    cheapest: pd.Series[Any] | None = None
    better: pd.Series[Any] | None = None
    least_difference: float | None = None
    equal: pd.DataFrame = field(default_factory=pd.DataFrame)
    cost: str | None = None
    by_chance: float = math.nan
    unbeaten_within: float = math.nan

    @property
    def chosen(self) -> pd.Series[Any] | None:
        """The trial to take."""
        return self.cheapest if self.case is Case.CHEAPEST else self.best

    def verdict(self, trial: pd.Series[Any]) -> dict[str, Any]:
        """What ``judged`` says of one of its trials."""
        return rows_of(self.judged.loc[[trial.name]])[0]


def decide(frame: Frame, noise: pd.DataFrame | None = None) -> Decision:
    """Choose among the trials of the first study.

    Args:
        frame: of it, and maybe of one under limits, whose limits count.
        noise: of ``effects.noise``, where it is known already.
    """
    verdicts = judged(frame)
    if frame.score is None:
        return Decision(Case.NOT_RANKED, verdicts)
    trials = frame.complete.dropna(subset=[frame.score])
    if trials.empty and verdicts["broken"].isna().all():
        return Decision(Case.NONE_ENDED, verdicts)
    able = _within_limits(trials, verdicts)
    if able.empty:
        return Decision(Case.NONE_MEETS_LIMITS, verdicts)
    noise = effects.noise(frame) if noise is None else noise
    best = able.iloc[0]
    worse = _worse(frame, trials, best)
    least = least_differences(frame, noise).get(frame.score)
    margin = least or 0.0
    equal = able[worse.loc[able.index] <= margin]
    unbeaten = not_beaten(frame, equal, least)
    unbeaten_within = unbeaten[best.name]
    if math.isnan(unbeaten_within):
        equal = equal.loc[[index for index, within in unbeaten.items() if math.isnan(within)]]
    cost = next((name for name in compared(limits_of(frame)) if name in trials), None)
    cheapest = None if cost is None else _cheapest(equal, cost, noise, float(frame.ended[cost].mean()))
    case = Case.BEST
    if cheapest is not None:
        case = Case.CHEAPEST if (frame.studies["choose"] == CHEAPEST).any() else Case.BEST_OR_CHEAPEST
    return Decision(
        case,
        verdicts,
        best,
        cheapest,
        better=_least_excess(trials[worse < -margin], verdicts),
        least_difference=least,
        equal=equal,
        cost=cost,
        by_chance=_by_chance(noise, cost, len(equal) - 1),
        unbeaten_within=unbeaten_within,
    )


def _within_limits(trials: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """The trials that meet the limits; if none is known to, those that may."""
    verdict = verdicts.loc[trials.index, "verdict"]
    is_known = (verdict == Verdict.MEETS).any()
    able: pd.DataFrame = trials[verdict == (Verdict.MEETS if is_known else Verdict.UNKNOWN)]
    return able


def _least_excess(trials: pd.DataFrame, verdicts: pd.DataFrame) -> pd.Series[Any] | None:
    """Of some trials the one that breaks the limits least."""
    if trials.empty:
        return None
    found: pd.Series[Any] = trials.loc[verdicts.loc[trials.index, "excess"].idxmin()]
    return found


def noise_at(frame: Frame, noise: pd.DataFrame) -> dict[str, float]:
    """By how much two equal trials may differ: in the score by a difference, in a cost by a share of it."""
    known = {name: REPEATABILITY * share for name, share in USUAL_NOISE.items()}
    column = "least_significant_difference"
    known |= {row["metric"]: row[column] for row in rows_of(noise.dropna(subset=[column]))}
    trials = frame.complete
    return {name: share for name, share in known.items() if name in trials}


def least_differences(frame: Frame, noise: pd.DataFrame) -> dict[str, float]:
    """The smallest difference that is worth a word: of the score a difference, of a cost a share of it."""
    trials = frame.complete
    return {
        name: share if name == frame.score else max(share, small(name, float(trials[name].median())))
        for name, share in noise_at(frame, noise).items()
    }


def differing_costs(frame: Frame, least: Mapping[str, float] | None = None) -> list[str]:
    """The costs in which trials differ by more than equal ones do.

    Args:
        frame: of their study.
        least: of ``least_differences``; by default what is usual.
    """
    if least is None:
        least = least_differences(frame, pd.DataFrame(columns=effects.NOISE))
    trials = frame.complete
    return [
        name
        for name in SHOWN_COSTS
        if name in trials and np.ptp(trials[name].dropna()) > least.get(name, 0.0) * trials[name].median()
    ]


def answer(frame: Frame, decision: Decision | None = None) -> Answer:
    """The model to take, its costs and its address, in this order; then its neighbours.

    Args:
        frame: of the study, and maybe of one under limits.
        decision: of ``decide``, where that is known already.
    """
    decision = decision or decide(frame)
    if decision.chosen is None:
        return Answer("decision", open_question=f"Which model to take: {why_none(frame, decision)}.")
    sentences = [
        _take(frame, decision) + _beside_baseline(frame, decision) + served_in_words(frame, decision.chosen),
        costs_in_words(decision.chosen),
        load_in_words(frame, decision.chosen),
        _leak(frame),
        _others(frame, decision),
        _luck(frame, decision.chosen),
        _baseline_beaten(frame, decision),
        _better(frame, decision),
        *_break_at_their_end(frame, decision),
        _copies(frame),
    ]
    return Answer("decision", tuple(filter(None, sentences)), _table(frame, decision))


def why_none(frame: Frame, decision: Decision) -> str:
    """Why there is no trial to take, in a sentence without its full stop."""
    if decision.case is Case.NOT_RANKED:
        return "nothing says which metric ranks the trials; give metric and mode"
    if decision.case is Case.NONE_ENDED:
        return "no trial ran to its end without diverging"
    return _nearest(frame, decision.judged)


def logged_model(frame: Frame, trial: pd.Series[Any]) -> str | None:
    """The address of the model of a trial's configuration, if a study has logged it."""
    study = _study_with_model(frame, trial)
    return None if study is None else str(study["model"])


def _study_with_model(frame: Frame, trial: pd.Series[Any]) -> pd.Series[Any] | None:
    """The first study that has logged a model of a trial's configuration."""
    same = frame.trials["run_id"][frame.configurations == configuration(trial, frame.hyperparameters)].dropna()
    logged = frame.studies[frame.studies["model_run_id"].isin(same) & frame.studies["model"].notna()]
    return None if logged.empty else logged.iloc[0]


def served_in_words(frame: Frame, trial: pd.Series[Any]) -> str:
    """What the model of a trial costs as it is served, with a space before; empty where it was not."""
    trials = with_served(frame)
    figures = trials[trials["trial_id"] == trial["trial_id"]].iloc[0]
    names = [name for name in SERVED if name in figures and math.isfinite(figures[name])]
    known = {name: digits(figures[name], 3 if is_memory(name) else 2) for name in names}
    if "served_cpu_ms" not in known:
        return ""
    answers = ""
    if "served_p50_ms" in known:
        slow = f" (95 %: {known['served_p95_ms']})" if "served_p95_ms" in known else ""
        answers = f"answers a row in {known['served_p50_ms']} ms{slow}, and "
    memory = f"{known['served_memory_mb']} MB and " if "served_memory_mb" in known else ""
    busy = "" if answers else "; the machine was too busy to time its answers"
    return f" **As served** the chosen model {answers}takes {memory}{known['served_cpu_ms']} ms of CPU a row{busy}."


def costs_in_words(trial: pd.Series[Any]) -> str:
    """What a trial cost; empty where that is not known."""
    names = [name for name in SHOWN_COSTS if name in trial and math.isfinite(trial[name])]
    known = [f"`{name}` {value(name, trial[name])}" for name in names]
    return f"**It costs** {', '.join(known)}." if known else ""


def load_in_words(frame: Frame, trial: pd.Series[Any]) -> str:
    """How the model of a trial's configuration is loaded, or which run it has."""
    address = logged_model(frame, trial)
    if address:
        return f'**Load it** with `mlflow.pyfunc.load_model("{address}")`.'
    return f"No model of it is logged; its run is `{trial['name']}`."


def not_beaten(frame: Frame, trials: pd.DataFrame, least_difference: float | None) -> dict[Any, float]:
    """The noise within which each is no better than a model that ignores all features; NaN where it is better.

    By the trial's index. They are compared fold by fold. That the best is chosen among all is allowed for by the least
    difference. NaN, too, where the baseline or the scores of folds are not known.
    """
    found = dict.fromkeys(trials.index, math.nan)
    baseline = frame.studies["baseline"].iloc[0]
    scores = effects.fold_scores(frame)
    if baseline is None or scores.shape[1] != len(baseline):
        return found
    gains = (1 if frame.higher_is_better else -1) * (scores - without_rounding(pd.Series(baseline)).to_numpy())
    for index, trial_id in trials["trial_id"].items():
        if trial_id not in gains.index:
            continue
        gain = over_folds(gains.loc[trial_id].to_numpy())
        noise = float(np.nanmax([gain.high - gain.value, least_difference or 0.0]))
        if gain.value <= noise:
            found[index] = noise
    return found


def _worse(frame: Frame, trials: pd.DataFrame, chosen: pd.Series[Any]) -> pd.Series[float]:
    """By how much the score of each trial is worse than that of the chosen one."""
    sign = -1.0 if frame.higher_is_better else 1.0
    scores = without_rounding(trials[str(frame.score)])
    worse: pd.Series[float] = sign * (scores - scores[trials.index == chosen.name].item())
    return worse


def _cheapest(equal: pd.DataFrame, cost: str, noise: pd.DataFrame, mean: float) -> pd.Series[Any] | None:
    """Of equal trials the cheapest, if it costs less than the first by more than 5 %, than chance, and than a floor.

    Chance would make the cheapest of as many look so much cheaper in 1 % of studies (Bonferroni). Of several that are
    as cheap it is the best one. The noise of memory adds up: it is a share of the mean of all trials.
    """
    if len(equal) < 2:
        return None
    known = noise[noise["metric"] == cost].dropna(subset=["noise"])
    share = USUAL_NOISE.get(cost, math.inf)
    chance = by_noise(share, math.inf, REPORTED / (len(equal) - 1))
    if len(known):
        share = known["noise"].iloc[0]
        chance = _by_chance(noise, cost, len(equal) - 1)
    values = equal[cost]
    first = values.iloc[0]
    floor = _floor(cost, is_noise_known=len(known) > 0)
    if is_memory(cost):
        below = first - max(floor, SMALL * first, chance * mean)
        as_cheap = values.min() + REPEATABILITY * share * mean
    else:
        below = min(first - floor, first / (1 + max(SMALL, chance)))
        as_cheap = values.min() * (1 + REPEATABILITY * share)
    cheap = equal[(values < below) & (values <= as_cheap)]
    return None if cheap.empty else cheap.iloc[0]


def _by_chance(noise: pd.DataFrame, cost: str | None, others: int) -> float:
    """The share by which the cheapest of so many others costs less in 1 % of studies in which all cost the same."""
    known = noise[noise["metric"] == cost].dropna(subset=["noise"])
    if known.empty or others < 1:
        return math.nan
    share, degrees = known[["noise", "degrees_of_freedom"]].iloc[0]
    return by_noise(share, degrees, REPORTED / others)


def _floor(cost: str, *, is_noise_known: bool) -> float:
    """The difference in a cost up to which none is called cheaper, in its unit."""
    if is_memory(cost):
        return SMALL_MB if is_noise_known else UNSURE_MB
    if _is_time(cost):
        return SMALL_S if is_noise_known else UNSURE_S
    return 0.0 if is_noise_known else math.inf


def _nearest(frame: Frame, verdicts: pd.DataFrame) -> str:
    """That no trial meets the limits, and which comes nearest: of those that ran to their end, if any did.

    One that was stopped is not named: its figure is that of the moment, and which is the lowest may be chance.
    """
    none = f"no trial that ran to its end meets `{limits_of(frame)}`"
    if (verdicts.loc[frame.complete.index, "verdict"] == Verdict.UNKNOWN).any():
        none = f"no model that was served ({_served(frame)}, the first of the choice) meets `{limits_of(frame)}`"
    known = verdicts[verdicts["broken"].notna()]
    if known.empty:
        return none
    ended = known[frame.trials.loc[known.index, "status"] == "FINISHED"]
    at = (known if ended.empty else ended)["excess"].idxmin()
    broken = str(known.loc[at, "broken"])
    nearest = f"the nearest had {broken} when it was stopped"
    if len(ended):
        nearest = f"the nearest, {configuration(frame.trials.loc[at], frame.hyperparameters)}, has {broken}"
    advice = "loosen these limits, or search other algorithms"
    if broken.startswith("peak_memory_mb") and frame.studies["own"].iloc[0]:
        advice += ", or limit model_memory_mb, in which the libraries do not count"
    return f"{none}; {nearest}; {advice}"


def _take(frame: Frame, decision: Decision) -> str:
    """The trial to take, by the template of its case."""
    names, score = frame.hyperparameters, str(frame.score)
    best, cheapest, algorithm = decision.best, decision.cheapest, frame.studies["algorithm"].iloc[0]
    assert best is not None
    take = f"**Take algorithm={algorithm}, " if algorithm else "**Take "
    among = _among(frame, decision)
    if cheapest is None:
        return f"{take}{configuration(best, names)}**, the best{among}: {_has(frame, best)}."
    saved = _saved(str(decision.cost), best, cheapest)
    if decision.case is Case.CHEAPEST:
        return (
            f"{take}{configuration(cheapest, names)}**: {_has(frame, cheapest)}; as good within {_noise(decision)} as "
            f"the best, {configuration(best, names)}, for {saved},{among}."
        )
    as_good = f"as good within {_noise(decision)}" if decision.least_difference else f"with the same {score}"
    asked = f" (`choose={CHEAPEST}` takes it)" if frame.studies["own"].iloc[0] else ""
    return (
        f"{take}{configuration(best, names)}**, the best{among}: {_has(frame, best)}; or "
        f"**{configuration(cheapest, names)}**, {as_good}, for {saved}{asked}."
    )


def _has(frame: Frame, trial: pd.Series[Any]) -> str:
    """What a trial's model is expected to reach, or where no study says that, the score of the trial."""
    study, score = _study_with_model(frame, trial), str(frame.score)
    known = "" if study is None else expectation.or_why_none(study)
    return known or f"{score} {value(score, trial[score])}"


def _luck(frame: Frame, trial: pd.Series[Any]) -> str:
    """By how much the score of a trial is too good; empty where that is little, or not known."""
    study = _study_with_model(frame, trial)
    return "" if study is None else expectation.luck_in_words(study, float(trial[str(frame.score)]))


def _among(frame: Frame, decision: Decision) -> str:
    """Among which trials it was chosen."""
    limits, trials, diverged = limits_of(frame), len(frame.complete), _diverged(frame)
    assert decision.chosen is not None
    verdict = decision.verdict(decision.chosen)
    if limits.rules and verdict["verdict"] == Verdict.MEETS:
        served = _served(frame) if of_served(limits).rules else 0
        of = f" of those that were served ({served})" if served > 1 else ""
        return f" within the limits `{limits}`{of}"
    among = f" of {_counted(trials, 'trial')}"
    if diverged:
        among += f" ({diverged} more diverged)"
    if not limits.rules:
        return among
    return f"{among}, though whether it meets `{verdict['unknown'] or limits}` is not known"


def _served(frame: Frame) -> int:
    """How many models were."""
    trials = with_served(frame)
    return len(trials["served_cpu_ms"].dropna())


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _noise(decision: Decision) -> str:
    return f"noise ({digits(decision.least_difference or 0.0)})"


def _saved(cost: str, dear: pd.Series[Any], cheap: pd.Series[Any]) -> str:
    """Such as ``2 % of its `training_time_s` (0.0052 of 0.32 s)``."""
    of = f"{value(cost, cheap[cost])} of {value(cost, dear[cost])}"
    if is_memory(cost):
        return f"{digits(dear[cost] - cheap[cost])} MB less `{cost}` ({of} MB)"
    unit = " s" if _is_time(cost) else ""
    return f"{percent(100 * cheap[cost] / dear[cost])} of its `{cost}` ({of}{unit})"


def _is_time(cost: str) -> bool:
    return cost.endswith(("_s", "seconds"))


def _beside_baseline(frame: Frame, decision: Decision) -> str:
    """A warning, where no model beats the baseline; else empty."""
    noise, score = decision.unbeaten_within, str(frame.score)
    if math.isnan(noise):
        return ""
    beyond = f" beyond noise ({digits(noise)})" if noise else ""
    baseline = frame.studies["baseline"].iloc[0]
    advice = ""
    if score == "val_accuracy" and fmean(baseline) >= ONE_CLASS:
        advice = " Accuracy hides rare classes: try metric=balanced_accuracy."
    elif len(baseline) < FOLDS:
        advice = f" {len(baseline)} folds tell little: try folds={FOLDS}."
    return f" **But no model beats the baseline**{beyond}: {_baseline(frame)}.{advice}"


def _baseline_beaten(frame: Frame, decision: Decision) -> str:
    """How good the baseline is, where the best beats it."""
    is_known = frame.studies["baseline"].iloc[0] is not None
    return f"The baseline: {_baseline(frame)}." if is_known and math.isnan(decision.unbeaten_within) else ""


def _baseline(frame: Frame) -> str:
    mean = fmean(frame.studies["baseline"].iloc[0])
    return f"a model that ignores all features has {frame.score} {value(str(frame.score), mean)}"


def _diverged(frame: Frame) -> int:
    """How many trials of the first study did."""
    return int(frame.trials.loc[frame.trials["study"] == frame.first, "diverged"].sum())


def _others(frame: Frame, decision: Decision) -> str:
    """How many are as good, or that none is; empty where that is not known, or the first sentence says it."""
    others, least = len(decision.equal) - 1, decision.least_difference
    if least is None or decision.case is Case.CHEAPEST:
        return ""
    if _is_alone(frame, decision):
        where = " within the limits" if limits_of(frame).rules else ""
        return f"All others{where} are worse by more than {_noise(decision)}."
    if not others:
        return ""
    if least:
        as_good = f"{'is' if others == 1 else 'are'} as good within {_noise(decision)} of"
    else:
        as_good = f"{'has' if others == 1 else 'have'} the same"
    none_cheaper = ""
    if decision.case is Case.BEST and decision.by_chance > MAX_CHANCE:
        none_cheaper = f"; too few of equal cost were run to tell which takes less `{decision.cost}`"
    elif decision.case is Case.BEST and math.isfinite(decision.by_chance):
        none_cheaper = f"; none takes less `{decision.cost}` beyond noise"
    return f"{_counted(others, 'other')} {as_good} {frame.score}{none_cheaper}."


def _is_alone(frame: Frame, decision: Decision) -> bool:
    """Whether all others that meet the limits are worse than the best beyond noise, and none is better."""
    meet = decision.judged.loc[frame.complete.index, "verdict"] == Verdict.MEETS
    within = frame.complete[meet]
    if not decision.least_difference or decision.better is not None or len(within) < 2 or decision.best is None:
        return False
    return bool((_worse(frame, within, decision.best)[1:] > decision.least_difference).all())


def _better(frame: Frame, decision: Decision) -> str:
    """What a better model would break."""
    better, score = decision.better, str(frame.score)
    if better is None:
        return ""
    stop = decision.verdict(better)["broken"]
    breaks = f"has {stop}" if stop else "breaks the limits, or may"
    named = configuration(better, frame.hyperparameters)
    return f"The next better one, {named} with {score} {value(score, better[score])}, {breaks}."


def _break_at_their_end(frame: Frame, decision: Decision) -> Iterator[str]:
    """Which trials of a study under limits ran to their end and break one: each by the limit that it breaks most."""
    limits = frame.studies["limits"].iloc[0]
    if not limits:
        return
    by_limit: dict[str, list[str]] = {}
    for _, trial in frame.complete.iterrows():
        verdict = decision.verdict(trial)
        if verdict["verdict"] != Verdict.BREAKS:
            continue
        named, stop = configuration(trial, frame.hyperparameters), verdict["broken"]
        if stop is None:  # a relative limit, which the study has resolved
            by_limit.setdefault(limits, []).append(named)
        else:
            by_limit.setdefault(stop.rule, []).append(f"{named} ({value(stop.metric, stop.value)})")
    for rule, trials in by_limit.items():
        breaks = "breaks" if len(trials) == 1 else "break"
        yield f"{len(trials)} ran to the end but {breaks} `{rule}`: {listed(trials, MAX_NAMED)}."


def _leak(frame: Frame) -> str:
    """That columns may only be known with the target; empty where none looks so."""
    leak = frame.studies["leak"].iloc[0]
    return f"**A leak?** {leak}" if leak else ""


def _copies(frame: Frame) -> str:
    """That many rows are exact copies."""
    share = frame.studies["duplicate_rows_percent"].iloc[0]
    if share is None or share <= MANY_COPIES_PERCENT:
        return ""
    return (
        f"{percent(share)} of the rows are exact copies of others, and a model that memorises rows looks better by "
        "them: `-P duplicates=together` keeps copies on one side of each split."
    )


def _table(frame: Frame, decision: Decision) -> pd.DataFrame:
    """A row for the chosen trial and each neighbour, with the address of its model where one is logged."""
    cheapest_is, best_is = "as good, cheaper", "chosen"
    if decision.case is Case.CHEAPEST:
        cheapest_is, best_is = "chosen", "best"
    score = str(frame.score)
    figures = [name for name in (score, *SHOWN_COSTS) if name in frame.trials]
    columns = dict.fromkeys([*frame.hyperparameters, *figures, "name", "run_id"])
    rows = []
    for role, trial in ((best_is, decision.best), (cheapest_is, decision.cheapest), ("better", decision.better)):
        if trial is None:
            continue
        verdict = decision.verdict(trial)
        row = {"role": role, **{name: trial[name] for name in columns}}
        row["limits"] = str(verdict["verdict"])
        row["breaks"] = str(verdict["broken"]) if verdict["broken"] else None
        row["model"] = logged_model(frame, trial)
        study = _study_with_model(frame, trial)
        if study is not None and pd.notna(study["expected_low"]):
            row |= {name: study[name] for name in expectation.NUMBERS}
            row["luck"] = expectation.luck(study, trial[score])
        rows.append(row)
    table: pd.DataFrame = pd.DataFrame(rows)
    table["least_significant_difference"] = decision.least_difference
    table["as_good"] = len(decision.equal) - 1
    table["trials"] = len(frame.complete)
    table["diverged"] = _diverged(frame)
    return table
