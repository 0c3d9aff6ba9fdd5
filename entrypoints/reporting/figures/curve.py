"""How metrics change while trials train (RQ1)."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entrypoints.reporting.figures.style import LINES, MARKERS, PALETTE, scale_axis, sheet, styled
from entrypoints.reporting.figures.words import between, broken, listed, plain, signed

MAX_PLACES = 60  # at which a median is drawn
NOTE = "Lines: median over trials; bands: the middle 80 % of them; both as far as half of the trials go."
SCORES = ("train_", "val_", "test_")  # what a title leaves out: that a loss falls is no news
VERDICTS = ("rises", "falls", "steady")  # those that are clear


@styled
def during_training(curves: pd.DataFrame, drift: pd.DataFrame) -> Figure | None:
    """Each metric against the training step: the median and the middle 80 % of the trials, by algorithm.

    Args:
        curves: columns run_id, group, metric, axis, at, value.
        drift: a row per axis, metric and group, with change_percent, low_percent, high_percent and verdict.
    """
    return _drawn(curves, drift, "training step", "training step")


@styled
def over_time(curves: pd.DataFrame, drift: pd.DataFrame) -> Figure | None:
    """Each sampled system metric against the seconds since a trial's first sample; tables as ``during_training``'s."""
    return _drawn(curves, drift, "seconds", "time since the trial's first sample (s)")


def spread(points: pd.DataFrame) -> pd.DataFrame:
    """The median of some trials' curves and the middle 80 % of them, at places where half of the trials have a curve.

    Args:
        points: columns run_id, at and value.

    Returns:
        Columns at, low, middle, high. Between its points a trial's curve is straight.
    """
    places = np.unique(points["at"])
    if len(places) > MAX_PLACES:
        places = np.linspace(places[0], places[-1], MAX_PLACES)
    ordered = points.sort_values("at")
    values = np.array(
        [
            np.interp(places, trial["at"], trial["value"], left=np.nan, right=np.nan)
            for _, trial in ordered.groupby("run_id", sort=False)
        ]
    )
    kept = np.isfinite(values).sum(axis=0) >= len(values) / 2
    low, middle, high = np.nanquantile(values[:, kept], [0.1, 0.5, 0.9], axis=0)
    band: pd.DataFrame = pd.DataFrame({"at": places[kept], "low": low, "middle": middle, "high": high})
    return band


def _drawn(curves: pd.DataFrame, drift: pd.DataFrame, axis: str, at: str) -> Figure | None:
    if curves.empty:
        return None
    shown = curves[(curves["axis"] == axis) & np.isfinite(curves["value"])]
    # A trial with one point has no course.
    shown = shown[shown.groupby(["run_id", "metric"])["at"].transform("nunique") >= 2]
    if shown.empty:
        return None
    tests = drift[drift["axis"] == axis] if "axis" in drift else drift
    metrics, groups = list(dict.fromkeys(shown["metric"])), sorted(shown["group"].unique())
    trials = shown["run_id"].nunique()
    figure, panels = sheet(len(metrics), _finding(tests, metrics, trials), f"{NOTE} {trials} trials.")
    for metric, axes in zip(metrics, panels, strict=True):
        _panel(axes, shown[shown["metric"] == metric], groups)
        axes.set_ylabel(broken(metric))
        axes.set_xlabel(at)
        axes.set_title(_verdict(tests[tests["metric"] == metric] if len(tests) else tests))
    if len(groups) > 1:
        handles = {line.get_label(): line for axes in panels for line in axes.lines}
        figure.legend(handles=list(handles.values()), loc="outside right center", title="algorithm")
    return figure


def _panel(axes: Axes, points: pd.DataFrame, groups: list[str]) -> None:
    bands = {group: spread(points[points["group"] == group]) for group in groups if (points["group"] == group).any()}
    for group, band in bands.items():
        place = groups.index(group)
        color = PALETTE[place % len(PALETTE)]
        axes.fill_between(band["at"], band["low"], band["high"], color=color, alpha=0.2, linewidth=0)
        axes.plot(
            band["at"],
            band["middle"],
            color=color,
            linestyle=LINES[place % len(LINES)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=4,
            markevery=max(1, len(band) // 10),
            label=group or "all trials",
        )
    scale_axis(axes, "y", pd.concat([band[["low", "high"]].stack() for band in bands.values()]))
    scale_axis(axes, "x", [])


def _verdict(tests: pd.DataFrame) -> str:
    """The test of one metric's drift, in a line or two."""
    if tests.empty:
        return "not tested"
    if len(tests) == 1:
        test = tests.iloc[0]
        interval = f"{signed(test['low_percent'])} to {signed(test['high_percent'])} %"
        if test["verdict"] in VERDICTS:
            return f"{test['verdict']}: {signed(test['change_percent'])} % ({interval})"
        if pd.isna(test["low_percent"]):
            return f"not tested: {test['verdict']}"
        return f"{test['verdict']} ({interval})"
    counts = tests["verdict"].value_counts()
    if len(counts) == 1:
        return f"{counts.index[0]} for all"
    if len(tests) == 2:
        each = [f"{test['group']}: {test['verdict']}" for _, test in tests.iterrows()]
    else:
        each = [f"{verdict} for {count}" for verdict, count in counts.items()]
    return textwrap.fill(", ".join(each), 40)


def _finding(tests: pd.DataFrame, metrics: list[str], trials: int) -> str:
    """What the tests found of the costs, in a sentence; of the losses where there is nothing else."""
    costs = [metric for metric in metrics if not metric.startswith(SCORES)] or metrics
    found: dict[str, list[str]] = {}
    for metric in costs:
        rows = tests[tests["metric"] == metric] if len(tests) else tests
        verdicts = set(rows["verdict"]) if len(rows) else set()
        if len(verdicts) == 1 and (verdict := verdicts.pop()) in VERDICTS:
            said = _said(metric, rows, verdict, first=verdict not in found)
            found.setdefault(verdict, []).append(said)
        elif verdicts & set(VERDICTS):
            found.setdefault("differs", []).append(plain(metric))
    parts = [listed(found[verdict]) for verdict in ("rises", "falls") if verdict in found]
    for kind, one, several in (
        ("steady", "stays steady", "stay steady"),
        ("differs", "differs by algorithm", "differ by algorithm"),
    ):
        if kind in found:
            parts.append(f"{listed(found[kind])} {one if len(found[kind]) == 1 else several}")
    if parts:
        return f"While trials train, {'; '.join(parts)}"
    if "p_holm" in tests and tests["p_holm"].notna().any():
        return f"No clear drift of the costs in {trials} trials"
    return f"Curves of {trials} trials: too few of them are long enough to test for drift"


def _said(metric: str, rows: pd.DataFrame, verdict: str, *, first: bool) -> str:
    """What one metric does, as part of a list whose first item has the verb."""
    if verdict == "steady":
        return plain(metric)
    changes = rows["change_percent"].abs()
    return f"{plain(metric)}{f' {verdict}' if first else ''} by {between(changes.min(), changes.max())}"
