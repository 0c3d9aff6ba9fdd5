"""Which model to take, what it costs and how it is loaded; and what a cheaper or a better one would cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from entrypoints.frame import Frame, without_rounding
from entrypoints.limits.costs import USUAL_NOISE, compared
from entrypoints.limits.noise import REPEATABILITY, SMALL, SMALL_MB, is_memory, small
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions import effects
from entrypoints.reporting.statistics import REPORTED, by_noise, over_folds
from entrypoints.reporting.verdicts import Verdict, judged, limits_of
from entrypoints.reporting.words import configuration, digits, percent, value
from entrypoints.settings import CHEAPEST
from entrypoints.text import listed

CHOSEN, BEST, CHEAPER, BETTER = "chosen", "best", "as good, cheaper", "better"
SHOWN_COSTS = ("training_time_s", "model_memory_mb", "peak_memory_mb", "inference_latency_ms")
ONE_CLASS = 0.8  # from this share of one class on, accuracy hides the others
FOLDS = 10  # fewer may tell too little
MAX_NAMED = 3  # trials in a sentence
MANY_COPIES_PERCENT = 1.0  # of the rows
# Differences that nobody would choose by; and those that, where the noise is not known, may be a process's first fit or
# the order in which processes started.
SMALL_S, UNSURE_S, UNSURE_MB = 0.02, 1.0, 1.0


@dataclass(frozen=True, eq=False)
class Decision:
    """The trial to take, and its neighbours: rows of ``Frame.trials``.

    Attributes:
        chosen: of the trials that meet the limits the one with the best score, of equal scores the cheapest in
            training time; where a study chooses the cheapest, the cheapest of the equal ones instead. If no trial is
            known to meet the limits, of those that may. None: see ``nothing``.
        cheaper: of the equal ones the cheapest, where that is more than noise, and not chosen.
        better: of those whose score is better beyond noise the one that breaks the limits least.
        least_difference: by how much the scores of two trials must differ to be told apart; None where that is not
            known.
        equal: the trials that may be chosen, the best first: no worse than that by more than the least difference, and
            better than the baseline where the best is.
        cost: what is compared of them: the first cost with an upper limit, else the training time.
        is_noise_known: whether the study shows how much this cost differs between equal trials.
        judged: of ``verdicts.judged``.
        unbeaten_within: the noise within which the best is no better than the baseline; NaN where it is better, or
            that is not known.
        nothing: why there is none to choose, in a sentence without its full stop.
    """

    chosen: pd.Series[Any] | None
    judged: pd.DataFrame
    cheaper: pd.Series[Any] | None = None
    better: pd.Series[Any] | None = None
    least_difference: float | None = None
    equal: pd.DataFrame = field(default_factory=pd.DataFrame)
    cost: str | None = None
    is_noise_known: bool = False
    unbeaten_within: float = math.nan
    nothing: str = ""

    def verdict(self, trial: pd.Series[Any]) -> dict[str, Any]:
        """What ``judged`` says of one of its trials."""
        return rows_of(self.judged.loc[[trial.name]])[0]


def decide(frame: Frame, noise: pd.DataFrame | None = None) -> Decision:
    """Choose among the trials of the first study.

    Args:
        frame: of it, and maybe of one under limits, whose limits count.
        noise: of ``effects.noise``, where it is known already.
    """
    noise = effects.noise(frame) if noise is None else noise
    verdicts = judged(frame)
    if frame.score is None:
        why = "nothing says which metric ranks the trials; give metric and mode"
        return Decision(None, verdicts, nothing=why)
    trials = frame.complete.dropna(subset=[frame.score])
    if trials.empty:
        known = verdicts["broken"].notna().any()
        why = _nearest(frame, verdicts) if known else "no trial ran to its end without diverging"
        return Decision(None, verdicts, nothing=why)
    verdict = verdicts.loc[trials.index, "verdict"]
    within = trials[verdict == Verdict.MEETS]
    if within.empty:
        within = trials[verdict == Verdict.UNKNOWN]
    if within.empty:
        return Decision(None, verdicts, nothing=_nearest(frame, verdicts))
    best = within.iloc[0]
    worse = _worse(frame, trials, best)
    least = least_differences(frame, noise).get(frame.score)
    equal = within[worse.loc[within.index] <= (least or 0.0)]
    unbeaten = not_beaten(frame, equal, least)
    unbeaten_within = float(unbeaten.iloc[0])
    if math.isnan(unbeaten_within):
        equal = equal[unbeaten.isna()]
    cost = next((name for name in compared(limits_of(frame)) if name in trials), None)
    better = trials[worse < -(least or 0.0)]
    nearest = None if better.empty else better.loc[verdicts.loc[better.index, "excess"].idxmin()]
    cheaper = None if cost is None else _cheapest(equal, cost, noise, float(frame.ended[cost].mean()))
    is_noise_known = bool((noise["metric"] == cost).any())
    chosen = best
    if cheaper is not None and (frame.studies["choose"] == CHEAPEST).any():
        chosen, cheaper = cheaper, None
    return Decision(chosen, verdicts, cheaper, nearest, least, equal, cost, is_noise_known, unbeaten_within)


def noise_at(frame: Frame, noise: pd.DataFrame) -> dict[str, float]:
    """By how much two equal trials may differ: in the score by a difference, in a cost by a share of it."""
    known = {name: REPEATABILITY * share for name, share in USUAL_NOISE.items()}
    column = "least_significant_difference"
    known |= {row["metric"]: row[column] for row in rows_of(noise.dropna(subset=[column]))}
    return {name: share for name, share in known.items() if name in frame.complete}


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
        return Answer("decision", open_question=f"Which model to take: {decision.nothing}.")
    sentences = [
        _take(frame, decision),
        costs_in_words(decision.chosen),
        load_in_words(frame, decision.chosen),
        _leak(frame),
        *_others(frame, decision),
        *_better(frame, decision),
        *_break_at_their_end(frame, decision),
        *_copies(frame),
    ]
    return Answer("decision", tuple(filter(None, sentences)), _table(frame, decision))


def logged_model(frame: Frame, trial: pd.Series[Any]) -> str | None:
    """The address of the model of a trial's configuration, if a study has logged it."""
    same = frame.trials["run_id"][frame.configurations == configuration(trial, frame.hyperparameters)].dropna()
    logged = frame.studies[frame.studies["model_run_id"].isin(same)]["model"].dropna()
    return str(logged.iloc[0]) if len(logged) else None


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


def not_beaten(frame: Frame, trials: pd.DataFrame, least_difference: float | None) -> pd.Series[float]:
    """The noise within which each is no better than a model that ignores all features; NaN where it is better.

    They are compared fold by fold. That the best is chosen among all is allowed for by the least difference. NaN, too,
    where the baseline or the scores of folds are not known.
    """
    baseline = frame.studies["baseline"].iloc[0]
    scores = effects.fold_scores(frame)
    if baseline is None or scores.shape[1] != len(baseline):
        unknown: pd.Series[float] = pd.Series(math.nan, trials.index)
        return unknown
    gains = (1 if frame.higher_is_better else -1) * (scores - without_rounding(pd.Series(baseline)).to_numpy())

    def noise_of(trial_id: str) -> float:
        if trial_id not in gains.index:
            return math.nan
        gain, reach, _ = over_folds(gains.loc[trial_id].to_numpy())
        noise = float(np.nanmax([reach, least_difference or 0.0]))
        return noise if gain <= noise else math.nan

    found: pd.Series[float] = trials["trial_id"].map(noise_of)
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
    share, degrees = USUAL_NOISE.get(cost, math.inf), math.inf
    if len(known):
        share, degrees = known[["noise", "degrees_of_freedom"]].iloc[0]
    values = equal[cost]
    first = values.iloc[0]
    chance = by_noise(share, degrees, REPORTED / (len(equal) - 1))
    floor = _floor(cost, is_noise_known=len(known) > 0)
    if is_memory(cost):
        below, unit = first - max(floor, SMALL * first, chance * mean), mean
    else:
        below, unit = min(first - floor, first / (1 + max(SMALL, chance))), values.min()
    cheap = values[values < below]
    if cheap.empty:
        return None
    as_cheap = cheap[cheap <= cheap.min() + REPEATABILITY * share * unit]
    found: pd.Series[Any] = equal.loc[as_cheap.index[0]]
    return found


def _floor(cost: str, *, is_noise_known: bool) -> float:
    """The difference in a cost up to which none is called cheaper, in its unit."""
    if is_memory(cost):
        return SMALL_MB if is_noise_known else UNSURE_MB
    if cost.endswith(("_s", "seconds")):
        return SMALL_S if is_noise_known else UNSURE_S
    return 0.0 if is_noise_known else math.inf


def _nearest(frame: Frame, verdicts: pd.DataFrame) -> str:
    """That no trial meets the limits, and which comes nearest: of those that ran to their end, if any did.

    The figure of one that was stopped is that of the moment.
    """
    none = f"no trial that ran to its end meets `{limits_of(frame)}`"
    known = verdicts[verdicts["broken"].notna()]
    if known.empty:
        return none
    ended = known[frame.trials.loc[known.index, "status"] == "FINISHED"]
    at, has = (known["excess"].idxmin(), "had") if ended.empty else (ended["excess"].idxmin(), "has")
    named = configuration(frame.trials.loc[at], frame.hyperparameters)
    broken, advice = str(known.loc[at, "broken"]), "raise these limits"
    if broken.startswith("peak_memory_mb") and frame.studies["own"].iloc[0]:
        advice += ", or limit model_memory_mb, in which the libraries do not count"
    return f"{none}; the nearest, {named}, {has} {broken}{' when it was stopped' if ended.empty else ''}; {advice}"


def _take(frame: Frame, decision: Decision) -> str:
    """The best model, and the cheapest that is as good; or this one alone, where that is what a study chooses."""
    chosen, score = decision.chosen, str(frame.score)
    assert chosen is not None
    best = decision.equal.iloc[0]
    has = f"{score} {value(score, chosen[score])}"
    test = score.replace("val_", "test_")
    if test != score and test in chosen:
        has += f" ({test} {value(test, chosen[test])})"
    if best.name != chosen.name:
        as_good = f"as good within {_noise(decision)} as the best, {configuration(best, frame.hyperparameters)}"
        which = f"{as_good} with {value(score, best[score])}, for {_saved(decision, best, chosen)},"
    else:
        which = "the best"
    taken = f"**Take {configuration(chosen, frame.hyperparameters)}**: {has}, {which}{_among(frame, decision)}"
    if decision.cheaper is not None:
        named = configuration(decision.cheaper, frame.hyperparameters)
        saved = _saved(decision, chosen, decision.cheaper)
        same = f"as good within {_noise(decision)}" if decision.least_difference else f"with the same {score}"
        taken += f"; or **{named}**, {same}, for {saved}"
    return f"{taken}.{_beside_baseline(frame, decision)}"


def _among(frame: Frame, decision: Decision) -> str:
    """Among which trials it was chosen."""
    trials, diverged = len(frame.complete), _diverged(frame)
    among = f" of {trials} trials" if trials > 1 else " of 1 trial"
    if diverged:
        among += f" ({diverged} more diverged)"
    limits = limits_of(frame)
    assert decision.chosen is not None
    verdict = decision.verdict(decision.chosen)
    if not limits.rules:
        return among
    if verdict["verdict"] == Verdict.MEETS:
        return f" within the limits `{limits}`"
    return f"{among}, though whether it meets `{verdict['unknown'] or limits}` is not known"


def _noise(decision: Decision) -> str:
    return f"noise ({digits(decision.least_difference or 0.0, 2)})"


def _saved(decision: Decision, dear: pd.Series[Any], cheap: pd.Series[Any]) -> str:
    """Such as ``2 % of its `training_time_s` (0.0052 of 0.32 s)``."""
    cost = str(decision.cost)
    unit = " MB" if is_memory(cost) else " s" if cost.endswith(("_s", "seconds")) else ""
    of = f"({value(cost, cheap[cost])} of {value(cost, dear[cost])}{unit})"
    if is_memory(cost):
        return f"{digits(dear[cost] - cheap[cost], 2)} MB less `{cost}` {of}"
    return f"{percent(100 * cheap[cost] / dear[cost])} of its `{cost}` {of}"


def _beside_baseline(frame: Frame, decision: Decision) -> str:
    """A warning, where no model beats the baseline; else empty."""
    noise = decision.unbeaten_within
    if math.isnan(noise):
        return ""
    beyond = f" beyond noise ({digits(noise, 2)})" if noise else ""
    baseline = frame.studies["baseline"].iloc[0]
    advice = ""
    if frame.score == "val_accuracy" and fmean(baseline) >= ONE_CLASS:
        advice = " Accuracy hides rare classes: try metric=balanced_accuracy."
    elif len(baseline) < FOLDS:
        advice = f" {len(baseline)} folds tell little: try folds={FOLDS}."
    return f" **But no model beats the baseline**{beyond}: {_baseline(frame)}.{advice}"


def _baseline(frame: Frame) -> str:
    mean = fmean(frame.studies["baseline"].iloc[0])
    return f"a model that ignores all features has {frame.score} {value(str(frame.score), mean)}"


def _diverged(frame: Frame) -> int:
    """How many trials of the first study did."""
    return int(frame.trials.loc[frame.trials["study"] == frame.first, "diverged"].sum())


def _others(frame: Frame, decision: Decision) -> Iterator[str]:
    """How many are as good, and how good the baseline is."""
    chosen, score = decision.chosen, str(frame.score)
    assert chosen is not None
    within = frame.complete[decision.judged.loc[frame.complete.index, "verdict"] == Verdict.MEETS]  # without repeats
    least, others = decision.least_difference, len(decision.equal) - 1
    is_alone = least and len(within) > 1 and _worse(frame, within, chosen)[1:].gt(least).all()
    if is_alone and decision.better is None:
        where = " within the limits" if limits_of(frame).rules else ""
        yield f"All others{where} are worse by more than {_noise(decision)}."
    elif least is not None and others and chosen.name == decision.equal.index[0]:
        are, have, other = ("is", "has", "other") if others == 1 else ("are", "have", "others")
        good = f"{are} as good within {_noise(decision)} of" if least else f"{have} the same"
        none = decision.is_noise_known and decision.cheaper is None
        than = f"; none takes less `{decision.cost}` beyond noise" if none else ""
        yield f"{others} {other} {good} {score}{than}."
    if frame.studies["baseline"].iloc[0] is not None and math.isnan(decision.unbeaten_within):
        yield f"The baseline: {_baseline(frame)}."


def _better(frame: Frame, decision: Decision) -> Iterator[str]:
    """What a better model would break."""
    better, score = decision.better, str(frame.score)
    if better is not None:
        stop = _broken(decision, better)
        breaks = f"has {stop}" if stop else "breaks the limits, or may"
        named = configuration(better, frame.hyperparameters)
        yield f"The next better one, {named} with {score} {value(score, better[score])}, {breaks}."


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


def _copies(frame: Frame) -> Iterator[str]:
    """That many rows are exact copies."""
    share = frame.studies["duplicate_rows_percent"].iloc[0]
    if share is not None and share > MANY_COPIES_PERCENT:
        yield (
            f"{percent(share)} of the rows are exact copies of others, and a model that memorises rows looks better by "
            "them: `-P duplicates=together` keeps copies on one side of each split."
        )


def _table(frame: Frame, decision: Decision) -> pd.DataFrame:
    """A row for the chosen trial and each neighbour, with the address of its model where one is logged."""
    rows = {CHOSEN: decision.chosen, CHEAPER: decision.cheaper, BETTER: decision.better}
    if decision.chosen is not None and decision.chosen.name != decision.equal.index[0]:
        rows |= {BEST: decision.equal.iloc[0]}
    score = str(frame.score)
    figures = [name for name in (score, score.replace("val_", "test_"), *SHOWN_COSTS) if name in frame.trials]
    columns = dict.fromkeys([*frame.hyperparameters, *figures, "name", "run_id"])
    found = []
    for role, trial in rows.items():
        if trial is None:
            continue
        row = {"role": role, **{name: trial[name] for name in columns}}
        row["limits"] = str(decision.verdict(trial)["verdict"])
        row["breaks"] = _broken(decision, trial)
        row["least_significant_difference"] = decision.least_difference
        row["model"] = logged_model(frame, trial)
        row["as_good"] = len(decision.equal) - 1
        row["trials"] = len(frame.complete)
        row["diverged"] = _diverged(frame)
        found.append(row)
    table: pd.DataFrame = pd.DataFrame(found)
    return table


def _broken(decision: Decision, trial: pd.Series[Any]) -> str | None:
    stop = decision.verdict(trial)["broken"]
    return str(stop) if stop else None
