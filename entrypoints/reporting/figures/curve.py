"""How metrics change while trials train (RQ1)."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entrypoints.reporting.figures.style import LINES, MARKERS, PALETTE, scale_axis, sheet, styled
from entrypoints.reporting.words import between, broken, is_score, listed, number, plain, signed

MAX_PLACES = 60  # at which a median is drawn
MEMORY = "memory_mb"  # the metric whose jumps are marked
NOTE = "Lines: median over trials; bands: the middle 80 % of them; both as far as half of the trials go."
FOLDS = "Dotted: the median plus and minus the score's standard deviation over folds (median over trials)."
TICKS = "Ticks below memory: where that of single trials jumps."
VERDICTS = ("rises", "falls", "steady")  # those that are clear
FOR_EACH = {
    "rises": "rises for",
    "falls": "falls for",
    "steady": "stays steady for",
    "unclear": "is unclear for",
    "too few trials": "has too few trials for",
}


@styled
def during_training(
    curves: pd.DataFrame, drift: pd.DataFrame, jumps: pd.DataFrame | None = None, places: pd.DataFrame | None = None
) -> Figure | None:
    """Each metric against the training step: the median and the middle 80 % of the trials, by algorithm.

    The score has its spread over folds; memory has a tick wherever that of a trial jumps, if jumps are a finding.

    Args:
        curves: columns run_id, group, metric, axis, at, value and, where it is known, sd.
        drift: a row per axis, metric and group, with the level, the change, its interval and the verdict.
        jumps: of memory by group: group, trials, with_jumps, told.
        places: of each jump: group, at.
    """
    told = jumps[jumps["told"]] if jumps is not None else None
    return _drawn(curves, drift, "training step", "training step", told, places)


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


def _drawn(
    curves: pd.DataFrame,
    drift: pd.DataFrame,
    axis: str,
    at: str,
    jumps: pd.DataFrame | None = None,
    places: pd.DataFrame | None = None,
) -> Figure | None:
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
    has_jumps = jumps is not None and places is not None and len(jumps) > 0 and MEMORY in metrics
    has_folds = "sd" in shown and shown["sd"].notna().any()
    parts = [NOTE, FOLDS if has_folds else "", TICKS if has_jumps else "", f"{trials} trials."]
    note = " ".join(part for part in parts if part)
    figure, panels = sheet(len(metrics), _finding(tests, metrics, trials, _jumping(jumps)), note)
    for metric, axes in zip(metrics, panels, strict=True):
        _panel(axes, shown[shown["metric"] == metric], groups)
        axes.set_ylabel(broken(metric))
        axes.set_xlabel(at)
        axes.set_title(_verdict(tests[tests["metric"] == metric] if len(tests) else tests))
        if metric == MEMORY and jumps is not None and places is not None:
            _ticks(axes, places[places["group"].isin(jumps["group"])], groups)
    if len(groups) > 1:
        handles = {line.get_label(): line for axes in panels for line in axes.lines if line.get_label() in groups}
        figure.legend(handles=list(handles.values()), loc="outside right center", title="algorithm")
    return figure


def _panel(axes: Axes, points: pd.DataFrame, groups: list[str]) -> None:
    limits = []
    for place, group in enumerate(groups):
        of = points[points["group"] == group]
        if of.empty:
            continue
        band, color = spread(of), PALETTE[place % len(PALETTE)]
        axes.fill_between(band["at"], band["low"], band["high"], color=color, alpha=0.2, linewidth=0)
        limits.append(band[["low", "high"]].stack())
        if "sd" in of and of["sd"].notna().any():
            folds = spread(of.assign(value=of["sd"]).dropna(subset="value"))
            sd = np.interp(band["at"], folds["at"], folds["middle"])
            edges = [band["middle"] - sd, band["middle"] + sd]
            for edge in edges:
                axes.plot(band["at"], edge, color=color, linestyle=":", linewidth=1.5)
            limits += edges
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
    scale_axis(axes, "y", pd.concat(limits))
    scale_axis(axes, "x", [])


def _ticks(axes: Axes, places: pd.DataFrame, groups: list[str]) -> None:
    """Mark places at the lower edge, those of one group above those of another, in their colours."""
    for row, (group, of) in enumerate(places.groupby("group")):
        color = PALETTE[groups.index(str(group)) % len(PALETTE)]
        low, high = 0.07 * row, 0.07 * row + 0.06  # of the panel's height
        axes.vlines(of["at"].unique(), low, high, color=color, linewidth=1.5, transform=axes.get_xaxis_transform())


def _verdict(tests: pd.DataFrame) -> str:
    """The test of one metric's drift, in a line or two."""
    if tests.empty:
        return "not tested"
    if len(tests) == 1:
        test = tests.iloc[0]
        interval = f"{signed(test['low_percent'])} to {signed(test['high_percent'])} %"
        if test["verdict"] in ("rises", "falls") and _in_mb(test["metric"]):
            return f"{test['verdict']}: {test['change']:+.2g} MB ({test['low']:+.2g} to {test['high']:+.2g} MB)"
        if test["verdict"] == "steady":
            return f"steady at {number(test['level'])} ({interval})"
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


def _finding(tests: pd.DataFrame, metrics: list[str], trials: int, jumping: str) -> str:
    """What the tests found of the costs, in a sentence; of losses, whose fall is expected, if there is nothing else."""
    costs = [metric for metric in metrics if not is_score(metric)] or metrics
    found: dict[str, list[str]] = {}
    apart: list[str] = []
    for metric in costs:
        rows = tests[tests["metric"] == metric] if len(tests) else tests
        verdicts = set(rows["verdict"]) if len(rows) else set()
        if len(verdicts) == 1 and (verdict := verdicts.pop()) in VERDICTS:
            said = _said(metric, rows, verdict, first=verdict not in found)
            found.setdefault(verdict, []).append(said)
        elif {"rises", "falls"} <= verdicts:
            found.setdefault("differs", []).append(plain(metric))
        elif verdicts & set(VERDICTS):
            apart.append(f"{plain(metric)} {_each(rows)}")
    parts = [listed(found[verdict]) for verdict in ("rises", "falls") if verdict in found]
    for kind, one, several in (
        ("steady", "stays steady", "stay steady"),
        ("differs", "differs by algorithm", "differ by algorithm"),
    ):
        if kind in found:
            parts.append(f"{listed(found[kind])} {one if len(found[kind]) == 1 else several}")
    parts += apart + ([jumping] if jumping else [])
    if parts:
        return f"While trials train, {'; '.join(parts)}"
    if "p_holm" in tests and tests["p_holm"].notna().any():
        return f"No clear drift of the costs in {trials} trials"
    return f"Curves of {trials} trials: too few of them are long enough to test for drift"


def _each(rows: pd.DataFrame) -> str:
    """The verdict on each group, where they are not one, but no difference either: unclear is not steady's opposite."""
    parts = [
        f"{words} {listed(list(own['group']))}"
        for verdict, words in FOR_EACH.items()
        if len(own := rows[rows["verdict"] == verdict])
    ]
    return listed(parts)


def _said(metric: str, rows: pd.DataFrame, verdict: str, *, first: bool) -> str:
    """What one metric does, as part of a list whose first item has the verb."""
    if verdict == "steady":
        return plain(metric)
    in_mb = _in_mb(metric)
    changes = rows["change" if in_mb else "change_percent"].abs()
    low, high = (f"{change:.2g}" for change in (changes.min(), changes.max()))
    by = f"{low if low == high else f'{low} to {high}'} MB" if in_mb else between(changes.min(), changes.max())
    return f"{plain(metric)}{f' {verdict}' if first else ''} by {by}"


def _in_mb(metric: str) -> bool:
    """Whether a change is said in megabytes: of a process's memory most is its libraries, so percentages mislead."""
    return metric.endswith(MEMORY)


def _jumping(jumps: pd.DataFrame | None) -> str:
    if jumps is None or jumps.empty:
        return ""
    return f"memory jumps in {jumps['with_jumps'].sum()} of {jumps['trials'].sum()} trials"
