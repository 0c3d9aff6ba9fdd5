"""Which configuration to choose: ranks over datasets, and score against cost."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scikit_posthocs import critical_difference_diagram

from entrypoints.reporting.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILLION,
    needs_log,
    scale_axis,
    sheet,
    styled,
    usable,
)
from entrypoints.reporting.findings import FRONT_COSTS
from entrypoints.reporting.statistics import Ranks
from entrypoints.reporting.words import broken, label, number, plain

MAX_HOVERING = 2000  # trials in an interactive figure, which the browser has to draw one by one
NEGLIGIBLE = 0.001  # of the best score
_FRONT = {
    "mode": "lines+markers",
    "line": {"shape": "hv"},
    "marker": {"color": VERMILLION, "size": 9, "symbol": "square"},
}
_CHOSEN = {
    "mode": "markers",
    "marker": {"color": ORANGE, "size": 18, "symbol": "star", "line": {"color": "black", "width": 1}},
}
_WITHIN = {"fillcolor": GREEN, "opacity": 0.12, "line_width": 0}


@styled
def critical_difference(ranks: Ranks, title: str) -> Figure:
    """Demsar's diagram (2006, JMLR 7): mean ranks on a line; bars join what does not differ by Nemenyi's test.

    Args:
        ranks: of levels over datasets.
        title: what they say.
    """
    mean_rank = ranks.mean_rank
    note = f"Mean rank over {ranks.blocks} datasets, 1 is best; bars join what does not differ at 5 % (Nemenyi)."
    figure, (axes,) = sheet(1, title, note, panel_in=1.3 + 0.3 * len(mean_rank))
    margin = 0.03 * len(mean_rank)
    drawn = critical_difference_diagram(
        mean_rank,
        ranks.nemenyi,
        ax=axes,
        label_fmt_left="{label}  ({rank:.1f})",
        label_fmt_right="({rank:.1f})  {label}",
        elbow_props={"color": GREY, "linewidth": 1},
        marker_props={"color": BLUE, "s": 36},
        crossbar_props={"color": VERMILLION, "linewidth": 4},
        text_h_margin=margin,
    )
    for text in drawn["labels"]:
        text.set_color("black")
    _rank_axis(axes, mean_rank, ranks.critical_difference, margin)
    return figure


@styled
def pareto(
    trials: pd.DataFrame,
    front: pd.DataFrame,
    score: str,
    higher_is_better: bool,
    limits: Mapping[str, float],
    chosen_run_id: str | None,
) -> Figure | None:
    """The score against each cost: all trials, the front, what the limits allow, and the chosen model.

    Args:
        trials: with run_id, the score and costs; those that diverged or did not end are left out.
        front: columns cost, value, the score's own and run_id.
        score: the figure that ranks trials.
        higher_is_better: of the score.
        limits: the most that a cost may be.
        chosen_run_id: the trial of the model that was chosen.
    """
    costs = [cost for cost in FRONT_COSTS if not usable(trials, score, cost).empty]
    if not costs:
        return None
    title = _choice(usable(trials, score), score, higher_is_better, limits, chosen_run_id)
    note = "Points: trials. Line: the front, where nothing is better or cheaper beyond noise without being worse."
    note += " Star: the chosen model." if chosen_run_id else ""
    note += " Shaded: within the limits." if set(limits) & set(costs) else ""
    figure, panels = sheet(len(costs), title, note, panel_in=3.4)
    for cost, axes in zip(costs, panels, strict=True):
        _costs(axes, usable(trials, score, cost), _front_of(front, cost, score), score, cost, chosen_run_id)
        if cost in limits:
            _shade(axes, limits[cost])
        axes.set_xlabel(label(cost))
        axes.set_ylabel(broken(score))
    return figure


def pareto_hover(
    trials: pd.DataFrame,
    front: pd.DataFrame,
    score: str,
    higher_is_better: bool,
    limits: Mapping[str, float],
    chosen_run_id: str | None,
) -> go.Figure | None:
    """The first panel of ``pareto`` as an interactive figure, with a trial's name and figures on hover."""
    cost = next((cost for cost in FRONT_COSTS if not usable(trials, score, cost).empty), None)
    if cost is None:
        return None
    rows = usable(trials, score, cost)
    own = _front_of(front, cost, score)
    kept = rows["run_id"].isin([*own["run_id"], chosen_run_id]) | (np.arange(len(rows)) % _step(len(rows)) == 0)
    shown = rows[kept]
    title = _choice(usable(trials, score), score, higher_is_better, limits, chosen_run_id)
    title = "<br>".join(textwrap.wrap(title, 90))
    if len(shown) < len(rows):
        title += f"<br><sup>{len(shown)} of {len(rows)} trials are shown</sup>"
    figure = go.Figure(layout={"template": "plotly_white", "title": {"text": title}, "paper_bgcolor": "white"})
    for name, some, look in (
        ("trial", shown, {"mode": "markers", "marker": {"color": BLUE, "opacity": 0.5, "size": 7}}),
        ("front", shown[shown["run_id"].isin(own["run_id"])].sort_values(cost), _FRONT),
        ("chosen", shown[shown["run_id"] == chosen_run_id], _CHOSEN),
    ):
        texts = [_hover(row) for row in some.to_dict("records")]
        about = {"text": texts, "hovertemplate": "%{text}<extra></extra>"}
        figure.add_trace(go.Scatter(x=some[cost], y=some[score], name=name, **about, **look))
    if cost in limits:
        text = {"text": f"within the limit of {limits[cost]:.4g}", "textposition": "top left"}
        figure.add_vrect(x0=min(rows[cost].min(), limits[cost]), x1=limits[cost], label=text, **_WITHIN)
    figure.update_xaxes(title=label(cost), type="log" if needs_log(rows[cost]) else "linear")
    figure.update_yaxes(title=label(score), type="log" if needs_log(rows[score]) else "linear")
    return figure


def _rank_axis(axes: Axes, mean_rank: pd.Series, critical: float, margin: float) -> None:
    """The line of mean ranks, and above it how far two have to be apart to differ."""
    best, last, count = float(mean_rank.iloc[0]), float(mean_rank.iloc[-1]), len(mean_rank)
    axes.grid(visible=False)
    axes.plot([best, best + critical], [1.6, 1.6], "|-", color=BLACK, markersize=9)
    axes.text(best + critical / 2, 1.8, f"critical difference {critical:.2f}", ha="center", va="bottom")
    axes.spines.top.set_visible(True)
    axes.spines.top.set_bounds(1, count)
    axes.set_xticks(range(1, count + 1))
    axes.tick_params(axis="x", length=4)
    axes.set_xlim(min(1, best - margin) - 0.02, max(count, last + margin, best + critical) + 0.02)


def _costs(axes: Axes, rows: pd.DataFrame, own: pd.DataFrame, score: str, cost: str, chosen_run_id: str | None) -> None:
    """Trials, their front and the chosen one."""
    alpha = float(np.clip(80 / len(rows), 0.1, 0.6))
    axes.plot(rows[cost], rows[score], "o", color=BLUE, markersize=5, alpha=alpha, markeredgewidth=0, label="trial")
    axes.plot(
        own["value"], own[score], "s-", color=VERMILLION, markersize=5, drawstyle="steps-post", label="front", zorder=3
    )
    chosen = rows[rows["run_id"] == chosen_run_id]
    if len(chosen):
        (star,) = axes.plot(chosen[cost], chosen[score], "*", color=ORANGE, label="chosen model", zorder=4)
        star.set(markersize=16, markeredgecolor="black")
    scale_axis(axes, "x", rows[cost])
    scale_axis(axes, "y", rows[score])
    axes.margins(y=0.08)


def _shade(axes: Axes, limit: float) -> None:
    """What a limit allows, whether or not a trial reaches it."""
    axes.axvline(limit, color=GREEN, linestyle="--")
    low, high = axes.get_xlim()
    axes.axvspan(low, limit, color=GREEN, alpha=0.12, linewidth=0, zorder=0)
    axes.set_xlim(low, high)
    axes.set_title(f"limit {limit:.4g}")


def _front_of(front: pd.DataFrame, cost: str, score: str) -> pd.DataFrame:
    """The trials on the front of one cost, the cheapest first."""
    rows = front[front["cost"] == cost] if len(front) else pd.DataFrame(columns=["run_id", "value", score])
    cheapest_first: pd.DataFrame = rows.sort_values("value")
    return cheapest_first


def _step(rows: int) -> int:
    """Every how many trials one is shown."""
    return -(-rows // MAX_HOVERING)


def _hover(row: Mapping[str, object]) -> str:
    """A trial's name and its figures, a line each."""
    figures = [
        f"{label(key)}: {number(value)}"
        for key, value in row.items()
        if isinstance(value, float) and key.startswith(("val_", "test_", *FRONT_COSTS)) and not np.isnan(value)
    ]
    return "<br>".join([f"<b>{row.get('name', row['run_id'])}</b>", *figures])


def _choice(
    rows: pd.DataFrame, score: str, higher_is_better: bool, limits: Mapping[str, float], chosen_run_id: str | None
) -> str:
    """How the chosen model compares with the best of all, in a sentence."""
    chosen = rows[rows["run_id"] == chosen_run_id]
    best = rows[score].max() if higher_is_better else rows[score].min()
    if chosen.empty:
        return f"The best {plain(score)} of {len(rows)} trials is {number(best)}"
    own = chosen[score].iloc[0]
    if own == best:
        return f"The chosen model has the best {plain(score)} of all {len(rows)} trials, {number(own)}"
    why = "To stay within the limits, the" if limits else "The"
    gap = abs(own - best)
    worse = "less than 0.1 % worse" if gap < NEGLIGIBLE * abs(best) else f"{gap:.2g} worse"
    return f"{why} chosen model has a {plain(score)} {worse} than the best of all {len(rows)} trials"
