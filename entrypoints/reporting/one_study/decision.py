"""The decision that a study serves: which model to take, what it costs, and what a cheaper or a better one costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from entrypoints.limits import costs
from entrypoints.limits.judging import excess, resolved, violations
from entrypoints.limits.noise import cheapest, cheapest_by_chance, margins
from entrypoints.reporting.findings import records
from entrypoints.reporting.studies import Study
from entrypoints.reporting.words import figure
from mlflow_sysmetrics.limits import Criteria

CHOSEN, CHEAPER, BETTER = "chosen", "as good, cheaper", "better"
SHOWN_COSTS = (
    "training_time_s",
    "peak_memory_mb",
    "model_memory_mb",
    "inference_latency_ms",
)  # what the page says of each


def upper_limits(studies: Sequence[Study]) -> dict[str, float]:
    """The tightest upper limit of each figure, of the first study under some, by the trials of the first of all.

    Without a full study, figures that a relative one limits are left out: it is not known (see ``_resolved``).
    """
    upper = [limit for limit in _criteria(studies).limits if limit.is_upper]
    unknown = {limit.metric.name for limit in upper if limit.statistic and studies[0].criteria}
    tightest: dict[str, float] = {}
    for limit in _resolved(studies).limits:
        if limit.is_upper and limit.metric.name not in unknown:
            tightest[limit.metric.name] = min(limit.number, tightest.get(limit.metric.name, math.inf))
    return tightest


def decision(studies: Sequence[Study], changed: Collection[str] = ()) -> pd.DataFrame:
    """The trial to take, and beside it the one that costs less and the one that scores better, where there is one.

    Args:
        studies: the one that is decided on, which has a score; of the others the first one's limits count.
        changed: the figures that a hyperparameter was found to change.

    Returns:
        A row each of at most three trials, none where no trial ran to its end:

        - role: "chosen", the best score within the limits, else of those of which that is not known, else of all; "as
          good, cheaper", the cheapest of the same trials whose score is worse by no more than noise, if it is cheaper
          beyond noise and 5 %, of memory 0.1 MB: of a figure that no hyperparameter was found to change beyond the
          noise of the cheapest of as many; "better", of those whose score is better beyond noise the one that breaks
          the limits least
        - run_id, the hyperparameters, the score and its margin: by how much two models must differ to be told apart
        - training_time_s, peak_memory_mb, model_memory_mb and inference_latency_ms, where they are known
        - limits: as they were given, empty without any; meets: whether the trial does, None where that is not known,
          and without a full study what the study under limits says of it; not_judged: the limits that could not be,
          since the trial lacks the figure, too few trials have it, or it is a factor of a negative one
        - cheaper: whether one that is as good is cheaper, None where noise may have made it look so
        - cost, cost_value, times: what the cheaper trial is cheaper in (the first cost that has an upper limit, or
          else the training time), and how many times; or the limit that the better one breaks most, and how many times
          it is; NaN where that is divided by 0, None and NaN of a relative limit without a full study
    """
    study = studies[0]
    trials = study.complete
    score, sign = str(study.score), -1.0 if study.higher_is_better else 1.0
    nothing: pd.DataFrame = pd.DataFrame()
    if trials.empty:
        return nothing
    known = margins(study.noises.values()) if study.noises else {}
    margin = known.get(score, 0.0)
    judged = _judged(studies)
    within = trials[judged["meets"].eq(judged["meets"].max())]  # those that do, or that may, or all
    chosen = within.iloc[0]
    rows: list[tuple[str, Any, str | None, float]] = [(CHOSEN, chosen, None, math.nan)]
    cost = next((name for name in costs.compared(_criteria(studies)) if name in trials), None)
    as_good = within[sign * (within[score] - chosen[score]) <= margin]
    by_chance = known.get(cost or "", 0.0)
    if cost not in changed:
        by_chance = cheapest_by_chance(study.noises.get(cost or ""), len(as_good) - 1)
    cheaper = None
    if cost is not None and as_good[cost].notna().any():
        place, cheaper = cheapest(cost, list(as_good[cost].astype(float)), by_chance, known.get(cost, 0.0))
        if cheaper:
            least = as_good.iloc[place]
            rows.append((CHEAPER, least, cost, chosen[cost] / least[cost] if least[cost] else math.nan))
    better = judged[sign * (chosen[score] - trials[score]) > margin]
    if not better.empty:
        nearest = better["excess"].idxmin()
        stop = better.loc[nearest, "broken"]
        times = stop.value / stop.limit if stop and stop.limit else math.nan
        rows.append((BETTER, trials.loc[nearest], stop and stop.metric, times))
    names = ["run_id", *study.hyperparameters, score, *(name for name in SHOWN_COSTS if name in trials)]
    of_all = {"margin": margin, "limits": _limits(studies), "cheaper": cheaper}
    table: pd.DataFrame = pd.DataFrame(
        [
            {"role": role, **{name: trial[name] for name in names}, **of_all}
            | {"meets": _MEETS[judged.loc[trial.name, "meets"]], "not_judged": judged.loc[trial.name, "not_judged"]}
            | {"cost": of, "cost_value": trial[of] if of else math.nan, "times": times}
            for role, trial, of, times in rows
        ]
    )
    return table


_MEETS = {1: True, 0: None, -1: False}


def _judged(studies: Sequence[Study]) -> pd.DataFrame:
    """Of each complete trial of the first study whether it meets the limits, and what it breaks.

    A study under limits has judged its own trials.

    Returns:
        meets (1, 0 where that is not known, -1), not_judged (the limits without a figure), excess (over all limits,
        relative to each), and broken (the limit that it breaks most; None).
    """
    study, given, limits = studies[0], _criteria(studies), _resolved(studies)
    trials = study.complete
    finished = records(trials)
    nearer = resolved(given, finished)  # good enough for an order, whatever has been stopped
    inactive = {
        limit
        for limit in given.limits
        if (limit.statistic and _counted(study) < limit.after if study.criteria else limit.resolve(finished) is None)
    }
    rows = []
    for trial in finished:
        stops = violations(limits, trial)
        tagged = trial["feasible"] if study.criteria else not stops
        unknown = [
            each
            for each in given.limits
            if tagged is None or each in inactive or not math.isfinite(trial.get(each.metric.name, math.nan))
        ]
        rows.append(
            {
                "meets": -1 if tagged is False else 0 if unknown else 1,
                "not_judged": ", ".join(map(str, unknown)),
                "excess": excess(nearer, trial),
                "broken": max(
                    stops, key=lambda stop: abs(stop.value - stop.limit) / (abs(stop.limit) or 1e-9), default=None
                ),
            }
        )
    table: pd.DataFrame = pd.DataFrame(rows, index=trials.index)
    return table


def _counted(study: Study) -> int:
    """How many trials a relative limit of a study under limits is of: those that ended, or that their limits ended."""
    ended_by_limits = (study.trials["status"] == "KILLED") & study.trials["stop_how"].notna()
    return len(study.complete) + int((ended_by_limits & ~study.trials["diverged"].astype(bool)).sum())


def _criteria(studies: Sequence[Study]) -> Criteria:
    """The limits of the first study under some; none without."""
    text = _limits(studies)
    return Criteria.parse(text, costs.metrics(studies[0].task)) if text else Criteria(())


def _resolved(studies: Sequence[Study]) -> Criteria:
    """The same as numbers, by the trials of the first of all.

    Without relative ones if that is under limits itself: those are of stopped trials too, whose costs are not known.
    """
    return resolved(_criteria(studies), [] if studies[0].criteria else records(studies[0].complete))


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
    fails = chosen["meets"] is False
    within = ", the best within the limits" if chosen["limits"] and chosen["meets"] else ""
    first = f"{named}: {study.score} {figure(chosen[str(study.score)])} with {_values(study, chosen)}{within}"
    known = [
        f"`{name}` {figure(chosen[name])}" for name in SHOWN_COSTS if chosen.get(name) == chosen.get(name, math.nan)
    ]
    lines = [f"It takes {', '.join(known)}." if known else ""]
    if fails:
        lines.insert(0, f"No trial that ran to its end meets `{chosen['limits']}`: this is the best without limits.")
    elif not chosen["meets"]:
        lines.insert(0, f"Whether it meets `{chosen['not_judged']}` is not known.")
    lines += _neighbours(study, chosen, roles.get(CHEAPER), roles.get(BETTER))
    lines += [f"The limits: `{chosen['limits']}`."] if chosen["limits"] and not fails else []
    return first, " ".join(line for line in lines if line)


def _neighbours(
    study: Study, chosen: dict[str, Any], cheaper: dict[str, Any] | None, better: dict[str, Any] | None
) -> Iterator[str]:
    """What a cheaper and a better model would cost."""
    noise = f"noise ({figure(chosen['margin'])})"
    if cheaper:
        times = cheaper["times"]
        by = f"{figure(times)} times cheaper" if times == times else "cheaper, down to nothing"
        yield (
            f"As good within {noise} and {by}: {_values(study, cheaper)}, with "
            f"`{cheaper['cost']}` {figure(cheaper['cost_value'])}."
        )
    elif chosen["margin"] and chosen["cheaper"] is None:
        yield f"Whether one that is as good within {noise} is cheaper cannot be told."
    elif chosen["margin"]:
        yield f"None that is as good within {noise} is cheaper."
    if better:
        yield (
            f"The next better one, {study.score} {figure(better[str(study.score)])} with {_values(study, better)}, "
            f"{_beyond(better)}."
        )
    elif chosen["limits"] and chosen["meets"] is not False and not study.criteria:  # that has stopped some
        yield "None is better beyond noise, whatever it costs."


def _beyond(better: dict[str, Any]) -> str:
    """What a better model breaks of the limits."""
    if not isinstance(better["cost"], str) and better["meets"] is False:
        return "breaks the limits"
    if not isinstance(better["cost"], str):
        return f"may meet the limits: whether it meets `{better['not_judged']}` is not known"
    times = better["times"]
    beyond = f"{figure(times)} times the limit" if times == times else "beyond the limit of 0"
    return f"has `{better['cost']}` {figure(better['cost_value'])}, {beyond}"


def _values(study: Study, row: dict[str, Any]) -> str:
    """What a trial had chosen; what it did not have is left out."""
    values = {name: row[name] for name in study.hyperparameters if row[name] == row[name] and row[name] is not None}
    texts = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items())
