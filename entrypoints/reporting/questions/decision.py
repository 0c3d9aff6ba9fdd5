"""Which model to take, what it costs and how it is loaded; and what a cheaper or a better one would cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
from entrypoints.reporting.questions.limits_saved import judged, limits_of
from entrypoints.reporting.statistics import REPORTED, by_noise, over_folds
from entrypoints.reporting.words import configuration, digits, percent, value
from entrypoints.settings import CHEAPEST

CHOSEN, CHEAPER, BETTER = "chosen", "as good, cheaper", "better"
SHOWN_COSTS = ("training_time_s", "model_memory_mb", "peak_memory_mb", "inference_latency_ms")
ONE_CLASS = 0.8  # from this share of one class on, accuracy hides the others
FOLDS = 10  # fewer may tell too little


@dataclass(frozen=True, eq=False)
class Decision:
    """The trial to take, and its neighbours: rows of ``Frame.trials``.

    Attributes:
        chosen: of the trials that meet the limits the one with the best score, of equal scores the cheapest in
            training time; where a study chooses the cheapest, the cheapest of the equal ones instead. If no trial is
            known to meet the limits, of those that may. None: see ``nothing``.
        cheaper: of the equal ones the cheapest, where that is more than noise, and not chosen.
        better: of those whose score is better beyond noise the one that breaks the limits least.
        margin: by how much the scores of two trials must differ to be told apart; None where that is not known.
        equal: the trials that may be chosen, the best first: no worse than that by more than the margin, and better
            than the baseline where the best is.
        cost: what is compared of them: the first cost with an upper limit, else the training time.
        judged: of ``limits_saved.judged``.
        nothing: why there is none to choose, in a sentence without its full stop.
    """

    chosen: pd.Series[Any] | None
    judged: pd.DataFrame
    cheaper: pd.Series[Any] | None = None
    better: pd.Series[Any] | None = None
    margin: float | None = None
    equal: pd.DataFrame = field(default_factory=pd.DataFrame)
    cost: str | None = None
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
    meets = verdicts.loc[trials.index, "meets"]
    within = trials[meets.eq(True)]
    within = trials[meets.isna()] if within.empty else within
    if within.empty:
        return Decision(None, verdicts, nothing=_nearest(frame, verdicts))
    best = within.iloc[0]
    worse = _worse(frame, trials, best)
    margin = margins(frame, noise).get(frame.score)
    equal = within[worse.loc[within.index] <= (margin or 0.0)]
    noise_of = not_beaten(frame, equal, margin)
    if math.isnan(noise_of.iloc[0]):
        equal = equal[noise_of.isna()]
    cost = next((name for name in compared(limits_of(frame)) if name in trials), None)
    better = trials[worse < -(margin or 0.0)]
    nearest = None if better.empty else better.loc[verdicts.loc[better.index, "excess"].idxmin()]
    cheaper = _cheapest(equal, cost, noise, 0.0 if cost is None else float(frame.ended[cost].mean()))
    chosen = best
    if cheaper is not None and (frame.studies["choose"] == CHEAPEST).any():
        chosen, cheaper = cheaper, None
    return Decision(chosen, verdicts, cheaper, nearest, margin, equal, cost)


def noise_margins(frame: Frame, noise: pd.DataFrame) -> dict[str, float]:
    """By how much two equal trials may differ: in the score by a difference, in a cost by a share of it."""
    known = {name: REPEATABILITY * share for name, share in USUAL_NOISE.items()}
    known |= {row["metric"]: row["margin"] for row in rows_of(noise.dropna(subset=["margin"]))}
    return {name: share for name, share in known.items() if name in frame.complete}


def margins(frame: Frame, noise: pd.DataFrame) -> dict[str, float]:
    """The smallest difference that is worth a word: of the score a difference, of a cost a share of it."""
    trials = frame.complete
    return {
        name: share if name == frame.score else max(share, small(name, float(trials[name].median())))
        for name, share in noise_margins(frame, noise).items()
    }


def answer(frame: Frame) -> Answer:
    """The model to take, its costs and its address, in this order; then its neighbours."""
    decision = decide(frame)
    if decision.chosen is None:
        return Answer("decision", open_question=f"Which model to take: {decision.nothing}.")
    sentences = [_take(frame, decision), costs_in_words(decision.chosen), load_in_words(frame, decision.chosen)]
    sentences += _neighbours(frame, decision)
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


def not_beaten(frame: Frame, trials: pd.DataFrame, margin: float | None) -> pd.Series[float]:
    """The noise within which each is no better than a model that ignores all features; NaN where it is better.

    They are compared fold by fold. That the best is chosen among all is allowed for by the margin. NaN, too, where the
    baseline or the scores of folds are not known.
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
        noise = float(np.nanmax([reach, margin or 0.0]))
        return noise if gain <= noise else math.nan

    found: pd.Series[float] = trials["trial_id"].map(noise_of)
    return found


def _worse(frame: Frame, trials: pd.DataFrame, chosen: pd.Series[Any]) -> pd.Series[float]:
    """By how much the score of each trial is worse than that of the chosen one."""
    sign = -1.0 if frame.higher_is_better else 1.0
    scores = without_rounding(trials[str(frame.score)])
    worse: pd.Series[float] = sign * (scores - scores[trials.index == chosen.name].item())
    return worse


def _cheapest(equal: pd.DataFrame, cost: str | None, noise: pd.DataFrame, mean: float) -> pd.Series[Any] | None:
    """Of equal trials the cheapest, if it costs less than the first by more than 5 % and than chance.

    Chance would make the cheapest of as many look so much cheaper in 1 % of studies (Bonferroni). Of several that are
    as cheap it is the best one. The noise of memory adds up: it is a share of the mean of all trials.
    """
    if cost is None or len(equal) < 2:
        return None
    known = noise[noise["metric"] == cost].dropna(subset=["noise"])
    share, degrees = USUAL_NOISE.get(cost, math.inf), math.inf
    if len(known):
        share, degrees = known[["noise", "degrees_of_freedom"]].iloc[0]
    first, values = equal[cost].iloc[0], equal[cost]
    chance = by_noise(share, degrees, REPORTED / (len(equal) - 1))
    in_mb = is_memory(cost)
    below = first - max(SMALL_MB, SMALL * first, chance * mean) if in_mb else first / (1 + max(SMALL, chance))
    cheap = values[values < below]
    as_cheap = cheap.min() + REPEATABILITY * share * (mean if in_mb else cheap.min())
    return None if cheap.empty else equal.loc[cheap.index[cheap <= as_cheap][0]]


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
    chosen, score = decision.chosen, str(frame.score)
    assert chosen is not None
    test = score.replace("val_", "test_")
    tested = f" ({test} {value(test, chosen[test])})" if test != score and test in chosen else ""
    limits = limits_of(frame)
    trials, diverged = len(frame.complete), _diverged(frame)
    among = f" of {trials} trials" if trials > 1 else " of 1 trial"
    among += f"; {diverged} more diverged" if diverged else ""
    if limits.rules:
        found = decision.verdict(chosen)
        among += f"; whether it meets `{found['unknown'] or limits}` is not known"
        among = f" within the limits `{limits}`" if found["meets"] else among
    named, best = configuration(chosen, frame.hyperparameters), decision.equal.iloc[0]
    is_the = "the best"
    if best.name != chosen.name:
        others = f"{len(decision.equal)} as good within noise ({digits(decision.margin or 0.0, 2)})"
        is_the = f"the cheapest in `{decision.cost}` of {others} as the best ({value(score, best[score])})"
    taken = f"**Take {named}**: {score} {value(score, chosen[score])}{tested}, {is_the}{among}."
    noise = not_beaten(frame, decision.equal.head(1), decision.margin).item()
    if math.isnan(noise):
        return taken
    beyond = f" beyond noise ({digits(noise, 2)})" if noise else ""
    baseline = frame.studies["baseline"].iloc[0]
    advice = ""
    if score == "val_accuracy" and fmean(baseline) >= ONE_CLASS:
        advice = " Accuracy hides rare classes: try metric=balanced_accuracy."
    elif len(baseline) < FOLDS:
        advice = f" {len(baseline)} folds tell little: try folds={FOLDS}."
    return f"{taken} **But no model beats the baseline**{beyond}: {_baseline(frame)}.{advice}"


def _baseline(frame: Frame) -> str:
    mean = fmean(frame.studies["baseline"].iloc[0])
    return f"a model that ignores all features has {frame.score} {value(str(frame.score), mean)}"


def _diverged(frame: Frame) -> int:
    """How many trials of the first study did."""
    return int(frame.trials.loc[frame.trials["study"] == frame.first, "diverged"].sum())


def _neighbours(frame: Frame, decision: Decision) -> Iterator[str]:
    """What a cheaper and a better model would cost."""
    chosen, score = decision.chosen, str(frame.score)
    assert chosen is not None
    within = frame.complete[decision.judged.loc[frame.complete.index, "meets"].eq(True)]  # without repeats
    others, noise = len(decision.equal) - 1, f"noise ({digits(decision.margin or 0.0, 2)})"
    cheaper, better = decision.cheaper, decision.better
    alone = decision.margin and len(within) > 1 and _worse(frame, within, chosen)[1:].gt(decision.margin).all()
    if alone and better is None:
        yield f"All others{' within the limits' if limits_of(frame).rules else ''} are worse by more than {noise}."
    elif decision.margin is not None and others and chosen.name == decision.equal.index[0]:
        cost = str(decision.cost)
        than = f"; none takes less `{cost}` beyond noise" if decision.cost else ""
        if cheaper is not None:
            takes = f"{percent(100 * cheaper[cost] / chosen[cost])} of its"
            if is_memory(cost):
                takes = f"{digits(chosen[cost] - cheaper[cost], 2)} MB less"
            than = f"; of these, {configuration(cheaper, frame.hyperparameters)} takes {takes} `{cost}`"
        are, have, other = ("is", "has", "other") if others == 1 else ("are", "have", "others")
        good = f"{are} as good within {noise} of" if decision.margin else f"{have} the same"
        yield f"{others} {other} {good} {score}{than}."
    noise_of_best = not_beaten(frame, decision.equal.head(1), decision.margin).item()
    if frame.studies["baseline"].iloc[0] is not None and math.isnan(noise_of_best):
        yield f"The baseline: {_baseline(frame)}."
    if better is not None:
        stop = _broken(decision, better)
        breaks = f"has {stop}" if stop else "breaks the limits, or may"
        named = configuration(better, frame.hyperparameters)
        yield f"The next better one, {named} with {score} {value(score, better[score])}, {breaks}."


def _table(frame: Frame, decision: Decision) -> pd.DataFrame:
    """A row for the chosen trial and each neighbour, with the address of its model where one is logged."""
    rows = {CHOSEN: decision.chosen, CHEAPER: decision.cheaper, BETTER: decision.better}
    score, trials = str(frame.score), frame.trials
    figures = [name for name in (score, score.replace("val_", "test_"), *SHOWN_COSTS) if name in trials]
    columns = dict.fromkeys([*frame.hyperparameters, *figures, "name", "run_id"])
    table: pd.DataFrame = pd.DataFrame(
        [
            {"role": role, **{name: trial[name] for name in columns}}
            | {"meets": decision.verdict(trial)["meets"], "breaks": _broken(decision, trial)}
            | {"margin": decision.margin, "model": logged_model(frame, trial)}
            | {"as_good": len(decision.equal) - 1, "trials": len(frame.complete), "diverged": _diverged(frame)}
            for role, trial in rows.items()
            if trial is not None
        ]
    )
    return table


def _broken(decision: Decision, trial: pd.Series[Any]) -> str | None:
    stop = decision.verdict(trial)["broken"]
    return str(stop) if stop else None
