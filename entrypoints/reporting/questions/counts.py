"""What became of the trials, in counts that add up."""

from __future__ import annotations

import pandas as pd

from entrypoints.reporting.answer import Answer
from entrypoints.runs.tags import BY_RACE, BY_TIME_LIMIT
from entrypoints.text import listed
from entrypoints.trials.frame import Frame
from mlflow_sysmetrics.recording.tags import BY_LIMITS, BY_PERSON

MAX_NAMED = 3
_DIVERGED, _UNSCORED, _NOT_STARTED = "diverged", "have no score", "not started"
_ENDINGS = {  # of a trial, in the order in which they are said
    "FINISHED": "ran to the end",
    BY_LIMITS: "stopped by the limits",
    BY_RACE: "ended by racing",
    BY_PERSON: "stopped by a person",
    BY_TIME_LIMIT: "cut off by time_limit_s",
    _DIVERGED: _DIVERGED,
    _UNSCORED: _UNSCORED,
    "FAILED": "failed",
    _NOT_STARTED: _NOT_STARTED,
}


def answer(frame: Frame) -> Answer:
    """How many trials ended in which way, of the first study."""
    counts = _counts(frame)
    table: pd.DataFrame = pd.DataFrame([{"ending": ending, "trials": count} for ending, count in counts.items()])
    table["planned"] = _planned(frame)
    return Answer("counts", (f"{counted(frame)}.",), table)


def counted(frame: Frame) -> str:
    """The same in one sentence without its full stop."""
    trials = frame.trials[frame.trials["study"] == frame.first]
    planned, counts = _planned(frame), _counts(frame)
    why = {
        _DIVERGED: _in_common(frame, trials[trials["diverged"].astype(bool)]),
        _UNSCORED: f", since {frame.score} is not defined for their predictions",
    }
    parts = [
        f"{'all' if count == planned > 1 else count} {ending}{why.get(ending, '')}" for ending, count in counts.items()
    ]
    return f"{planned} trial{'' if planned == 1 else 's'}: {', '.join(parts)}"


def _planned(frame: Frame) -> int:
    known = int(frame.studies["planned"].iloc[0] or 0)
    return max(known, int((frame.trials["study"] == frame.first).sum()))


def _counts(frame: Frame) -> dict[str, int]:
    """How many trials ended in which way, in words, and how many have not begun."""
    trials = frame.trials[frame.trials["study"] == frame.first]
    is_unscored = (trials["status"] == "FINISHED") & trials[frame.score].isna()
    became = trials["stopped_by"].where(trials["stopped_by"].notna(), trials["status"])
    became = became.mask(is_unscored, _UNSCORED).mask(trials["diverged"].astype(bool), _DIVERGED)
    counts = became.value_counts().to_dict() | {_NOT_STARTED: _planned(frame) - len(trials)}
    return {ending: int(counts[end]) for end, ending in _ENDINGS.items() if counts.get(end)}


def _in_common(frame: Frame, trials: pd.DataFrame) -> str:
    """Which trials these are, in brackets: what all of them have, or else the names of some."""
    if trials.empty:
        return ""
    alike = [
        name for name in frame.hyperparameters if trials[name].notna().all() and trials[name].astype(str).nunique() == 1
    ]
    if not alike or len(trials) < 2:
        return f" ({listed(trials['name'], MAX_NAMED)})"
    return f" (all with {', '.join(f'{name} {trials[name].iloc[0]}' for name in alike)})"
