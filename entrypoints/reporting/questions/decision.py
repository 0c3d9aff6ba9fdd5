"""Which model to take, and what to expect of it; and what a cheaper or a better one would cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from entrypoints.limits.costs import compared, of_served
from entrypoints.limits.noise import REPEATABILITY, SMALL, SMALL_MB, is_memory, noise_of, small
from entrypoints.options.settings import CHEAPEST
from entrypoints.reporting import expectation
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions.effects import fold_scores, noise_of_score
from entrypoints.reporting.verdicts import Verdict, judged, limits_of, with_served
from entrypoints.reporting.words import configuration, digits, joined, percent, value, within
from entrypoints.statistics import REPORTED, Estimate, FoldNoise, over_folds
from entrypoints.trials.frame import FOREST, IGNORING, REFERENCE, Frame, to_ten_digits
from mlflow_gate.metrics import SERVED

SHOWN_COSTS = ("training_time_s", "model_memory_mb", "peak_memory_mb", "inference_latency_ms")
SEEN = math.log(1.2)  # a ratio of costs that is worth a word
# By unit the difference in a cost that nobody would choose by; and, where its noise is not known, one that may be a
# process's first fit or the order in which processes started. Of other units the latter is never enough.
FLOORS = {"mb": (SMALL_MB, 1.0), "s": (0.02, 1.0), "seconds": (0.02, 1.0)}


@dataclass(frozen=True, eq=False)
class Decision:
    """The trial to take, and its neighbours: rows of ``Frame.trials``; none where no trial meets the limits.

    Attributes:
        judged: of ``verdicts.judged``.
        best: of the trials that meet the limits the one with the best score, of equal scores that with the least loss.
            If no trial is known to meet the limits, of those that may.
        cheapest: of the equal ones, where it is cheaper than the best by more than noise.
        takes_cheapest: whether it is taken instead of the best, as the study asks.
        better: of those whose score is better beyond noise the one that breaks the limits least.
        noise: of the score.
        equal: the trials that may be chosen: no worse than the best by more than one standard error of the difference
            between these two, the best first.
        margin: that error, of the best and the cheapest.
        cost: what is compared of them: the first cost with an upper limit, else the training time.
    """

    judged: pd.DataFrame
    best: pd.Series[Any] | None = None
    cheapest: pd.Series[Any] | None = None
    takes_cheapest: bool = False
    better: pd.Series[Any] | None = None
    noise: FoldNoise = field(default_factory=FoldNoise)
    equal: pd.DataFrame = field(default_factory=pd.DataFrame)
    cost: str = ""
    margin: float = math.nan

    @property
    def chosen(self) -> pd.Series[Any] | None:
        """The trial to take."""
        return self.cheapest if self.takes_cheapest else self.best

    def verdict(self, trial: pd.Series[Any]) -> dict[str, Any]:
        """What ``judged`` says of one of its trials."""
        return rows_of(self.judged.loc[[trial.name]])[0]


def decide(frame: Frame) -> Decision:
    """Choose among the trials of the first study.

    Args:
        frame: of it, and maybe of one under limits, whose limits count.
    """
    trials, verdicts = frame.complete, judged(frame)
    verdict = verdicts.loc[trials.index, "verdict"]
    is_known = (verdict == Verdict.MEETS).any()
    able = trials[verdict == (Verdict.MEETS if is_known else Verdict.UNKNOWN)]
    if able.empty:
        return Decision(verdicts)
    noise, best = noise_of_score(frame), able.iloc[0]
    losses = frame.sign * to_ten_digits(trials[frame.score])
    worse = losses - losses[best.name]
    errors = _errors(frame, able, noise)
    equal = able[worse[able.index] <= errors]
    cost = next((name for name in compared(limits_of(frame)) if name in trials), "")
    cheapest = _cheapest(frame, equal, cost)
    takes_cheapest = cheapest is not None and bool((frame.studies["choose"] == CHEAPEST).any())
    better = verdicts.loc[worse.index[worse < -np.nan_to_num(noise.least_difference)], "excess"]
    return Decision(
        verdicts,
        best,
        cheapest,
        takes_cheapest,
        None if better.empty else trials.loc[better.idxmin()],
        noise,
        equal,
        cost,
        math.nan if cheapest is None else float(errors.to_dict()[cheapest.name]),
    )


def _errors(frame: Frame, able: pd.DataFrame, noise: FoldNoise) -> pd.Series[Any]:
    """The standard error of the difference between each of these trials and the first; 0 where it is not known."""
    scores = fold_scores(frame, able)
    best = able["trial_id"].iloc[0]
    errors = []
    for trial in able["trial_id"]:
        is_known = {trial, best} <= set(scores.index)
        errors.append(noise.error(scores.loc[trial] - scores.loc[best] if is_known else ()))
    known: pd.Series[Any] = pd.Series(errors, able.index, dtype=float).fillna(0.0)
    return known


def _cheapest(frame: Frame, equal: pd.DataFrame, cost: str) -> pd.Series[Any] | None:
    """Of equal trials the cheapest, if it costs less than the first by more than 5 %, than chance, and than a floor.

    Chance would make the cheapest of as many look so much cheaper in 1 % of studies (Bonferroni). Of several that are
    as cheap it is the best one. The noise of memory adds up: it is a share of the mean of all trials.
    """
    others = len(equal) - 1
    if not others or not cost:
        return None
    noise, values = noise_of(frame, cost), equal[cost]
    chance = noise.least_difference(2 * REPORTED / others)
    floor, unsure = FLOORS.get(cost.rpartition("_")[2], (0.0, math.inf))
    if not noise.is_measured:
        floor = unsure
    first = values.iloc[0]
    if is_memory(cost):
        mean = float(frame.ended[cost].mean())
        below = first - max(floor, SMALL * first, chance * mean)
        as_cheap = values.min() + REPEATABILITY * noise.share * mean
    else:
        below = min(first - floor, first / (1 + max(SMALL, chance)))
        as_cheap = values.min() * (1 + REPEATABILITY * noise.share)
    cheap = equal[(values < below) & (values <= as_cheap)]
    return None if cheap.empty else cheap.iloc[0]


def _beats_baseline(frame: Frame, decision: Decision, chosen: pd.Series[Any]) -> bool | None:
    """Whether a trial is better than a model that ignores all features beyond noise; None: not known.

    On the test part, which chose nothing. By the folds where no model was refitted, or rows in time tell no interval.
    """
    study = study_with_model(frame, chosen)
    if study is not None and pd.notna(study["gain_over_baseline_low"]):
        return bool(study["gain_over_baseline_low"] > 0)
    if study is not None and pd.notna(study["gain_over_baseline"]) and study["gain_over_baseline"] <= 0:
        return False
    return _beats(_gain(frame, chosen, frame.studies["baseline"].iloc[0]), decision.noise)


def _beats(gain: Estimate | None, noise: FoldNoise) -> bool | None:
    """Whether a gain on the folds excludes 0, and is more than the choice of the best of all explains."""
    if gain is None:
        return None
    return bool(gain.low > 0 and gain.value > np.nan_to_num(noise.least_difference))


def _gain(frame: Frame, chosen: pd.Series[Any], others: Sequence[float] | None) -> Estimate | None:
    """By how much a trial is better than another model with these scores on the folds; None: not known."""
    scores = fold_scores(frame)
    if others is None or chosen["trial_id"] not in scores.index or scores.shape[1] != len(others):
        return None
    of_chosen = scores.loc[chosen["trial_id"]].to_numpy()
    return over_folds(frame.sign * (to_ten_digits(pd.Series(others)).to_numpy() - of_chosen))


def _forest(frame: Frame) -> pd.Series[Any] | None:
    """The reference of the first study that is a forest, where it has come to its end."""
    of = frame.references[frame.references["study"] == frame.first]
    found = of[(of["name"] == f"{REFERENCE}: {FOREST}") & (of["status"] == "FINISHED")]
    return None if found.empty else found.iloc[0]


def _forest_scores(frame: Frame) -> list[float] | None:
    """Its score on each fold; None where that is not known."""
    forest = _forest(frame)
    if forest is None:
        return None
    scores = fold_scores(frame, forest.to_frame().T)
    return None if scores.empty else list(scores.iloc[0])


def differing_costs(frame: Frame, trials: pd.DataFrame | None = None) -> list[str]:
    """The costs in which trials differ by more than equal ones do; by default those that may be chosen."""
    trials = frame.complete if trials is None else trials
    found = []
    for cost in SHOWN_COSTS:
        if cost in trials:
            typical = float(trials[cost].median())
            least = noise_of(frame, cost).least_difference() * typical
            if np.ptp(trials[cost].dropna()) > max(least, small(cost, typical)):
                found.append(cost)
    return found


def answer(frame: Frame) -> Answer:
    """The model to take and what to expect of it, as served, how it is loaded, and what to beware of."""
    decision = decide(frame)
    chosen = decision.chosen
    if chosen is None:
        return Answer("decision", open_question=f"Which model to take: {why_none(frame, decision)}.")
    sentences = (
        *_beside_forest(frame, decision, chosen),
        _take(frame, decision, chosen),
        *_warnings(frame, decision, chosen),
        *_cheaper(decision),
        *_served(frame, chosen),
        _load(frame, chosen),
        *_better(frame, decision),
    )
    roles = {"best": decision.best, "cheapest as good": decision.cheapest, "better, breaks limits": decision.better}
    found = {role: trial for role, trial in roles.items() if trial is not None}
    trials: pd.DataFrame = pd.DataFrame([*found.values()]).assign(role=[*found])
    trials["chosen"] = [trial is chosen for trial in found.values()]
    return Answer("decision", sentences, _table(frame, decision, trials), shown=_shown(frame, trials))


def why_none(frame: Frame, decision: Decision) -> str:
    """Why there is no trial to take, in a sentence without its full stop."""
    verdicts = decision.judged
    known = verdicts[verdicts["broken"].notna()]
    if frame.complete.empty and known.empty:
        return "no trial ran to its end without diverging"
    none = f"no trial that ran to its end meets `{limits_of(frame)}`"
    if (verdicts.loc[frame.complete.index, "verdict"] == Verdict.UNKNOWN).any():
        none = f"no model that was served ({_count_served(frame)}, the first of the choice) meets `{limits_of(frame)}`"
    if known.empty:
        return none
    # One that was stopped is not named: its figure is that of the moment, and which is the lowest may be chance.
    ended = known[frame.trials.loc[known.index, "status"] == "FINISHED"]
    at = (known if ended.empty else ended)["excess"].idxmin()
    broken = str(known.loc[at, "broken"])
    nearest = f"the nearest was stopped before its end, at {broken}"
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


def _take(frame: Frame, decision: Decision, chosen: pd.Series[Any]) -> str:
    """The trial to take, and what to expect of it on other rows."""
    algorithm = frame.studies["algorithm"].iloc[0]
    named = configuration(chosen, frame.hyperparameters)
    if algorithm:
        named = f"algorithm={algorithm}, {named}"
    how = "the best"
    if decision.takes_cheapest:
        how = f"the cheapest that is as good as the best{_within_noise(decision)}"
    return f"**Take {named}**, {how}{_among(frame, decision.verdict(chosen))}: {_expect(frame, chosen)}."


def _beside_forest(frame: Frame, decision: Decision, chosen: pd.Series[Any]) -> Iterator[str]:
    """That the search has not beaten a forest with its defaults, where that is so, and what the forest costs."""
    forest, gain = _forest(frame), _gain(frame, chosen, _forest_scores(frame))
    if forest is None or gain is None or _beats(gain, decision.noise):
        return
    score = frame.score
    beside = "**The search has not beaten a forest with its defaults** beyond noise"
    if gain.high < 0:
        beside = "**A forest with its defaults is better than what the search found**"
    costs = [name for name in SHOWN_COSTS if forest.get(name, 0) > 0 and chosen.get(name, 0) > 0]
    ratios = {name: forest[name] / chosen[name] for name in costs}
    times = [f"{digits(ratio)} times the `{name}`" for name, ratio in ratios.items() if abs(math.log(ratio)) > SEEN]
    fit_rows = forest.get("fit_rows", math.nan)
    fewer = f", trained on {fit_rows:.0f} rows of each fold" if fit_rows > 0 else ""
    yield f"{beside}: it has `{score}` {value(score, forest[score])}{fewer}, the search {value(score, chosen[score])}."
    if times:
        yield f"The forest takes {joined(times)}."


def _among(frame: Frame, verdict: dict[str, Any]) -> str:
    """Among which trials the one with this verdict was chosen."""
    limits = limits_of(frame)
    if limits.rules and verdict["verdict"] == Verdict.MEETS:
        served = _count_served(frame) if of_served(limits).rules else 0
        return f" within the limits{f' of those that were served ({served})' if served > 1 else ''}"
    trials = len(frame.complete)
    among = f" of {trials} trial{'' if trials == 1 else 's'}"
    if not limits.rules:
        return among
    return f"{among}, though whether it meets `{verdict['unknown'] or limits}` is not known"


def _expect(frame: Frame, trial: pd.Series[Any]) -> str:
    """The score of the chosen model on the test part, which chose nothing, or else that of its folds."""
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


def _cheaper(decision: Decision) -> Iterator[str]:
    """What is as good for less, where the study did not choose it."""
    cost, dear, cheap = decision.cost, decision.best, decision.cheapest
    if decision.takes_cheapest or dear is None or cheap is None:
        return
    saved = f"takes {percent(100 * cheap[cost] / dear[cost])} of its `{cost}`"
    if is_memory(cost):
        saved = f"takes {digits(dear[cost] - cheap[cost])} MB less `{cost}`"
    yield f"The cheapest that is as good{_within_noise(decision)} {saved}: `choose={CHEAPEST}` takes it."


def _within_noise(decision: Decision) -> str:
    return f" within noise ({digits(decision.margin)})" if decision.margin > 0 else ""


def _count_served(frame: Frame) -> int:
    trials = with_served(frame)
    return len(trials["served_cpu_ms"].dropna()) if "served_cpu_ms" in trials else 0


def _served(frame: Frame, trial: pd.Series[Any]) -> Iterator[str]:
    """What the model of a trial costs as it is served; nothing where it was not."""
    figures = with_served(frame).loc[[trial.name]].iloc[0]
    known = {name: digits(figures[name], 3 if is_memory(name) else 2) for name in SERVED if figures.get(name, 0) > 0}
    if "served_cpu_ms" not in known:
        return
    rate = frame.studies["rate"].iloc[0]
    at_rate = f" at {rate:g} requests a second" if rate and rate > 0 else ""
    answers, busy = "", "; the machine was too busy to time its answers"
    if at_rate:
        busy = f"; no time of its answers{at_rate} is known: the machine was busy, or it cannot keep up"
    if "served_p50_ms" in known:
        slow = f" (95 %: {known['served_p95_ms']})" if "served_p95_ms" in known else ""
        answers, busy = f"answers a row{at_rate} in {known['served_p50_ms']} ms{slow}, and ", ""
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


def _warnings(frame: Frame, decision: Decision, chosen: pd.Series[Any]) -> Iterator[str]:
    """What to beware of: a model that is no better than a constant, a leak, copies; only where there are."""
    study, logged = frame.studies.iloc[0], study_with_model(frame, chosen)
    if logged is not None and logged["predicted_classes"] == 1:
        yield "**The model predicts one class for all rows** of the test part."
    if logged is not None and pd.notna(logged["gain_over_baseline_high"]) and logged["gain_over_baseline_high"] < 0:
        yield "**Do not use the logged model**: on the test part it is worse than ignoring all features."
    elif _beats_baseline(frame, decision, chosen) is False:
        yield "**The model does not beat the baseline** beyond noise: ignoring all features may be as good."
    if study["leak"]:
        yield f"**A leak?** {study['leak']}"
    if study["copies"]:
        yield f"{study['copies']}."


def _shown(frame: Frame, trials: pd.DataFrame) -> pd.DataFrame:
    """What a page shows: the trials and the baseline; what differs, the score, the costs that differ."""
    score = frame.score
    taken = [name for name in frame.hyperparameters if trials[name].notna().any()]
    differ = [name for name in taken if trials[name].astype(str).nunique() > 1]
    costs = [name for name in SHOWN_COSTS if name in trials]
    if len(trials) > 1:
        costs = differing_costs(frame, trials) or costs[:1]
    rows = trials[["role", *(differ or taken), score, *costs]]
    table: pd.DataFrame = rows.rename(columns={"role": ""}).reset_index(drop=True)
    references = frame.references[frame.references["study"] == frame.first]
    for _, reference in references.sort_values("name").iterrows():
        known = {name: reference[name] for name in (score, *costs) if name in reference}
        table.loc[len(table)] = {"": str(reference["name"]).removeprefix(f"{REFERENCE}: "), **known}
    baseline = frame.studies["baseline"].iloc[0]
    if references.empty and baseline is not None:
        table.loc[len(table)] = {"": IGNORING, score: fmean(baseline)}
    return table


def _table(frame: Frame, decision: Decision, trials: pd.DataFrame) -> pd.DataFrame:
    """A row for each of these trials with all numbers, and the address of its model where one is logged."""
    figures = [name for name in (frame.score, *SHOWN_COSTS) if name in trials]
    verdicts = decision.judged.loc[trials.index]
    table: pd.DataFrame = trials[["role", *frame.hyperparameters, *figures, "name", "run_id", "chosen"]].assign(
        limits=verdicts["verdict"].map(str),
        breaks=[str(stop) if stop else None for stop in verdicts["broken"]],
        noise=decision.noise.error(),
        least_significant_difference=decision.noise.least_difference,
        as_good=len(decision.equal) - 1,
        trials=len(frame.complete),
    )
    studies = [study_with_model(frame, trial) for _, trial in trials.iterrows()]
    for name in ("model", *expectation.NUMBERS):
        table[name] = [None if study is None else study[name] for study in studies]
    return table
