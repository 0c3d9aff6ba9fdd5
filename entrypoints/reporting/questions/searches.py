"""What searches found that tried different configurations: each as a whole, since their trials do not pair up."""

from __future__ import annotations

from typing import Any

import pandas as pd

from entrypoints.reporting import expectation
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions.limits_saved import is_on_one_machine
from entrypoints.reporting.words import digits
from entrypoints.trials.frame import Frame
from mlflow_sysmetrics.recording.tags import BY_LIMITS


def others(frame: Frame) -> list[str]:
    """The ids of the studies that tried configurations that the first one did not try."""
    tried = _tried(frame)
    return [str(study) for study in frame.studies.index if not tried[study] <= tried[frame.first]]


def answer(frame: Frame) -> Answer:
    """The model and the CPU time of the first study and of each other search, and how much they have in common."""
    studies = [frame.first, *others(frame)]
    tried, configurations, trials = _tried(frame), frame.configurations, frame.trials
    rows = []
    for study in studies:
        shared = tried[study] & tried[frame.first]
        is_stopped = (trials["study"] == study) & (trials["stopped_by"] == BY_LIMITS)
        about = frame.studies.loc[study]
        row = {
            "search": about["name"],
            "limits": about["limits"] or "none",
            "configurations": len(tried[study]),
            "shared": len(shared),
            "cpu_s": about["command_cpu_seconds"],
            **about[["test", "test_low", "test_high", "score", "no_interval", "model"]],
            "shared_stopped": len(shared & set(configurations[is_stopped])),
            "other_machine": not is_on_one_machine(frame, frame.first, study),
        }
        rows.append(row)
    table: pd.DataFrame = pd.DataFrame(rows)
    table["cpu_s"] = table["cpu_s"].astype(float)
    first, *beside = rows_of(table)
    found = "; ".join([_found(first), *map(_found, beside)])
    in_common = "; ".join(_in_common(row, first) for row in beside)
    sentence = f"{found}. The searches differ in more than the limits: {in_common}."
    return Answer("searches", (sentence,), table)


def _tried(frame: Frame) -> dict[str, set[str]]:
    """The configurations of each study."""
    by_study = frame.configurations.groupby(frame.trials["study"])
    return {str(study): set(configurations) for study, configurations in by_study}


def _found(row: dict[str, Any]) -> str:
    """What a search found, and in what time."""
    under = "" if row["limits"] == "none" else f" under `{row['limits']}`"
    elsewhere = " on another machine" if row["other_machine"] else ""
    expected = expectation.in_words(pd.Series(row)) or "no score on the test part is known"
    return f"`{row['search']}`{under} took {digits(row['cpu_s'])} s of CPU time{elsewhere}: {expected}"


def _in_common(row: dict[str, Any], first: dict[str, Any]) -> str:
    """How many configurations two searches both tried, and how many of these limits stopped."""
    stopped = "" if row["limits"] == "none" else f", and its limits stopped {row['shared_stopped']} of these"
    return (
        f"`{row['search']}` shares {row['shared']} of its {row['configurations']} configurations with "
        f"`{first['search']}`{stopped}"
    )
