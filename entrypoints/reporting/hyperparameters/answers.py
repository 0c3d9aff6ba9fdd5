"""What a report's page says of hyperparameters (RQ2). Every number comes from the tables that are logged beside it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from entrypoints.limits.noise import TOLD_P
from entrypoints.reporting.findings import Findings
from entrypoints.reporting.hyperparameters.effects import needed_p
from entrypoints.reporting.hyperparameters.metric_ranks import smallest_p
from entrypoints.reporting.hyperparameters.tol_savings import SAVED
from entrypoints.reporting.markdown import cell, code, p_value, table
from entrypoints.reporting.studies import Study
from entrypoints.reporting.words import PER_ROW_MS, figure, law, number, percent, short_unit

# Of costs that say the same, one: a trial's elapsed time follows its training time.
DISTINCT_COSTS = (
    "training_time_s",
    "peak_memory_mb",
    "model_memory_mb",
    "inference_latency_ms",
    "model_size_kb",
    "peak_gpu_memory_mb",
)
MAX_COSTS = 4  # in a sentence
MAX_LEVELS = 4  # that are named
MAX_TOGETHER = 3  # interactions

Row = dict[str, Any]


def sentences(study: Study, found: Findings) -> list[str]:
    """The answer in at most two sentences: what changes the score, and what changes the costs, strongest first."""
    return [f"{'; '.join(_by_ends(rows))}." for rows in _said(study, found) if rows]


def noise_unknown(study: Study, found: Findings) -> str:
    """The metrics in the answer whose differences from run to run are not known; empty if there are none."""
    rows = [row for rows in _said(study, found) for row in rows]
    known = {name for name, noise in study.noises.items() if noise.noise is not None}
    names = [f"`{row['metric']}`" for row in rows if row["metric"] not in known]
    return f"How much {', '.join(names)} differ from run to run is not known." if names else ""


def _said(study: Study, found: Findings) -> tuple[list[Row], list[Row]]:
    """The effects on the score and on the costs that the answer has room for."""
    told = strongest(found)
    scores = [told[study.score]] if study.score in told else []
    costs = [told[metric] for metric in DISTINCT_COSTS if metric in told]
    costs = costs or [row for metric, row in told.items() if metric != study.score]
    return scores, sorted(costs, key=lambda row: -row["share_of_variance"])[:MAX_COSTS]


def details(study: Study, found: Findings) -> list[str]:
    """What follows the table of effects: pairs, the law of a step, tol."""
    return [line for line in (_together(found), _laws(found), _tols(study, found)) if line]


def effects_table(found: Findings, metrics: Sequence[str]) -> str:
    """The strongest effect on each of these metrics that has one, as a table. Empty where none has."""
    told = strongest(found)
    columns = {
        "metric": cell("metric", code),
        "changed most by": lambda row: f"`{row['hyperparameter']}` {row['first_at']} -> {row['second_at']}",
        "medians": _medians,
        "change (95 % interval)": change_of,
        "share of variance": lambda row: percent(100 * row["share_of_variance"]),
        "p (Holm)": cell("p_holm", p_value),
    }
    return table(columns, [told[metric] for metric in metrics if metric in told])


def strongest(found: Findings) -> dict[str, Row]:
    """By metric, the effect that explains most of it, of those that are worth a sentence."""
    rows = [row for row in found.rows("effects") if row["told"]]
    return {row["metric"]: row for row in sorted(rows, key=lambda row: row["share_of_variance"])}


def not_found(found: Findings) -> str:
    """Which metrics and hyperparameters were tested without finding an effect, in a line."""
    rows = [row for row in found.rows("effects") if row["p_holm"] == row["p_holm"]]
    tested = [row for row in rows if not row["out_of_reach"]]
    parts = []
    for kind, words in (("hyperparameter", "any effect of"), ("metric", "any effect on")):
        told = {row[kind] for row in tested if row["told"]}
        names = [name for name in dict.fromkeys(row[kind] for row in tested) if name not in told]
        if names and (told or kind == "metric"):
            lost = any(row["out_of_reach"] and row[kind] in names for row in rows)
            parts.append(f"{words} {', '.join(map(code, names))}{' but those not judged' if lost else ''}")
    return f"Tested and not found, beyond chance, noise and 5 %: {'; '.join(parts)}." if parts else ""


def not_judged(found: Findings) -> str:
    """What could not be judged, and why, in a line."""
    rows = found.rows("effects")
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["hyperparameter"], []).append(row)
    untested = [f"`{name}`" for name, own in by_name.items() if all(row["p_value"] != row["p_value"] for row in own)]
    lost = _out_of_reach(rows)
    all_lost = {name for name, own in by_name.items() if all(row["out_of_reach"] for row in own)}
    few = []
    for name, own in by_name.items():
        levels = max(own, key=lambda row: row["trials"])["few_trials_at"]
        if levels and f"`{name}`" not in untested and name not in all_lost:
            shown = levels.split(", ")
            few.append(f"`{name}` {levels if len(shown) <= MAX_LEVELS else f'at {len(shown)} of its values'}")
    parts = [f"{', '.join(untested)} (one value, or as many as trials)"] if untested else []
    parts += (
        [f"{', '.join(few)}: fewer than three trials ran to their end there (their number in brackets)"] if few else []
    )
    parts += [f"effects of {lost}"] if lost else []
    return f"Not judged: {'; '.join(parts)}." if parts else ""


def _out_of_reach(rows: Sequence[Row]) -> str:
    """The effects that this number of trials could never show among its tests; empty if there are none.

    Args:
        rows: of ``effects``.
    """
    lost = [row for row in rows if row["out_of_reach"]]
    if not lost:
        return ""
    parts = []
    for name in dict.fromkeys(row["hyperparameter"] for row in lost):
        own = [f"`{row['metric']}`" for row in lost if row["hyperparameter"] == name]
        tested = sum(row["hyperparameter"] == name and row["p_value"] == row["p_value"] for row in rows)
        parts.append(f"`{name}`" if len(own) == tested else f"`{name}` on {', '.join(own)}")
    row = min(lost, key=lambda each: each["smallest_p"])
    levels, needed = row["levels"], needed_p(each["p_holm"] for each in rows)
    # By the Kruskal-Wallis test, of two: see ``effects``.
    enough = next(levels * count for count in itertools.count(2) if 2 * smallest_p([count] * levels) < needed)
    why = "are too few" if row["trials"] < enough else "lie too unevenly over its values"
    return (
        f"{', '.join(parts)} ({row['trials']} trials {why}: even if `{row['hyperparameter']}` set all of them apart, p "
        f"would be {number(row['smallest_p'])}, and the next of {round(TOLD_P / needed)} tests needs {number(needed)}; "
        f"about {enough} trials{'' if row['trials'] < enough else ', evenly spread,'} could show it)"
    )


def change_of(row: Row) -> str:
    """The interval of a change in words, such as ``210 to 260 times less``; ``about 230 times less`` without one.

    ``typically``: what the medians differ by is something else.
    """
    if row["change_low"] != row["change_low"]:
        return f"about {number(row['change'])} {row['change_in']}"
    low, high = number(row["change_low"]), number(row["change_high"])
    ends = low if low == high else f"{low} to {high}"
    return f"{'' if row['medians_agree'] else 'typically '}{ends} {row['change_in']}"


def _by_ends(rows: Sequence[Row]) -> list[str]:
    """Effects in words, those between the same two levels together."""
    by_ends: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        by_ends.setdefault((row["hyperparameter"], row["first_at"], row["second_at"]), []).append(row)
    return [
        f"`{name}` {first} -> {second}: {', '.join(_changed(row) for row in own)}"
        for (name, first, second), own in by_ends.items()
    ]


def _changed(row: Row) -> str:
    return f"`{row['metric']}` {_medians(row)} ({change_of(row)})"


def _medians(row: Row) -> str:
    return f"{figure(row['first'])} -> {figure(row['second'])} {_unit(row)}".rstrip()


def _unit(row: Row) -> str:
    return short_unit(row["metric"]).replace("points", "%")


def _together(found: Findings) -> str:
    parts = [
        f"`{row['first']}` {row['first_at']} with `{row['second']}` {row['second_at']}: `{row['metric']}` "
        f"{figure(row['median'])} ({_of_cell(row)}), where each alone makes "
        + f"{figure(row['expected'])} {_unit(row)}".rstrip()
        for row in found.rows("interactions")[:MAX_TOGETHER]
    ]
    return f"Only together: {'; '.join(parts)}." if parts else ""


def _of_cell(row: Row) -> str:
    interval = f"{number(row['median_low'])} to {number(row['median_high'])}"
    known = row["median_low"] == row["median_low"]
    return f"{row['of_trials']} trials" + (f", 95 % interval {interval}" if known else "")


def _laws(found: Findings) -> str:
    rows = found.rows("cost_law")
    parts = [_law(row) for row in rows if row["fits"]]
    off = [f"{_of(row) or ' a step'} ({percent(100 * row['error'])})" for row in rows if not row["fits"]]
    said = [f"A step takes {'; '.join(parts)}."] if parts else []
    said += [f"No law a + b x rows fits the time of{', '.join(off)}; median error in brackets."] if off else []
    return " ".join(said)


def _law(row: Row) -> str:
    """Also what follows for the training time."""
    facts = [f"median error {percent(100 * row['error'])}, {row['trials']} trials"]
    if row["call_low_ms"] == row["call_low_ms"]:
        name, per = ("row", "a row") if row["row_ms"] >= PER_ROW_MS else ("per_1000_rows", "per 1000")
        ends = [f"{number(row[f'{each}_low_ms'])} to {number(row[f'{each}_high_ms'])} ms" for each in ("call", name)]
        facts.insert(0, f"95 %: {ends[0]}, {ends[1]} {per}")
    if row["training_error"] == row["training_error"]:
        facts.append(f"training takes steps x that, error {percent(100 * row['training_error'])}")
    return f"{law(row)}{_of(row)} ({'; '.join(facts)})"


def _of(row: Row) -> str:
    return f" for `{row['algorithm']}`" if row["algorithm"] else ""


def _tols(study: Study, found: Findings) -> str:
    """What each tol saved, and what that did to the score; empty where none saved anything."""
    told = {row["metric"] for row in found.rows("effects") if row["hyperparameter"] == "tol" and row["told"]}
    rows = found.rows("tol_savings")
    parts = []
    for tol in dict.fromkeys(row["tol"] for row in rows):
        own = {row["metric"]: row for row in rows if row["tol"] == tol}
        saved = [_changed(own[name]) for name in SAVED if name in own and name in told and own[name]["beyond_noise"]]
        if saved:
            score = own.get(study.score)
            parts.append(f"{tol}: {', '.join(saved)}{_at_score(score, study.score in told) if score else ''}")
    return f"`tol` against {rows[0]['against']}: {'; '.join(parts)}." if parts else ""


def _at_score(row: Row, told: bool) -> str:
    return (
        f", {_changed(row)}" if told and row["beyond_noise"] else f", `{row['metric']}` {_medians(row)} (within noise)"
    )
