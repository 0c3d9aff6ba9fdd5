"""What stays the same when a study is repeated: the ranks of its configurations, and their costs."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from entrypoints.limits.noise import REPEATABILITY
from entrypoints.reporting.figures.style import BLUE, GREY, MARKERS, PALE, PALETTE, VERMILLION, sheet, styled
from entrypoints.reporting.findings import FRONT_COSTS
from entrypoints.reporting.words import listed, number, plain, span

MAX_PANELS = 6  # pairs of studies whose ranks are drawn
MAX_TOLD = 3  # figures that a title names
MIN_SPAN = 1.2  # of the axis of ratios to either side
DIFFERS = ("more", "less")  # the verdicts of a cost that does


@styled
def ranks_agree(configurations: pd.DataFrame, ranks: pd.DataFrame) -> Figure | None:
    """The rank of each configuration in one study against that in another, a panel per pair, the best bottom left.

    Args:
        configurations: a row per configuration and study with configuration, study, rank and, where noise is known,
            equal_in_all.
        ranks: a row per pair of studies with first, second, spearman, configurations and kendalls_w.
    """
    if ranks.empty:
        return None
    by_study = configurations.pivot(index="configuration", columns="study", values="rank")
    shown, row = ranks.head(MAX_PANELS), ranks.iloc[0]
    equal: pd.Series[bool] = pd.Series(False, index=by_study.index)
    title = f"ranks agree to W {row['kendalls_w']:.2f} (1: fully)"
    if "equal_in_all" in configurations:
        equal = configurations.groupby("configuration")["equal_in_all"].first().reindex(by_study.index).astype(bool)
        alike = f"{equal.sum()} of {row['configurations']} configurations equal the best within noise in all studies"
        title = f"{alike}; {title}"
    note = f"Points: configurations, ranked by score in each study; 1 is best. n = {row['configurations']}."
    note += f" The first {MAX_PANELS} of {len(ranks)} pairs of studies." if len(ranks) > MAX_PANELS else ""
    figure, panels = sheet(len(shown), f"{title[0].upper()}{title[1:]}", note, panel_in=3.6)
    for (_, pair), axes in zip(shown.iterrows(), panels, strict=True):
        _pair(axes, by_study[pair["first"]], by_study[pair["second"]], equal)
        axes.set_title(f"{pair['first']} and {pair['second']}: rank correlation {pair['spearman']:.2f}")
    if equal.any():
        panels[0].legend(loc="upper left")
    return figure


@styled
def cost_ratios(costs: pd.DataFrame) -> Figure | None:
    """How many times each figure of one study is that of another, on a log axis, beside what noise explains.

    Args:
        costs: a row per figure and study with figure, first, second, configurations, ratio, low_90, high_90,
            noise_percent and verdict.
    """
    if costs.empty:
        return None
    names = list(dict.fromkeys(costs["figure"]))
    studies = list(dict.fromkeys(costs["second"]))
    note = (
        f"Marker: median over n = {span(costs['configurations'])} configurations, filled where it differs beyond noise "
        "and 5 %. Line: the middle 90 % of them. Grey: what two runs of one configuration differ by in 95 % of cases."
    )
    figure, (axes,) = sheet(1, _differing(costs), note, panel_in=1.2 + 0.25 * len(names) * (1 + 0.3 * len(studies)))
    height = 0.8 / len(studies)
    for place, name in enumerate(names):
        rows = costs[costs["figure"] == name]
        margin = 1 + REPEATABILITY * rows["noise_percent"].max() / 100
        axes.fill_betweenx([place - 0.42, place + 0.42], 1 / margin, margin, color=PALE, linewidth=0)
        for _, row in rows.iterrows():
            order = studies.index(row["second"])
            at = place + (order - (len(studies) - 1) / 2) * height
            color, marker = PALETTE[order % len(PALETTE)], MARKERS[order % len(MARKERS)]
            axes.plot([row["low_90"], row["high_90"]], [at, at], "-", color=color, linewidth=1.5)
            face = color if row["verdict"] in DIFFERS else "white"
            axes.plot(row["ratio"], at, marker, color=color, markerfacecolor=face, markersize=8)
    for order, name in enumerate(studies):
        look: dict[str, Any] = {
            "color": PALETTE[order % len(PALETTE)],
            "marker": MARKERS[order % len(MARKERS)],
            "linestyle": "-",
        }
        axes.plot([], [], label=f"{name} / {costs['first'].iloc[0]}", **look)
    _ratio_axis(axes, costs)
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _pair(axes: Axes, first: pd.Series, second: pd.Series, equal: pd.Series) -> None:
    """Ranks on log axes, on which the best have room."""
    look: dict[str, Any] = {"linestyle": "none", "markeredgewidth": 0}
    axes.plot(first[~equal], second[~equal], marker="o", color=BLUE, alpha=0.5, markersize=5, **look)
    axes.plot(first[equal], second[equal], marker="s", color=VERMILLION, label="equals the best", markersize=6, **look)
    axes.plot([1, len(first)], [1, len(first)], "--", color=GREY, linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"rank in {first.name}")
    axes.set_ylabel(f"rank in {second.name}")


def _ratio_axis(axes: Axes, costs: pd.DataFrame) -> None:
    """A log axis around 1, with plain numbers."""
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, 1 / MIN_SPAN), max(right, MIN_SPAN))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("times the figure of the first study")


def _differing(costs: pd.DataFrame) -> str:
    """Which costs differ, in a sentence."""
    told = costs[costs["verdict"].isin(DIFFERS)]
    agree = int((costs["verdict"] == "agrees").sum())
    if told.empty:
        return f"No cost differs between studies beyond noise and 5 %; {agree} of {len(costs)} agree within it"
    first = sorted(told.groupby("figure", sort=False), key=lambda each: each[0] not in FRONT_COSTS)[:MAX_TOLD]
    parts = [
        f"{plain(name)} {listed([f'{number(row.ratio)} times in {row.second}' for row in rows.itertuples()])}"
        for name, rows in first
    ]
    more = told["figure"].nunique() - len(parts)
    return f"Against {costs['first'].iloc[0]}: {'; '.join(parts)}" + (f"; {more} more differ" if more > 0 else "")
