"""What trials were predicted to cost, against what they cost (RQ3)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entrypoints.limits.cost_model import INTERVAL
from entrypoints.reporting.figures.style import BLACK, BLUE, PALE, VERMILLION, needs_log, scale_axis, sheet, styled
from entrypoints.reporting.savings.calibration import RIGHT, TOO_FEW
from entrypoints.reporting.words import between, label, listed, percent, plain, share

ROOM = 1.05  # beyond the outermost points


@styled
def predicted(predictions: pd.DataFrame, calibration: pd.DataFrame) -> Figure | None:
    """What was predicted against what was measured, a panel for each metric that has ratios; the title is about all.

    Args:
        predictions: columns metric, predicted, low, high, measured, inside and ratio, a row for each trial and metric.
        calibration: columns metric, trials, ratios, median_ratio, coverage_percent and verdict, a row for each metric.
    """
    if calibration.empty or predictions.empty:
        return None
    drawn = calibration[calibration["median_ratio"].notna()]
    if drawn.empty:
        return None
    note = (
        f"Each trial is predicted before its first step, from those that had ended. Bars: the {share(INTERVAL)} "
        "interval, by whose lower end a trial is skipped. Dashed: predicted as measured. Memory below 0.1 MB is "
        "not drawn."
    )
    figure, panels = sheet(len(drawn), _finding(calibration), note, panel_in=3.1)
    for row, axes in zip(drawn.to_dict("records"), panels, strict=True):
        _panel(axes, predictions[predictions["metric"] == row["metric"]].dropna(subset=["ratio"]))
        small = row["trials"] - row["ratios"]
        unseen = f", {small} below 0.1 MB" if small else ""
        axes.set_title(f"{label(row['metric'])}\n{percent(row['coverage_percent'])} of {row['trials']} inside{unseen}")
        axes.set_xlabel("measured")
        axes.set_ylabel("predicted")
    return figure


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    values = rows[["predicted", "low", "high", "measured"]].to_numpy()
    scaled = [value for value in values.ravel() if value > 0] if needs_log(rows["measured"]) else values.ravel()
    ends = min(scaled), max(scaled)
    for inside, color, marker, name in ((True, BLUE, "o", "inside"), (False, VERMILLION, "s", "outside")):
        part = rows[rows["inside"] == inside]
        axes.vlines(part["measured"], part["low"], part["high"], color=PALE, linewidth=1.2, zorder=1)
        axes.scatter(part["measured"], part["predicted"], s=16, color=color, marker=marker, alpha=0.7, label=name)
    axes.plot(ends, ends, color=BLACK, linestyle="--", linewidth=1)
    for which in ("x", "y"):
        scale_axis(axes, which, rows["measured"])
    if needs_log(rows["measured"]):
        limits = ends[0] / ROOM, ends[1] * ROOM
    else:
        limits = ends[0] - (ROOM - 1) * (ends[1] - ends[0]), ends[1] + (ROOM - 1) * (ends[1] - ends[0])
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)


def _finding(calibration: pd.DataFrame) -> str:
    """How far predictions are from what was measured, and how often their interval holds it, in a sentence."""
    judged = calibration[calibration["verdict"] != TOO_FEW]
    wrong = judged[judged["verdict"] != RIGHT]
    held = between(judged["coverage_percent"].min(), judged["coverage_percent"].max())
    if not wrong.empty:
        parts = [f"{plain(row['metric'])}: {row['verdict']}" for row in wrong.to_dict("records")]
        return f"Predictions of costs are off: {listed(parts)} ({held} inside)"
    return (
        f"No prediction of a cost was found to be off beyond chance and 5 %: {held} of trials lie within the "
        f"{share(INTERVAL)} interval"
    )
