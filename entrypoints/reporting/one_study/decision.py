"""The decision that a study serves: which model to take, what it costs, and what a cheaper or a better one costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
from scipy import stats

from entrypoints.limits import costs
from entrypoints.limits.noise import SMALL, TOLD_P, Noise, margins
from entrypoints.reporting.studies import Study
from mlflow_sysmetrics.criteria.judge import Criteria

CHOSEN, CHEAPER, BETTER = "chosen", "as good, cheaper", "better"
COSTS = ("training_time_s", "peak_memory_mb", "model_memory_mb", "inference_latency_ms")  # what the page says of each


def upper_limits(studies: Sequence[Study]) -> dict[str, float]:
    """The upper limits of the first study under some as numbers, by the trials of the first of all; empty without."""
    text = _limits(studies)
    criteria = Criteria.parse(text, costs.metrics(studies[0].task)) if text else None
    if criteria is None:
        return {}
    rows: list[Any] = studies[0].complete.to_dict("records")
    return {limit.metric.name: limit.number for limit in criteria.resolved(rows).limits if limit.is_upper}


def decision(studies: Sequence[Study], changed: Collection[str] = ()) -> pd.DataFrame:
    """The trial to take, and beside it the one that costs less and the one that scores better, where there is one.

    Args:
        studies: the one that is decided on, which has a score; of the others the first one's upper limits count.
        changed: the figures that a hyperparameter was found to change.

    Returns:
        A row each of at most three trials, none where no trial ran to its end:

        - role: "chosen", the best score within the limits, or of all where none meets them; "as good, cheaper", the
          cheapest within the limits whose score is worse by no more than noise, if it is cheaper beyond noise and 5 %:
          of a figure that no hyperparameter was found to change beyond the noise of the cheapest of so many;
          "better", of those whose score is better beyond noise the one that breaks the limits least
        - run_id, the hyperparameters, the score and its margin: by how much two models must differ to be told apart
        - training_time_s, peak_memory_mb, model_memory_mb and inference_latency_ms, where they are known
        - limits: as they were given, empty without any; meets: whether the trial does
        - cost, cost_value, times: what the cheaper trial is cheaper in (the first figure that is limited, or else the
          training time), and how many times; or the limit that the better one breaks most, and how many times it is
    """
    study = studies[0]
    trials, limits = study.complete, upper_limits(studies)
    score, sign = str(study.score), -1.0 if study.higher_is_better else 1.0
    nothing: pd.DataFrame = pd.DataFrame()
    if trials.empty:
        return nothing
    known = margins(study.noises.values()) if study.noises else {}
    margin = known.get(score, 0.0)
    shares = {name: trials[name] / number for name, number in limits.items() if name in trials}
    over: pd.DataFrame = pd.DataFrame(shares, index=trials.index)
    meets = ~(over > 1).any(axis=1)
    within = trials[meets] if meets.any() else trials
    chosen = within.iloc[0]
    rows: list[tuple[str, Any, str | None, float]] = [(CHOSEN, chosen, None, math.nan)]
    cost = next((name for name in (*limits, COSTS[0]) if name in trials), None)
    as_good = within[sign * (within[score] - chosen[score]) <= margin]
    by_chance = known.get(cost or "", 0.0)
    if cost not in changed:
        by_chance = _cheapest_by_chance(study.noises.get(cost or ""), len(as_good) - 1)
    if cost is not None and as_good[cost].min() * (1 + max(by_chance, SMALL)) < chosen[cost]:
        cheapest = as_good.loc[as_good[cost].idxmin()]
        rows.append((CHEAPER, cheapest, cost, chosen[cost] / cheapest[cost] if cheapest[cost] else math.nan))
    better = over[(sign * (chosen[score] - trials[score]) > margin) & ~meets] if meets.any() else over[:0]
    if not better.empty:
        nearest = better.max(axis=1).idxmin()
        broken = str(better.loc[nearest].idxmax())
        rows.append((BETTER, trials.loc[nearest], broken, float(better.loc[nearest, broken])))
    names = ["run_id", *study.hyperparameters, score, *(name for name in COSTS if name in trials)]
    of_all = {"margin": margin, "limits": _limits(studies)}
    table: pd.DataFrame = pd.DataFrame(
        [
            {"role": role, **{name: trial[name] for name in names}, **of_all, "meets": bool(meets[trial.name])}
            | {"cost": of, "cost_value": trial[of] if of else math.nan, "times": times}
            for role, trial, of, times in rows
        ]
    )
    return table


def _cheapest_by_chance(noise: Noise | None, others: int) -> float:
    """How much cheaper, as a share, the cheapest of so many equal trials is than one of them, in 1 % of cases at most.

    By Bonferroni's correction over the others, with Student's t for as many degrees of freedom as the noise has.
    """
    if noise is None or not noise.noise or not others:
        return math.inf
    t = float(stats.t.isf(TOLD_P / others, noise.degrees_of_freedom))
    return math.expm1(min(math.sqrt(2) * noise.noise * t, 100.0))


def _limits(studies: Sequence[Study]) -> str:
    """The limits of the first study under some, as they were given."""
    return next((each.criteria for each in studies if each.criteria), "")


def in_words(rows: Iterable[dict[str, Any]], study: Study) -> tuple[str, str]:
    """The two lines that MLflow shows of a folded page: the model to take, and what it and its neighbours cost."""
    roles = {row["role"]: row for row in rows}
    named = study.dataset or study.name
    if CHOSEN not in roles:
        return f"{named}: what its models cost", ""
    chosen = roles[CHOSEN]
    within = ", the best within the limits" if chosen["limits"] and chosen["meets"] else ""
    first = f"{named}: {study.score} {_number(chosen[str(study.score)])} with {_values(study, chosen)}{within}"
    known = [f"`{name}` {_number(chosen[name])}" for name in COSTS if chosen.get(name) == chosen.get(name, math.nan)]
    lines = [f"It takes {', '.join(known)}." if known else ""]
    if chosen["limits"] and not chosen["meets"]:
        lines.insert(0, f"No trial that ran to its end meets `{chosen['limits']}`: this is the best without limits.")
    lines += _neighbours(study, chosen, roles.get(CHEAPER), roles.get(BETTER))
    lines += [f"The limits: `{chosen['limits']}`."] if within else []
    return first, " ".join(line for line in lines if line)


def _neighbours(
    study: Study, chosen: dict[str, Any], cheaper: dict[str, Any] | None, better: dict[str, Any] | None
) -> Iterator[str]:
    """What a cheaper and a better model would cost."""
    noise = f"noise ({_number(chosen['margin'])})"
    if cheaper:
        yield (
            f"As good within {noise} and {_number(cheaper['times'])} times cheaper: {_values(study, cheaper)}, with "
            f"`{cheaper['cost']}` {_number(cheaper['cost_value'])}."
        )
    elif chosen["margin"]:
        yield f"None that is as good within {noise} is cheaper."
    if better:
        yield (
            f"The next better one, {study.score} {_number(better[str(study.score)])} with {_values(study, better)}, "
            f"has `{better['cost']}` {_number(better['cost_value'])}, {_number(better['times'])} times the limit."
        )
    elif chosen["limits"] and chosen["meets"]:
        yield "None is better beyond noise, whatever it costs."


def _values(study: Study, row: dict[str, Any]) -> str:
    """What a trial had chosen; what it did not have is left out."""
    values = {name: row[name] for name in study.hyperparameters if row[name] == row[name] and row[name] is not None}
    texts = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items())


def _number(value: float) -> str:
    return f"{value:.4g}"
