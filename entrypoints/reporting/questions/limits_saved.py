"""What limits save and lose: which trials meet them, what stopping the others saved, and which of the good it ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from entrypoints.frame import Frame, configurations
from entrypoints.limits.grammar import Limits
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.paired import LESS, MORE, complete_of, differing_hosts, ratio_in_words, ratios
from entrypoints.reporting.verdicts import Verdict, judged, limits_of
from entrypoints.reporting.words import digits, joined, percent
from mlflow_sysmetrics.tags import BY_LIMITS

ROUNDING = 1e-9  # of a score
SMALL_PERCENT = 5.0  # of the CPU time: a saving below it may be noise
FORECASTS = ("full_cpu_s", "full_wall_s")  # columns of trials: what each would have cost at its end
_ELSE = "something else"
_OTHERS = {"tune": "the scheduler", "time_limit": "the time limit", "person": "a person"}


@dataclass(frozen=True)
class Saving:
    """What stopping trials saved.

    Attributes:
        study: the id of the study under limits.
        full: the id of the full study that it is counted against; None: forecasts of its own trials.
        trials: how many it had.
        spent_cpu_s, spent_wall_s: by all trials that say so.
        reasons: a row for what ended trials, the most saved first: reason, trials, skipped (before the first step),
            saved_cpu_s, saved_wall_s, saved_cpu_percent (of the time that the study would have taken).
        diverged: how many of these had diverged.
        unknown: how many stopped trials are in none of the savings, since what they have cost, or would have, is not
            recorded.
        command_cpu_percent: how much less CPU time the whole command took than that of the full study; NaN where one of
            the two does not say.
        command_s, full_command_s: how long the two took.
    """

    study: str
    full: str | None
    trials: int
    spent_cpu_s: float
    spent_wall_s: float
    reasons: pd.DataFrame
    diverged: int
    unknown: int
    command_cpu_percent: float = math.nan
    command_s: float = math.nan
    full_command_s: float = math.nan

    @property
    def saved_cpu_s(self) -> float:
        """Of all reasons."""
        return float(self.reasons["saved_cpu_s"].sum())

    @property
    def saved_wall_s(self) -> float:
        """Of all reasons."""
        return float(self.reasons["saved_wall_s"].sum())

    @property
    def saved_cpu_percent(self) -> float:
        """Of the CPU seconds that the study would have taken."""
        return _percent(self.saved_cpu_s, self.spent_cpu_s)

    @property
    def saved_wall_percent(self) -> float:
        """Of the trials' wall seconds."""
        return _percent(self.saved_wall_s, self.spent_wall_s)


def saving(frame: Frame, study: str | None = None) -> Saving | None:
    """What a study under limits saved; None without one, or where nothing says what its trials would have cost.

    A stopped trial has saved what the same configuration cost in the full study, less what it has cost itself: also
    where that is below 0, since costs differ from run to run. Trials that ran to their end have saved nothing.

    Args:
        frame: of the study, and maybe of the full one.
        study: the one under limits; by default the first.
    """
    studies = frame.studies
    limited = [name for name in studies.index if studies.loc[name, "limits"]]
    study = study or next(iter(limited), None)
    if study is None:
        return None
    full = full_study(frame, study)
    own = frame.trials[frame.trials["study"] == study]
    if full is None and not set(FORECASTS) <= set(own):
        return None
    spent = seconds(own)
    whole = own[list(FORECASTS)].set_axis(spent.columns, axis=1) if full is None else _in_full(frame, full, own)
    saved = whole - spent
    known = saved.notna().all(axis=1)
    is_stopped = own["status"] == "KILLED"
    ended = own[is_stopped & known]
    saved = saved.loc[ended.index]
    found = Saving(
        study,
        full,
        trials=len(own),
        spent_cpu_s=float(spent["cpu_s"].sum()),
        spent_wall_s=float(spent["wall_s"].sum()),
        reasons=_by_reason(limits_of(frame.of([study])), ended, saved, float(spent["cpu_s"].sum())),
        diverged=int(ended["diverged"].sum()),
        unknown=int((is_stopped & ~known).sum()),
    )
    if full is None:
        return found
    took = studies[["command_cpu_seconds", "command_elapsed_s"]].astype(float)
    (cpu_s, elapsed_s), (full_cpu_s, full_elapsed_s) = took.loc[study], took.loc[full]
    less = _percent(full_cpu_s - cpu_s, cpu_s)
    return replace(found, command_cpu_percent=less, command_s=elapsed_s, full_command_s=full_elapsed_s)


def _by_reason(limits: Limits, ended: pd.DataFrame, saved: pd.DataFrame, spent_cpu_s: float) -> pd.DataFrame:
    table: pd.DataFrame = pd.DataFrame(
        {
            "reason": [_reason(limits, trial) for trial in rows_of(ended)],
            "trials": 1,
            "skipped": (ended["stop_how"] == "skipped").astype(int).to_numpy(),
            "saved_cpu_s": saved["cpu_s"].to_numpy(),
            "saved_wall_s": saved["wall_s"].to_numpy(),
        }
    )
    by_reason = table.groupby("reason", sort=False).sum().reset_index()
    reasons: pd.DataFrame = by_reason.sort_values("saved_cpu_s", ascending=False)
    in_all = spent_cpu_s + reasons["saved_cpu_s"].sum()
    reasons["saved_cpu_percent"] = 100 * reasons["saved_cpu_s"] / in_all if in_all else 0.0
    return reasons


def full_study(frame: Frame, study: str) -> str | None:
    """The first study without limits that trained the same configurations in the same way as this one."""
    studies = frame.studies
    same = studies["limits"].isna() & (studies["key"] == studies.loc[study, "key"])
    return next((str(name) for name in studies.index[same]), None)


def seconds(trials: pd.DataFrame) -> pd.DataFrame:
    """What each trial took: cpu_s and wall_s; NaN where it does not say. Without CPU seconds they are its wall time."""
    nothing = pd.Series(float("nan"), index=trials.index)
    wall_s = trials.get("elapsed_s", nothing).astype(float)
    cpu_s = trials.get("cpu_seconds", nothing).astype(float).fillna(wall_s)
    table: pd.DataFrame = pd.DataFrame({"cpu_s": cpu_s, "wall_s": wall_s})
    return table


def answer(frame: Frame) -> Answer:
    """What each study under limits saved, and lost beside its full study."""
    limited = [str(name) for name in frame.studies.index if frame.studies.loc[name, "limits"]]
    if not limited:
        why = "What limits save: this takes a study of these trials under limits"
        how = "; run the command of this study with `-e early_stop`." if frame.studies["own"].iloc[0] else "."
        return Answer("limits_saved", open_question=why + how)
    savings = [found for found in (saving(frame, study) for study in limited) if found is not None]
    if not savings:
        why = "What limits saved: this takes a study of the same trials without limits, by `-e tune`."
        return Answer("limits_saved", open_question=why)
    tables, sentences = [], list[str]()
    for saved in savings:
        limits = str(frame.studies.loc[saved.study, "limits"])
        loss = lost(frame, saved.full, saved.study) if saved.full else {}
        tables.append(_table(saved, limits).assign(**loss))
        first, *others = sentences_of(saved, limits)
        if loss and (len(saved.reasons) or saved.unknown):
            first = f"{first} {_lost_in_words(loss)}".rstrip()
        sentences += [first, *others, *_reservations(loss)]
    metrics = {name: getattr(savings[0], name) for name in ("saved_cpu_percent", "saved_wall_percent")}
    return Answer("limits_saved", tuple(sentences), pd.concat(tables, ignore_index=True), metrics=metrics)


def _table(saved: Saving, limits: str) -> pd.DataFrame:
    reasons = saved.reasons if len(saved.reasons) else pd.DataFrame([{"reason": "nothing", "trials": 0}])
    of_study = ("spent_cpu_s", "command_cpu_percent", "command_s", "full_command_s", "study")
    about = {name: getattr(saved, name) for name in of_study}
    table: pd.DataFrame = reasons.assign(of_trials=saved.trials, limits=limits, **about)
    return table


def lost(frame: Frame, full: str, study: str) -> dict[str, Any]:
    """What limits stopped that meets them in the full study, and how much worse the best is that they left.

    Of the configurations that both studies began. What a scheduler, a time limit or a person ended, limits have not.

    Returns:
        feasible, not_judged, feasible_stopped (counts of configurations), score, val_lost and test_lost (of the score
        and of that on the test part, above 0 is worse; NaN where not known), cpu_ratio, cpu_low, cpu_high,
        cpu_verdict (of ``paired.ratios``) and hosts (see ``paired.differing_hosts``).
    """
    score = str(frame.studies.loc[full, "score"])
    whole = complete_of(frame, full)
    verdicts = judged(frame.of([full, study])).set_index("trial_id")["verdict"]
    own = frame.trials[frame.trials["study"] == study]
    tried = configurations(own, frame.hyperparameters)
    both = whole[whole.index.isin(tried)]
    of_both = both["trial_id"].map(verdicts)
    able = both[of_both == Verdict.MEETS]
    is_stopped = able.index.isin(tried[own["stopped_by"] == BY_LIMITS])
    sign = -1.0 if frame.studies.loc[full, "higher_is_better"] else 1.0
    found = {
        "feasible": len(able),
        "not_judged": int((of_both == Verdict.UNKNOWN).sum()),
        "feasible_stopped": int(is_stopped.sum()),
        "score": score,
        "val_lost": _worse_best(able, is_stopped, score, sign),
        "test_lost": _worse_best(able, is_stopped, score.replace("val_", "test_"), sign),
        "hosts": differing_hosts(frame, full, study),
    }
    cpu = next((row for row in rows_of(ratios(frame, full, study)) if row["metric"] == "cpu_seconds"), {})
    return found | {f"cpu_{name}": cpu.get(name) for name in ("ratio", "low", "high", "verdict")}


def _worse_best(able: pd.DataFrame, is_stopped: Any, metric: str, sign: float) -> float:
    """By how much the best trial that was left is worse than the best of all; NaN without one."""
    left = able[~is_stopped]
    if left.empty or metric not in able:
        return math.nan
    return sign * float(left[metric].iloc[0] - able[metric].iloc[0])


def _lost_in_words(loss: Mapping[str, Any]) -> str:
    able, stopped, worse = loss["feasible"], loss["feasible_stopped"], loss["val_lost"]
    if not able and loss["not_judged"]:
        return ""
    if not able:
        return "In the full study no trial meets these limits."
    if not stopped:
        return f"None of the {able} trials that meet the limits was stopped."
    if math.isnan(worse):
        left = "no other is left"
    elif worse > ROUNDING:
        left = f"the best of the others is {digits(worse, 2)} worse in {loss['score']}"
    else:
        left = "not the best"
    return f"Of {able} trials that meet the limits {stopped} {'was' if stopped == 1 else 'were'} stopped: {left}."


def _reservations(loss: Mapping[str, Any]) -> Iterator[str]:
    """Why the saving may be that of the machine."""
    if loss.get("hosts"):
        yield f"It ran on another machine than the full study ({loss['hosts']}): its saving compares two machines."
    elif loss.get("cpu_verdict") in (MORE, LESS):
        times = ratio_in_words({name: loss[f"cpu_{name}"] for name in ("ratio", "low", "high")})
        yield f"Trials that ran to their end in both took {times} as much CPU time under limits: savings are off by it."


def sentences_of(saved: Saving, limits: str) -> list[str]:
    """What a study under limits saved, and by which of them, in words."""
    reasons = saved.reasons
    stopped, skipped = int(reasons["trials"].sum()), int(reasons["skipped"].sum())
    unknown = f"; {saved.unknown} more have no known cost" if saved.unknown else ""
    if not stopped:
        return [f"`{limits}` stopped none of {saved.trials} trials{unknown}: nothing was saved."]
    counts = {"before the first step": skipped, "had diverged": saved.diverged}
    others = reasons[reasons["reason"].isin([*_OTHERS.values(), _ELSE])]
    counts |= {f"by {row['reason']}": row["trials"] for row in rows_of(others)}
    parts = [f"{count} {when}" for when, count in counts.items() if count]
    early = f" ({', '.join(parts)})" if parts else ""
    first = f"Under `{limits}` {stopped} of {saved.trials} trials {'was' if stopped == 1 else 'were'} stopped{early}"
    if saved.saved_cpu_percent < SMALL_PERCENT:
        return [f"{first}, which saved less than {SMALL_PERCENT:.0f} % of their CPU time: it may be noise{unknown}."]
    against = "the full study" if saved.full else "a forecast"
    sentences = [
        f"{first}: the trials took {digits(saved.spent_cpu_s)} s of CPU time, {digits(saved.saved_cpu_s)} s "
        f"({percent(saved.saved_cpu_percent)}) less than without limits, by {against}{unknown}."
        f"{_command_in_words(saved)}"
    ]
    if len(reasons) > 1:
        shares = [f"{row['reason']} saved {percent(row['saved_cpu_percent'])}" for row in rows_of(reasons)]
        sentences.append(f"Of the CPU time {joined(shares)}.")
    return sentences


def _command_in_words(saved: Saving) -> str:
    """What the whole command saved; empty where that is not known."""
    if math.isnan(saved.command_cpu_percent):
        return ""
    return (
        f" The whole command, with starting and preparing, took {percent(saved.command_cpu_percent)} less CPU time, "
        f"and by the clock {digits(saved.command_s)} s in place of {digits(saved.full_command_s)} s."
    )


def _in_full(frame: Frame, full: str, own: pd.DataFrame) -> pd.DataFrame:
    """What the configurations of some trials cost in a full study."""
    trials, tried = frame.trials, frame.configurations
    trials = trials[(trials["study"] == full) & (trials["status"] == "FINISHED") & (trials["repeat"] == 0)]
    costs_of = seconds(trials).set_axis(tried[trials.index])
    found: pd.DataFrame = costs_of[~costs_of.index.duplicated()].reindex(tried[own.index]).set_axis(own.index)
    return found


def _reason(limits: Limits, trial: dict[str, Any]) -> str:
    """What ended a trial: the limit, or who did."""
    if trial["stopped_by"] != BY_LIMITS:
        return _OTHERS.get(str(trial["stopped_by"]), _ELSE)
    of_metric = [f"`{rule}`" for rule in limits.rules if rule.metric.name == trial["stop_metric"]]
    return " or ".join(of_metric) or "a loss that had diverged"


def _percent(saved: float, spent: float) -> float:
    return 100 * saved / (saved + spent) if saved + spent else 0.0
