"""What a training step costs against the rows of its batch (RQ2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from entrypoints.reporting.figures.style import LINES, MARKERS, PALETTE, scale_axis, sheet, styled, tick_levels
from entrypoints.reporting.words import law, listed, share

PLACES = 100  # of a fitted line
MARGIN = 1.4  # above and below the points, so that a few percent look like that


@styled
def step_law(times: pd.DataFrame, laws: pd.DataFrame) -> Figure | None:
    """The time of a training step against the rows of its batch, with the law where one fits.

    Args:
        times: a row per algorithm and batch size with trials, low, median and high, in ms.
        laws: a row per algorithm with call_ms, row_ms, error and fits.
    """
    if times.empty or laws.empty:
        return None
    fitting = laws[laws["fits"].astype(bool)]
    several = times["algorithm"].nunique() > 1
    note = f"Points: medians of {times['trials'].sum()} trials, the bars their middle 80 %. Lines: the law, fitted."
    if len(fitting) < len(laws):
        off = [str(row["algorithm"]) or "its time" for row in _records(laws[~laws["fits"].astype(bool)])]
        note += f" No straight line fits {listed(off)}."
    figure, (axes,) = sheet(1, _title(fitting, several), note, panel_in=4.0)
    for place, name in enumerate(times["algorithm"].unique()):
        own = times[times["algorithm"] == name]
        color = PALETTE[place % len(PALETTE)]
        look: dict[str, Any] = {"color": color, "marker": MARKERS[place % len(MARKERS)], "linestyle": "none"}
        bars = [own["median"] - own["low"], own["high"] - own["median"]]
        called = f"{name or 'measured'} (n = {own['trials'].sum()})"
        axes.errorbar(own["batch_size"], own["median"], yerr=bars, capsize=3, label=called, **look)
        for row in _records(fitting[fitting["algorithm"] == name]):
            rows = np.geomspace(row["smallest"], row["largest"], PLACES)
            said = f"{law(row)}, median error {share(row['error'])}"
            line = LINES[place % len(LINES)]
            axes.plot(rows, row["call_ms"] + row["row_ms"] * rows, linestyle=line, color=color, label=said)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.set_ylim(times["low"].min() / MARGIN, times["high"].max() * MARGIN)
    scale_axis(axes, "x", times["batch_size"])
    scale_axis(axes, "y", times["median"])
    tick_levels(axes, times["batch_size"])
    axes.set_xlabel("rows of a batch")
    axes.set_ylabel("step time (ms)")
    axes.legend()
    return figure


def _title(fitting: pd.DataFrame, several: bool) -> str:
    laws = [law(row) + (f" ({row['algorithm']})" if several else "") for row in _records(fitting)]
    return f"A step takes {listed(laws[:2])}" if laws else "The time of a step follows no straight line over its rows"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
