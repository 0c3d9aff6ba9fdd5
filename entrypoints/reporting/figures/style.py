"""What all figures share: colours, scales and the sheet that panels are drawn on.

Figures are drawn without pyplot, which keeps a global state. Colours are those of Okabe and Ito (2008, Color Universal
Design), which colour-blind readers tell apart; where several are used, the markers and lines differ too.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from entrypoints.reporting.number_levels import MANY, is_number, number_levels

BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
SKY, BLACK, GREY, PALE = "#56B4E9", "#000000", "#595959", "#D9D9D9"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#9CCBE6", BLUE, "#003A5C"])
WIDTH_IN, DPI = 10.0, 110
CHARACTERS = 84  # of tick labels on an x axis as wide as the figure
LOG_SPAN = 20.0  # from here on, the largest value over the smallest one needs a log axis
OTHERS = "(others)"
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.edgecolor": GREY,
    "axes.facecolor": "white",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "legend.frameon": False,
}
styled = matplotlib.rc_context(STYLE)
"""Decorates a function that draws: the style is in force while it runs and nowhere else."""


def sheet(
    panels: int, title: str, note: str = "", *, columns: int = 0, panel_in: float = 2.7
) -> tuple[Figure, list[Axes]]:
    """An empty figure: its finding on top, panels, and what one has to know to read it at the bottom.

    Args:
        panels: how many; they come back row by row.
        title: the finding, in a sentence.
        note: smaller, at the bottom.
        columns: of panels; 0: two, or three if there are more than four panels.
        panel_in: the height of a panel in inches.
    """
    columns = columns or (min(panels, 2) if panels in (1, 2, 4) else 3)
    rows = math.ceil(panels / columns)
    title = title.replace(" %", "\N{NO-BREAK SPACE}%")
    heading, below = textwrap.fill(title, 88), textwrap.fill(note, 140)
    height = rows * panel_in + 0.35 * (heading.count("\n") + 1) + 0.25 * (below.count("\n") + 1)
    figure = Figure(
        figsize=(WIDTH_IN, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1), facecolor="white"
    )
    figure.suptitle(heading, x=0.012, ha="left", fontsize=13, fontweight="bold")
    if below:
        figure.supxlabel(below, x=0.012, ha="left", fontsize=10, color=GREY)
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.remove()
    return figure, axes[:panels]


def needs_log(values: Iterable[float]) -> bool:
    """Whether numbers are all above 0 and span more than a factor of 20."""
    known = np.array([value for value in values if math.isfinite(value)])
    return bool(known.size) and known.min() > 0 and known.max() > LOG_SPAN * known.min()


def scale_axis(axes: Axes, which: str, values: Iterable[float]) -> None:
    """Make the ``x`` or ``y`` axis fit its values: log where that is needed, with few ticks and plain numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if needs_log(values):
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(4 if which == "x" else 5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def tick_levels(axes: Axes, values: Iterable[float]) -> None:
    """Put the x axis's ticks at values, but for those whose text would run into that of the one before.

    Args:
        axes: with its scale set.
        values: where a hyperparameter was tried.
    """
    levels = sorted(set(values))
    places = np.log(levels) if axes.get_xscale() == "log" else np.array(levels, dtype=float)
    width = float(np.ptp(places)) or 1.0
    kept: list[int] = []
    for place, level in enumerate(levels):
        characters = len(f"{level:g}") + 1
        if not kept or (places[place] - places[kept[-1]]) / width * room(axes) >= characters:
            kept.append(place)
    axes.set_xticks([levels[place] for place in kept], minor=False)
    axes.xaxis.set_minor_locator(NullLocator())


def room(axes: Axes) -> float:
    """How many characters of tick labels fit side by side on the x axis."""
    grid = axes.get_gridspec()
    return CHARACTERS / (grid.ncols if grid else 1)


def levels_of(values: pd.Series) -> pd.Series:
    """The names of a hyperparameter's levels, as a categorical in order.

    Of more than twelve levels, numbers are cut into quartiles and the rarer words become one level.
    """
    if not is_number(values):
        words = values.astype(str)
        common = words.value_counts().index[: MANY - 1]
        names = words.where((words.nunique() <= MANY) | words.isin(common), OTHERS)
        order = sorted(set(names))
    else:
        codes, texts = number_levels(values.to_numpy(float))
        names = pd.Series([texts[code] if code >= 0 else None for code in codes], index=values.index)
        order = list(dict.fromkeys(texts))
    levels: pd.Series = pd.Series(pd.Categorical(names, categories=order, ordered=True), index=values.index)
    return levels


def usable(trials: pd.DataFrame, *needed: str) -> pd.DataFrame:
    """The trials that ended by themselves, did not diverge and have all of these figures."""
    kept = trials.iloc[:0] if set(needed) - set(trials.columns) else trials
    if "status" in kept:
        kept = kept[kept["status"] == "FINISHED"]
    if "diverged" in kept:
        kept = kept[~kept["diverged"].astype(bool)]
    known: pd.DataFrame = kept.dropna(subset=[figure for figure in needed if figure in kept])
    return known
