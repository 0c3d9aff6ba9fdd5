"""How datasets compare in what they cost."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from entrypoints.reporting.figures.style import LINES, MARKERS, PALETTE, scale_axis, sheet, styled
from entrypoints.reporting.words import STEP_TIME, label, number


@styled
def step_times(steps: pd.DataFrame) -> Figure | None:
    """The time of a training step against the numbers that its batch holds, a line for each dataset.

    Args:
        steps: a row per dataset and batch size with numbers (rows of the batch x features), mean_step_time_ms (the
            median over its trials), and trials (their number).
    """
    if steps.empty:
        return None
    rows = steps.sort_values("numbers", kind="stable")
    least, most = rows.loc[rows[STEP_TIME].idxmin()], rows.loc[rows[STEP_TIME].idxmax()]
    ends = [
        f"{number(row[STEP_TIME])} ms ({row['dataset']}, {number(row['numbers'])} numbers)" for row in (least, most)
    ]
    note = (
        "A number is one feature of one row: x is the rows of a batch times the features. Points: medians over trials."
    )
    figure, (axes,) = sheet(1, f"A training step takes from {ends[0]} to {ends[1]}", note, panel_in=4.0)
    for place, (name, own) in enumerate(rows.groupby("dataset", sort=False)):
        look: dict[str, Any] = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)]}
        called = f"{name} ({own['features'].iloc[0]:.0f} features, n = {own['trials'].sum():.0f} trials)"
        axes.plot(own["numbers"], own[STEP_TIME], linestyle=LINES[place % len(LINES)], label=called, **look)
    scale_axis(axes, "x", rows["numbers"])
    scale_axis(axes, "y", rows[STEP_TIME])
    axes.set_xlabel("numbers in a batch (rows x features)")
    axes.set_ylabel(label(STEP_TIME))
    axes.legend()
    return figure
