"""What limits saved, and how right their predictions were, in words: from the rows of the tables that are logged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any, Literal

from entrypoints.limits.noise import SMALL
from entrypoints.reporting.markdown import cell, code, table
from entrypoints.reporting.savings.calibration import RIGHT, TOO_FEW
from entrypoints.reporting.savings.tables import NOTHING
from entrypoints.reporting.words import between

Row = dict[str, Any]
Saving = Literal["nothing stopped", "unknown", "small", "saved"]
SMALL_PERCENT = 100 * SMALL  # of the CPU time: less is not named
ROUNDING = 1e-9  # the most that a regret of nothing may differ from 0
SAID = ("training_time_s", "peak_memory_mb")  # whose predictions have their ratio in the sentence: default limits


def saved(rules: Iterable[Row], by_criterion: Iterable[Row]) -> list[str]:
    """Two sentences on each study under limits, or else on the replay: what the limits saved, and what they lost.

    Another one says which limits a replay knows too little of.

    Where nothing was stopped the two studies differ by noise alone, which is not a saving; nor is one below 5 % named.

    Args:
        rules: of ``rules``.
        by_criterion: of ``savings_by_criterion``.
    """
    parts = list(by_criterion)
    return [sentence for row in told(rules) for sentence in _of_rule(row, ended_by(row, parts))]


def told(rules: Iterable[Row]) -> list[Row]:
    """The rows that are spoken of: those of studies under limits, or else of the replay."""
    rows = list(rules)
    return [row for row in rows if row["kind"] == "real"] or [row for row in rows if row["kind"] == "replayed"]


def ended_by(row: Row, by_criterion: Iterable[Row]) -> list[Row]:
    """The criteria that ended trials, of one row of rules; none where it stopped nothing."""
    own = [part for part in by_criterion if all(part[name] == row[name] for name in ("study", "rule", "kind"))]
    return [part for part in own if part["criterion"] != NOTHING]


def kind_of_saving(row: Row, parts: Sequence[Row]) -> Saving:
    """What may be said of the CPU time that a row of rules saved.

    Args:
        row: of ``rules``.
        parts: of ``ended_by``.
    """
    if not parts:
        return "nothing stopped"
    if math.isnan(row["saved_cpu_percent"]):
        return "unknown"
    return "small" if row["saved_cpu_percent"] < SMALL_PERCENT else "saved"


def free(rows: Iterable[Row]) -> list[Row]:
    """Of limits on one metric, from the loosest on, those that keep the best of all trials, as each looser one does.

    A limit may stop it that a tighter one, with other predictions, does not: beyond that none is called free.

    Args:
        rows: of ``tradeoff``.
    """
    known = (row for row in rows if row["val_regret_all"] == row["val_regret_all"])
    return list(takewhile(lambda row: row["val_regret_all"] <= ROUNDING, sorted(known, key=lambda row: -row["limit"])))


def rules_table(rows: Iterable[Row]) -> str:
    """A line for each rule: what it saved and what it lost."""
    columns = {
        "rule": lambda row: f"`{row['rule']}`" if row["kind"] != "control" else str(row["rule"]),
        "how known": lambda row: (
            f"{row['kind']}, without stops on the way by {_unseen(row)}" if row["not_replayed"] else str(row["kind"])
        ),
        "CPU saved": cell("saved_cpu_percent", _whole),
        "wall saved": cell("saved_wall_percent", _whole),
        "steps saved": cell("saved_steps_percent", _whole),
        "regret, validation": cell("val_regret", regret),
        "regret, test": cell("test_regret", regret),
        "feasible": cell("feasible"),
        "of them stopped (near a limit)": lambda row: f"{row['feasible_stopped']} ({row['borderline_stopped']})",
        "infeasible ones still cost": lambda row: _known(row["infeasible_cost_percent"], "{:.0f} %"),
    }
    return table(columns, rows)


def criteria_table(rows: Iterable[Row]) -> str:
    """A line for each criterion of each study under limits and of each replay: how its saving divides."""
    columns = {
        "limits": cell("rule", code),
        "how known": cell("kind"),
        "ended by": lambda row: f"`{row['criterion']}`" if row["metric"] else str(row["criterion"]),
        "trials": cell("trials"),
        "before the first step": cell("skipped"),
        "CPU saved": cell("saved_cpu_percent", _whole),
        "steps saved": cell("saved_steps_percent", _whole),
    }
    return table(columns, rows)


def calibrated(rows: Iterable[Row]) -> str:
    """A sentence on how far predictions lie from what was measured; empty where too few trials can say it.

    Args:
        rows: of ``calibration``.
    """
    judged = [row for row in rows if row["verdict"] != TOO_FEW]
    with_ratio = [row for row in judged if row["metric"] in SAID and row["median_ratio"] == row["median_ratio"]]
    if not judged:
        return ""
    ratios = [
        f"`{row['metric']}` {row['median_ratio']:.2f} ({row['low_ratio']:.2f} to {row['high_ratio']:.2f})"
        for row in with_ratio
    ]
    coverage = [row["coverage_percent"] for row in judged]
    held = (
        f"{between(min(coverage), max(coverage))} of trials lie within the {judged[0]['interval_percent']:.0f} % "
        "interval by which they would be skipped"
    )
    off = [f"`{row['metric']}`: {row['verdict']}" for row in judged if row["verdict"] != RIGHT]
    start = f"Predicted before the first step / measured, median (5 to 95 %): {', '.join(ratios)}; " if ratios else ""
    return f"{start}{held}" + (f"; **off**: {'; '.join(off)}." if off else ".")


def calibration_table(rows: Iterable[Row], *first: str) -> str:
    """A line for each predicted metric, with these values of its row first."""
    columns = {
        **{name: cell(name) for name in first},
        "metric": cell("metric", code),
        "trials": cell("trials"),
        "predicted / measured, median": lambda row: _known(row["median_ratio"], "{:.2f}"),
        "5 %": lambda row: _known(row["low_ratio"], "{:.2f}"),
        "95 %": lambda row: _known(row["high_ratio"], "{:.2f}"),
        "inside of the interval": lambda row: f"{row['coverage_percent']:.0f} %",
        "below it": lambda row: f"{row['below_percent']:.0f} %",
        "so it is": cell("verdict"),
    }
    return table(columns, rows)


def over(row: Row) -> str:
    """The share of trials that a row counts, in words; empty if it counts all that ran to their end."""
    return f" over {row['trials']} of {row['of_trials']} trials" if row["trials"] < row["of_trials"] else ""


def regret(value: float) -> str:
    """How much worse a chosen model is, as it is read."""
    return "no model left" if value != value else "no regret" if abs(value) <= ROUNDING else f"{value:.4g}"


def _of_rule(row: Row, parts: Sequence[Row]) -> list[str]:
    some = over(row)
    how = "replayed" if row["kind"] != "real" else "compared" if some else ""
    limits = f"`{row['rule']}`, {how}{some}," if how else f"`{row['rule']}`"
    missing = (
        f"A replay does not know when a trial breaks a limit on {_unseen(row)}, which no curve holds: stops on the "
        "way are missing from it."
    )
    unknown = [missing] if row["not_replayed"] else []
    kind = kind_of_saving(row, parts)
    if kind == "nothing stopped":
        return [f"{limits} stopped no trial{'' if unknown else ', so nothing was saved'}.", *unknown]
    if kind == "unknown":
        first = (
            f"{limits} saved {_whole(row['saved_steps_percent'])} of the training steps; the CPU time saved is "
            "unknown, since a trial that ended early has none recorded."
        )
    elif kind == "small":
        first = f"{limits} saved less than {SMALL_PERCENT:.0f} % of the CPU time."
    else:
        shares = [f"{_name(part)} {_whole(part['saved_cpu_percent'])} with {_with(part)}" for part in parts]
        first = (
            f"{limits} saved **{_whole(row['saved_cpu_percent'])}** of the CPU time, "
            f"{_whole(row['saved_wall_percent'])} of the wall time and {_whole(row['saved_steps_percent'])} of the "
            f"training steps; of the CPU time {', '.join(shares)}."
        )
    near = f" ({row['borderline_stopped']} within 5 % of a limit)" if row["borderline_stopped"] else ""
    stopped = f"Of {row['feasible']} trials that meet the limits {row['feasible_stopped']} were stopped{near}"
    none = "No trial of the full study meets the limits."
    return [first, f"{stopped}: {_lost(row)}." if row["feasible"] else none, *unknown]


def _unseen(row: Row) -> str:
    return " and ".join(code(name) for name in row["not_replayed"].split(", "))


def _lost(row: Row) -> str:
    values = [row["val_regret"], row["test_regret"]]
    if any(value != value for value in values):
        return regret(math.nan)
    if all(abs(value) <= ROUNDING for value in values):
        return regret(0.0)
    return f"a regret of {values[0]:.4g} in validation and {values[1]:.4g} in test score"


def _name(part: Row) -> str:
    return f"`{part['criterion']}`" if part["metric"] else str(part["criterion"])


def _with(part: Row) -> str:
    return f"{part['trials']} trial{'' if part['trials'] == 1 else 's'} ({part['skipped']} before the first step)"


def _whole(value: float) -> str:
    return "unknown" if value != value else f"{round(value)} %"


def _known(value: float, form: str) -> str:
    return "-" if value != value else form.format(value)
