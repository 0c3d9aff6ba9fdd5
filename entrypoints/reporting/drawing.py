"""What all figures share: colours, scales and the sheet that panels are drawn on.

Figures are drawn without pyplot, which keeps a global state. Colours are those of Okabe and Ito (2008, Color Universal
Design), which colour-blind readers tell apart; where several are used, the markers differ too.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

BLUE, VERMILLION, ORANGE, BLACK, GREY = "#0072B2", "#D55E00", "#E69F00", "#000000", "#595959"
WIDTH_IN, PANEL_IN, DPI = 10.0, 3.4, 110
LOG_SPAN = 20.0  # from here on, the largest value over the smallest one needs a log axis
STYLE: Any = {
    "axes.edgecolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "legend.frameon": False,
}
styled = matplotlib.rc_context(STYLE)
"""Decorates a function that draws: the style is in force while it runs and nowhere else."""


def sheet(panels: int, title: str, note: str = "") -> tuple[Figure, list[Axes]]:
    """An empty figure: its finding on top, panels, and what one has to know to read it at the bottom.

    Args:
        panels: how many; they come back row by row.
        title: the finding, in a sentence; the marks of Markdown are left out.
        note: smaller, at the bottom.
    """
    columns = min(panels, 2) if panels in (1, 2, 4) else 3
    rows = math.ceil(panels / columns)
    title = title.replace("`", "").replace("**", "").replace(" %", "\N{NO-BREAK SPACE}%")
    heading, below = textwrap.fill(title, 88), textwrap.fill(note, 140)
    height = rows * PANEL_IN + 0.35 * (heading.count("\n") + 1) + 0.25 * (below.count("\n") + 1)
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    figure.suptitle(heading, x=0.012, ha="left", fontsize=13, fontweight="bold", parse_math=False)
    if below:
        figure.supxlabel(below, x=0.012, ha="left", fontsize=10, color=GREY)
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.remove()
    return figure, axes[:panels]


def scale_axis(axes: Axes, which: str, values: Iterable[float]) -> None:
    """Make the ``x`` or ``y`` axis fit its values: log where they span more than a factor of 20, with plain numbers."""
    axis = getattr(axes, f"{which}axis")
    known = np.array([value for value in values if math.isfinite(value)])
    if known.size and known.min() > 0 and known.max() > LOG_SPAN * known.min():
        axes.set(**{f"{which}scale": "log"})
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
