"""What limits and racing save, by ending trials; and what limits lose: which of the good trials they ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from entrypoints.limits.grammar import Limits
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions.effects import noise_of_score
from entrypoints.reporting.verdicts import Verdict, judged, limits_of
from entrypoints.reporting.words import digits, joined, percent
from entrypoints.runs.tags import BY_RACE
from entrypoints.trials.frame import Frame, configurations
from mlflow_sysmetrics.recording.tags import BY_LIMITS

SMALL_PERCENT = 5.0  # of the CPU time: a saving below it may be noise
FORECASTS = ("full_cpu_s", "full_wall_s")  # columns of trials: what each would have cost at its end
_DIVERGED = "a loss that had diverged"
_RACING = "racing"
_OTHERS = {BY_RACE: _RACING, "time_limit": "the time limit", "person": "a person"}


@dataclass(frozen=True)
class Saving:
    """What stopping trials saved.

    Attributes:
        study: the id of the study under limits, or in which trials raced.
        full: the id of the full study that it is counted against; None: forecasts of its own trials.
        trials: how many it had.
        figures: of all trials and reasons, of CPU and of wall time: spent_.._s, saved_.._s and saved_.._percent, of the
            time that the trials would have taken.
        reasons: a row for what ended trials, the most saved first: reason, trials,
            saved_cpu_s, saved_wall_s, saved_cpu_percent.
        unknown: how many stopped trials are in none of the savings, since what they have cost, or would have, is not
            recorded.
    """

    study: str
    full: str | None
    trials: int
    figures: dict[str, float]
    reasons: pd.DataFrame
    unknown: int

    @property
    def is_small(self) -> bool:
        """Whether what was saved may be noise."""
        return self.figures["saved_cpu_percent"] < SMALL_PERCENT

    @property
    def against(self) -> str:
        """What it is counted against, in words."""
        return "the full study" if self.full else "a forecast"


def saving(frame: Frame, study: str | None = None) -> Saving | None:
    """What a study saved by ending trials; None without one, or where nothing says what they would have cost.

    A stopped trial has saved what the same configuration cost in the full study, less what it has cost itself: also
    where that is below 0, since costs differ from run to run. Trials that ran to their end have saved nothing.

    Args:
        frame: of the study, and maybe of the full one.
        study: the one that has ended some; by default the first.
    """
    study = study or next(iter(_shortened(frame)), None)
    if study is None:
        return None
    full = full_study(frame, study)
    own = frame.trials[frame.trials["study"] == study]
    if full is None and not set(FORECASTS) <= set(own):
        return None
    spent = seconds(own)
    whole = own[list(FORECASTS)].set_axis(spent.columns, axis=1) if full is None else _in_full(frame, full, own)
    saved = whole - spent
    is_known = saved.notna().all(axis=1)
    is_stopped = own["status"] == "KILLED"
    saved = saved[is_stopped & is_known]
    figures = {}
    for unit in ("cpu", "wall"):
        took, saved_s = float(spent[f"{unit}_s"].sum()), float(saved[f"{unit}_s"].sum())
        figures[f"spent_{unit}_s"] = took
        figures[f"saved_{unit}_s"] = saved_s
        figures[f"saved_{unit}_percent"] = 100 * saved_s / (took + saved_s) if took + saved_s else 0.0
    reasons = _by_reason(limits_of(frame.of([study])), own.loc[saved.index], saved)
    in_all = figures["spent_cpu_s"] + figures["saved_cpu_s"]
    reasons["saved_cpu_percent"] = 100 * reasons["saved_cpu_s"] / in_all if in_all else 0.0
    return Saving(study, full, len(own), figures, reasons, unknown=int((is_stopped & ~is_known).sum()))


def full_study(frame: Frame, study: str) -> str | None:
    """The first study without limits that trained the same configurations in the same way as this one."""
    studies = frame.studies
    same = studies["limits"].isna() & (studies["key"] == studies.loc[study, "key"]) & (studies.index != study)
    return next((str(name) for name in studies.index[same]), None)


def seconds(trials: pd.DataFrame) -> pd.DataFrame:
    """What each trial took: cpu_s and wall_s; NaN where it does not say. Without CPU seconds they are its wall time."""
    nothing = pd.Series(float("nan"), index=trials.index)
    wall_s = trials.get("elapsed_s", nothing).astype(float)
    cpu_s = trials.get("cpu_seconds", nothing).astype(float).fillna(wall_s)
    table: pd.DataFrame = pd.DataFrame({"cpu_s": cpu_s, "wall_s": wall_s})
    return table


def answer(frame: Frame) -> Answer:
    """What each study under limits, or in which trials raced, saved; and what limits lost beside its full study."""
    savings = [found for found in (saving(frame, study) for study in _shortened(frame)) if found is not None]
    if not savings:
        if not frame.studies["limits"].any():
            return Answer("limits_saved")
        why = "What limits saved: this takes a study of the same trials without limits, by `-e tune`."
        return Answer("limits_saved", open_question=why)
    tables, sentences = [], list[str]()
    for saved in savings:
        limits = frame.studies["limits"].to_dict()[saved.study]
        loss = lost(frame, saved.full, saved.study) if saved.full and limits else {}
        tables.append(_table(saved, limits or "none").assign(**loss))
        sentences.append(_in_words(saved, limits))
        if loss and (len(saved.reasons) or saved.unknown):
            sentences += _lost_in_words(loss)
        if saved.full is not None and not is_on_one_machine(frame, saved.study, saved.full):
            sentences.append("It ran on another machine than the full study: its saving compares two machines.")
    metrics = {name: savings[0].figures[name] for name in ("saved_cpu_percent", "saved_wall_percent")}
    return Answer("limits_saved", tuple(sentences), pd.concat(tables, ignore_index=True), metrics=metrics)


def lost(frame: Frame, full: str, study: str) -> dict[str, Any]:
    """What limits stopped that meets them in the full study, and how much worse the best is that they left.

    Of the configurations that both studies began. What a time limit or a person ended, limits have not.

    Returns:
        feasible, not_judged, feasible_stopped (counts of configurations), score, val_lost and test_lost (of the score
        and of that on the test part, above 0 is worse; NaN where not known) and noise (of the score).
    """
    of_full = frame.of([full])
    whole = of_full.complete
    whole = whole.set_axis(configurations(whole, frame.hyperparameters).to_list())
    verdicts = judged(frame.of([full, study])).set_index("trial_id")["verdict"]
    own = frame.trials[frame.trials["study"] == study]
    tried = configurations(own, frame.hyperparameters)
    both = whole[whole.index.isin(tried)]
    of_both = both["trial_id"].map(verdicts)
    able = both[of_both == Verdict.MEETS]
    is_stopped = able.index.isin(tried[own["stopped_by"] == BY_LIMITS])
    found = {
        "feasible": len(able),
        "not_judged": int((of_both == Verdict.UNKNOWN).sum()),
        "feasible_stopped": int(is_stopped.sum()),
        "score": of_full.score,
        "noise": noise_of_score(of_full).error(),
    }
    left = able[~is_stopped]
    for part in ("val", "test"):
        metric = of_full.score.replace("val_", f"{part}_")
        is_known = metric in able and len(left)
        worse = of_full.sign * (left[metric].iloc[0] - able[metric].iloc[0]) if is_known else math.nan
        found[f"{part}_lost"] = float(worse)
    return found


def _shortened(frame: Frame) -> list[str]:
    """The ids of the studies under limits, and of those in which a race has ended trials."""
    raced = set(frame.trials["study"][frame.trials["stopped_by"] == BY_RACE])
    studies = frame.studies["limits"]
    return [str(name) for name, limits in studies.items() if limits or name in raced]


def _by_reason(limits: Limits, ended: pd.DataFrame, saved: pd.DataFrame) -> pd.DataFrame:
    rows = pd.DataFrame({"reason": [_reason(limits, trial) for trial in rows_of(ended)], "trials": 1})
    rows[["saved_cpu_s", "saved_wall_s"]] = saved[["cpu_s", "wall_s"]].to_numpy()
    by_reason = rows.groupby("reason", sort=False).sum().reset_index()
    reasons: pd.DataFrame = by_reason.sort_values("saved_cpu_s", ascending=False)
    return reasons


def _reason(limits: Limits, trial: dict[str, Any]) -> str:
    """What ended a trial: the limit, or who did."""
    if trial["stopped_by"] == BY_RACE and trial["diverged"]:
        return _DIVERGED
    if trial["stopped_by"] != BY_LIMITS:
        return _OTHERS.get(str(trial["stopped_by"]), "something else")
    of_metric = [f"`{rule}`" for rule in limits.rules if rule.metric.name == trial["stop_metric"]]
    return " or ".join(of_metric) or _DIVERGED


def _in_full(frame: Frame, full: str, own: pd.DataFrame) -> pd.DataFrame:
    """What the configurations of some trials cost in a full study."""
    trials, tried = frame.trials, frame.configurations
    trials = trials[(trials["study"] == full) & (trials["status"] == "FINISHED")]
    costs_of = seconds(trials).set_axis(tried[trials.index])
    found: pd.DataFrame = costs_of[~costs_of.index.duplicated()].reindex(tried[own.index]).set_axis(own.index)
    return found


def _table(saved: Saving, limits: str) -> pd.DataFrame:
    reasons = saved.reasons if len(saved.reasons) else pd.DataFrame([{"reason": "nothing", "trials": 0}])
    table: pd.DataFrame = reasons.assign(
        of_trials=saved.trials,
        limits=limits,
        spent_cpu_s=saved.figures["spent_cpu_s"],
        study=saved.study,
        counted_against=saved.full or "forecast",
    )
    return table


def _in_words(saved: Saving, limits: str | None) -> str:
    """How many trials ended early, for which reasons, and what that saved."""
    under = f"Under `{limits}` " if limits else ""
    unknown = f"; {saved.unknown} more have no known cost" if saved.unknown else ""
    if saved.reasons.empty:
        return f"{under or 'Racing: '}none of {saved.trials} trials ended early{unknown}: nothing was saved."
    reasons = joined(f"{row['trials']} by {row['reason']}" for row in rows_of(saved.reasons))
    ended = f"{under}{saved.reasons['trials'].sum()} of {saved.trials} trials ended early ({reasons})"
    if saved.is_small:
        return f"{ended}, which saved less than {SMALL_PERCENT:.0f} % of their CPU time: it may be noise{unknown}."
    took, less, share = (saved.figures[name] for name in ("spent_cpu_s", "saved_cpu_s", "saved_cpu_percent"))
    saving = f"{digits(less)} s ({percent(share)}) less than to their end, by {saved.against}"
    return f"{ended}: all took {digits(took)} s of CPU time, {saving}{unknown}."


def _lost_in_words(loss: Mapping[str, Any]) -> Iterator[str]:
    able, stopped, worse = loss["feasible"], loss["feasible_stopped"], loss["val_lost"]
    if not able:
        if not loss["not_judged"]:
            yield "In the full study no trial meets these limits."
        return
    if not stopped:
        yield f"None of the {able} trials that meet the limits was stopped."
        return
    if math.isnan(worse):
        left = "no other is left"
    elif worse > loss["noise"]:
        left = f"the best of the others is {digits(worse, 2)} worse in {loss['score']}"
    else:
        left = "the best of the others is as good within noise"
    yield f"Of {able} trials that meet the limits {stopped} {'was' if stopped == 1 else 'were'} stopped: {left}."


def is_on_one_machine(frame: Frame, study: str, other: str) -> bool:
    """Whether two studies share a machine, or that is not known."""
    hosts = frame.trials.dropna(subset=["host"]).groupby("study")["host"].agg(set)
    known = [hosts[each] for each in (study, other) if each in hosts]
    return len(known) < 2 or bool(set.intersection(*known))
