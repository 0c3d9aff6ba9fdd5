"""What stop rules save of the budget, and what they lose (RQ3)."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entrypoints.reporting.figures.style import BLUE, GREY, MARKERS, PALE, SKY, VERMILLION, scale_axis, sheet, styled
from entrypoints.reporting.findings import records
from entrypoints.reporting.savings.answers import ROUNDING, SMALL_PERCENT, Row, ended_by, free, kind_of_saving, told
from entrypoints.reporting.words import between, label, percent, plain, span

KINDS = {"real": ("as run", BLUE, ""), "replayed": ("replayed", SKY, "//"), "control": ("control", PALE, "")}
OVER_GRID = {"facecolor": "white", "edgecolor": "none", "pad": 1}
ROOM = 13.0  # percentage points that the text of a limit takes
MAX_LIMITS = 6  # whose values are written beside a curve


@styled
def savings(rules: pd.DataFrame, by_criterion: pd.DataFrame, score: str | None = None) -> Figure | None:
    """The CPU time that each rule saves, where it is known, and what it loses: a panel per study under limits.

    Args:
        rules: columns study, rule, kind (real, replayed or control), trials, of_trials, saved_cpu_percent, val_regret,
            feasible_stopped and feasible.
        by_criterion: columns study, rule, kind and criterion, a row per criterion that ended trials.
        score: the metric in whose units regrets are.
    """
    known = rules.dropna(subset=["saved_cpu_percent"]) if len(rules) else rules
    if known.empty:
        return None
    studies, parts = list(known.groupby("study", sort=False)), records(by_criterion)
    unit = f" in {plain(score)}" if score else ""
    note = f"Regret{unit}: how much worse the best trial is that the rule leaves, of those within the limits."
    note += f" Counted over {_counted(known)}."
    tallest = max(len(rows) for _, rows in studies)
    figure, panels = sheet(len(studies), _saved(records(rules), parts), note, columns=1, panel_in=1.0 + 0.34 * tallest)
    right = max(100.0, known["saved_cpu_percent"].max())
    for (_, rows), axes in zip(studies, panels, strict=True):
        _bars(axes, rows, parts)
        axes.set_xlim(min(0.0, 1.1 * known["saved_cpu_percent"].min()), 1.75 * right)
        axes.set_xticks(range(0, 101, 25))
        axes.spines.bottom.set_bounds(axes.get_xlim()[0], right)
    panels[-1].set_xlabel("saved CPU time (% of the full study's)", x=0.0, ha="left")
    return figure


@styled
def tradeoff(table: pd.DataFrame, score: str | None = None) -> Figure | None:
    """Saved CPU time against regret as a limit is tightened, a panel per limited metric.

    Args:
        table: columns metric, trials, of_trials, limit, feasible, saved_cpu_percent, val_regret_all and
            val_regret_feasible.
        score: the metric in whose units regrets are.
    """
    known = table.dropna(subset=["val_regret_all"]) if len(table) else table
    if known.empty:
        return None
    metrics = list(known["metric"].unique())
    note = f"Replayed over {_counted(known)}. Numbers at points: the limit."
    gone = len(table) - len(known)
    note += f" Limits that no model met are left out: {gone}." if gone else ""
    figure, panels = sheet(len(metrics), _price(known), note, columns=min(2, len(metrics)), panel_in=3.3)
    for metric, axes in zip(metrics, panels, strict=True):
        rows = known[known["metric"] == metric].sort_values("limit", ascending=False)
        _curves(axes, rows)
        if (rows[["val_regret_all", "val_regret_feasible"]] <= ROUNDING).all(axis=None):
            axes.set_ylim(-1, 1)  # else the axis would magnify rounding
            axes.set_yticks([0])
        axes.set_title(f"limit on {label(metric)}")
        axes.set_xlabel("saved CPU time (%)")
        axes.set_ylabel(f"regret in {plain(score)}" if score else "regret (units of the score)")
    panels[0].legend(loc="upper left")
    return figure


def _counted(table: pd.DataFrame) -> str:
    """How many trials of the full study a table counts, and of how many where that is not all."""
    trials, whole = span(table["trials"]), span(table["of_trials"])
    return f"n = {trials if trials == whole else f'{trials} of {whole}'} trials of the full study"


def _bars(axes: Axes, rows: pd.DataFrame, parts: list[Row]) -> None:
    ordered = records(rows.iloc[np.argsort(rows["kind"].map(list(KINDS).index), kind="stable")])
    names = []
    for place, row in enumerate(ordered):
        kind, color, hatch = KINDS[row["kind"]]
        saved = row["saved_cpu_percent"]
        axes.barh(place, saved, color=color, hatch=hatch, edgecolor=GREY, height=0.7, linewidth=0.8)
        axes.text(max(saved, 0.0) + 1.5, place, _loss(row, parts), va="center", bbox=OVER_GRID)
        names.append(row["rule"] if row["kind"] == "control" else f"the limits, {kind}")
    axes.set_yticks(range(len(names)), [textwrap.fill(name, 30) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    limits = next((row["rule"] for row in ordered if row["kind"] != "control"), "")
    axes.set_title(textwrap.fill(limits, 110))


def _loss(row: Row, parts: list[Row]) -> str:
    if row["kind"] != "control" and not ended_by(row, parts):
        return f"{percent(row['saved_cpu_percent'])}, stops no trial"
    if pd.isna(row["val_regret"]):
        lost = "leaves no trial within the limits"
    else:
        lost = "no regret" if row["val_regret"] <= ROUNDING else f"regret {row['val_regret']:.2g}"
    counts = f"{row['feasible_stopped']:.0f} of {row['feasible']:.0f}"
    stopped = f"; stops {counts} feasible" if row["feasible_stopped"] else ""
    return f"{percent(row['saved_cpu_percent'])}, {lost}{stopped}"


def _saved(rules: list[Row], parts: list[Row]) -> str:
    """What the limits saved and lost, in a sentence, under the conditions of the page."""
    rows = told(rules)
    kinds = [kind_of_saving(row, ended_by(row, parts)) for row in rows]
    real = all(row["kind"] == "real" for row in rows)
    kind = next((kind for kind in ("saved", "small", "unknown") if kind in kinds), None)
    if kind is None:
        return f"The limits {'' if real else 'would have '}stopped no trial and saved nothing"
    if kind == "unknown":
        return "How much CPU time stopping at the limits saved is unknown"
    own = [row for row, each in zip(rows, kinds, strict=True) if each == kind]
    shares, regrets = [row["saved_cpu_percent"] for row in own], [row["val_regret"] for row in own]
    amount = between(min(shares), max(shares)) if kind == "saved" else f"less than {SMALL_PERCENT:.0f} %"
    some = f" in {len(own)} of {len(rows)} studies" if len(own) < len(rows) else ""
    who = "Stopping at the limits saved" if real else "Stopping at the limits would have saved"
    return f"{who} {amount} of the CPU time{some} {_lost(regrets)}"


def _lost(regrets: list[float]) -> str:
    """What all of these studies lost, as the end of a sentence."""
    if any(map(math.isnan, regrets)):
        return "but left no trial within them" if len(regrets) == 1 else "but did not always leave a trial within them"
    if max(regrets) <= ROUNDING:
        return "without losing the best model"
    return f"at a regret of {max(regrets):.2g}" + (" at most" if len(regrets) > 1 else "")


def _curves(axes: Axes, rows: pd.DataFrame) -> None:
    for place, (column, name, color, line) in enumerate(
        (
            ("val_regret_all", "against the best of all trials", VERMILLION, "-"),
            ("val_regret_feasible", "against the best within the limit", BLUE, "--"),
        )
    ):
        axes.plot(
            rows["saved_cpu_percent"],
            rows[column],
            color=color,
            linestyle=line,
            marker=MARKERS[place],
            markersize=8 - 4 * place,
            label=name,
        )
    top = max(float(rows[["val_regret_all", "val_regret_feasible"]].max().max()), 1e-9)
    axes.set_ylim(-0.08 * top, 1.45 * top)
    axes.set_xlim(min(0.0, rows["saved_cpu_percent"].min()) - 5, 110)
    scale_axis(axes, "x", [])
    scale_axis(axes, "y", [])
    written = sorted(set(np.linspace(0, len(rows) - 1, min(MAX_LIMITS, len(rows))).astype(int).tolist()))
    last = -np.inf
    for row in rows.iloc[written].to_dict("records"):
        x, y = row["saved_cpu_percent"], row["val_regret_all"]
        if x - last < ROOM:
            continue
        last = x
        # Where the curve climbs, there is room on its left.
        where: dict[str, Any] = (
            {"xytext": (-6, 2), "ha": "right"} if y > ROUNDING else {"xytext": (0, 7), "ha": "center"}
        )
        axes.annotate(f"{row['limit']:.4g}", (x, y), textcoords="offset points", color=GREY, **where)


def _price(known: pd.DataFrame) -> str:
    """How much can be saved for nothing, and what saving more costs, in a sentence."""
    tightest = [rows[-1] for _, own in known.groupby("metric", sort=False) if (rows := free(records(own)))]
    if not tightest:
        least = known.sort_values("val_regret_all").iloc[0]
        some = least["val_regret_all"] <= ROUNDING
        least = known[known["metric"] == least["metric"]].sort_values("limit").iloc[-1] if some else least
        saved, regret = percent(least["saved_cpu_percent"]), f"{least['val_regret_all']:.2g}"
        if some:
            return f"Even the loosest limit costs: a regret of {regret}, for {saved} of the CPU time saved"
        return f"Every limit costs: the least regret is {regret}, for {saved} of the CPU time saved"
    best = max(tightest, key=lambda row: row["saved_cpu_percent"])
    saved = percent(best["saved_cpu_percent"])
    start = f"Limiting {plain(best['metric'])} saves {saved} of the CPU time for free"
    own = known[known["metric"] == best["metric"]]
    dearest = own.sort_values("val_regret_all").iloc[-1]
    if dearest["val_regret_all"] <= ROUNDING:
        return start
    return f"{start}; saving {percent(dearest['saved_cpu_percent'])} costs a regret of {dearest['val_regret_all']:.2g}"
