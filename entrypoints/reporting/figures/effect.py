"""How hyperparameters change what trials cost and reach (RQ2)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from entrypoints.reporting.figures.style import (
    BLUE,
    SHADES,
    VERMILLION,
    levels_of,
    needs_log,
    room,
    scale_axis,
    sheet,
    styled,
    tick_levels,
    usable,
)
from entrypoints.reporting.number_levels import is_number
from entrypoints.reporting.words import broken, label, listed, number, plain, share, span

MAX_ROWS, MAX_COLUMNS = 20, 8  # of the map of effect sizes
DARK = 0.62  # share of a colour scale from which on its text is white
LONGEST = 14  # characters of a category's name
JITTER = 0.02  # of the axis
MAX_LEVELS_DRAWN = 20  # of numbers; with more there are no levels
BINS = 10  # of a median line over a hyperparameter without levels


@styled
def effect_sizes(effects: pd.DataFrame) -> Figure | None:
    """The share of each metric's variance that each hyperparameter explains, as a map with numbers.

    Args:
        effects: a row per metric and hyperparameter with trials, share_of_variance (of 1), told and out_of_reach.
    """
    table = (
        effects.pivot(index="metric", columns="hyperparameter", values="share_of_variance") if len(effects) else None
    )
    if table is None or table.isna().all(axis=None):
        return None
    strongest = effects.groupby("hyperparameter")["share_of_variance"].max().nlargest(MAX_COLUMNS).index
    rows = table.max(axis=1).sort_values(ascending=False).head(MAX_ROWS).index
    table = table.loc[rows, [name for name in effects["hyperparameter"].unique() if name in strongest]]
    told = effects.pivot(index="metric", columns="hyperparameter", values="told").loc[table.index, table.columns]
    note = (
        "Share of variance: omega squared of ranks. In brackets: not beyond chance (Kruskal-Wallis, Friedman; Holm), "
        f"noise and 5 %. n = {span(effects['trials'])} trials."
    )
    if len(table) < effects["metric"].nunique():
        note += f" The {len(table)} of {effects['metric'].nunique()} metrics with the strongest effects."
    figure, (axes,) = sheet(1, _strongest(effects), note, panel_in=1.0 + 0.36 * len(table))
    texts = np.array(
        [
            [_effect(value, is_told) for value, is_told in zip(values, line, strict=True)]
            for values, line in zip(table.to_numpy(), told.to_numpy(), strict=True)
        ]
    )
    _map(axes, table.to_numpy(dtype=float), texts, Normalize(0, 1))
    axes.set_yticks(range(len(table)), [label(metric) for metric in table.index])
    axes.set_xticks(range(table.shape[1]), [textwrap.fill(name, 16, break_long_words=False) for name in table.columns])
    bar = figure.colorbar(axes.images[0], ax=axes, pad=0.02, label="share of variance (%)")
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25", "50", "75", "100"])
    return figure


@styled
def by_hyperparameter(
    trials: pd.DataFrame, effects: pd.DataFrame, hyperparameter: str, metrics: Sequence[str]
) -> Figure | None:
    """Metrics against one hyperparameter: a point per trial and the median of each level.

    Args:
        trials: with the hyperparameter's column and the metrics'; those that diverged or did not end are left out.
        effects: as of ``effect_sizes``; share_of_variance is NaN where it was not tested.
        hyperparameter: numbers, or words, which become categories.
        metrics: a panel each.
    """
    shown = {metric: usable(trials, hyperparameter, metric) for metric in metrics}
    shown = {metric: rows for metric, rows in shown.items() if not rows.empty}
    if not shown:
        return None
    own = effects[effects["hyperparameter"] == hyperparameter].set_index("metric") if len(effects) else effects
    count = max(len(rows) for rows in shown.values())
    note = f"Points: {count} trials. Line: median of a level."
    figure, panels = sheet(len(shown), _explained(own, hyperparameter, list(shown)), note)
    for (metric, rows), axes in zip(shown.items(), panels, strict=True):
        _points(axes, rows[hyperparameter], rows[metric])
        axes.set_xlabel(hyperparameter)
        axes.set_ylabel(broken(metric))
        if metric in own.index:
            axes.set_title(_of_panel(own.loc[metric]))
    return figure


@styled
def interaction(trials: pd.DataFrame, row: pd.Series) -> Figure | None:
    """The median of a metric over two hyperparameters.

    Args:
        trials: with the columns that the row names; those that diverged or did not end are left out.
        row: metric, first, second (hyperparameters), and share_of_variance, of 1, of their interaction.
    """
    metric, first, second = row["metric"], row["first"], row["second"]
    rows = usable(trials, metric, first, second)
    if rows.empty:
        return None
    cells = rows.groupby([levels_of(rows[first]), levels_of(rows[second])], observed=False)[metric].median().unstack()
    values = cells.to_numpy(dtype=float)
    joint = share(row["share_of_variance"])
    title = f"How {second} changes {plain(metric)} depends on {first} ({joint} of its variance)"
    note = f"Median of {len(rows)} trials. Empty: no trial that ended without diverging."
    figure, (axes,) = sheet(1, title, note, panel_in=1.4 + 0.36 * len(cells))
    known = values[np.isfinite(values)]
    scale = (LogNorm if needs_log(known) else Normalize)(known.min(), known.max())
    texts = np.array([["" if np.isnan(value) else _padded(value) for value in line] for line in values])
    _map(axes, values, texts, scale)
    axes.set_yticks(range(len(cells)), list(cells.index))
    axes.set_xticks(range(cells.shape[1]), list(cells.columns))
    axes.set_ylabel(first)
    axes.set_xlabel(second)
    figure.colorbar(
        axes.images[0], ax=axes, pad=0.02, label=broken(metric), format=FuncFormatter(lambda value, _: f"{value:g}")
    )
    return figure


def _map(axes: Axes, values: NDArray[np.float64], texts: NDArray[np.str_], scale: Normalize) -> None:
    """Cells with their numbers, which stay legible on dark ones."""
    axes.imshow(values, cmap=SHADES, norm=scale, aspect="auto")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(0.5, values.shape[1] - 1), minor=True)
    axes.set_yticks(np.arange(0.5, values.shape[0] - 1), minor=True)
    axes.grid(visible=True, which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    for (line, column), value in np.ndenumerate(values):
        color = "white" if np.isfinite(value) and scale(value) > DARK else "black"
        axes.text(column, line, texts[line, column], ha="center", va="center", color=color)


def _points(axes: Axes, x: pd.Series, y: pd.Series) -> None:
    """A point per trial, beside others of its level, and the medians."""
    words = not is_number(x)
    places = levels_of(x).cat.codes if words else x.astype(float)
    log = not words and needs_log(places)
    inner = pd.Series(np.log(places) if log else places.astype(float), index=x.index)
    drawn, has_levels = inner, words or x.nunique() <= MAX_LEVELS_DRAWN
    if has_levels:
        width = JITTER * (float(np.ptp(inner)) or 1.0)
        drawn = inner + np.random.default_rng(0).uniform(-width, width, len(inner))
    alpha = float(np.clip(60 / len(y), 0.1, 0.6))
    axes.plot(np.exp(drawn) if log else drawn, y, "o", color=BLUE, markersize=4, alpha=alpha, markeredgewidth=0)
    if not has_levels:
        parts: pd.Series = pd.qcut(inner, BINS, duplicates="drop")
        inner = inner.groupby(parts, observed=True).transform("median")
    middle = y.groupby(inner).median()
    at = np.exp(middle.index) if log else middle.index
    axes.plot(at, middle, "-D", color=VERMILLION, markersize=5)
    scale_axis(axes, "y", y)
    if words:
        names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..." for name in levels_of(x).cat.categories]
        fits = len("  ".join(names)) <= room(axes)
        axes.set_xticks(range(len(names)), names, rotation=0 if fits else 30, ha="center" if fits else "right")
        axes.set_xlim(-0.5, len(names) - 0.5)
    else:
        scale_axis(axes, "x", places)
        if has_levels:
            tick_levels(axes, places)


def _padded(value: float) -> str:
    """Three digits, so that numbers in a map are of one precision."""
    return number(value) if abs(value) >= 1000 else f"{value:#.3g}".removesuffix(".")


def _effect(value: float, told: bool) -> str:
    if np.isnan(value):
        return ""
    return share(value) if told else f"({share(value)})"


def _strongest(effects: pd.DataFrame) -> str:
    """The two strongest effects of different hyperparameters."""
    known = effects[effects["told"].astype(bool)].sort_values("share_of_variance", ascending=False)
    first = known.drop_duplicates("hyperparameter").head(2)
    if first.empty:
        return _none(effects, "a hyperparameter on any metric")
    (one, *others) = [
        (row["hyperparameter"], share(row["share_of_variance"]), plain(row["metric"]))
        for row in first.to_dict("records")
    ]
    said = f"{one[0]} explains {one[1]} of the variance of {one[2]}"
    return said + "".join(f", {name} {part} of that of {metric}" for name, part, metric in others)


def _none(effects: pd.DataFrame, what: str) -> str:
    """That no effect was found, as far as so few trials could have shown one."""
    tested = effects[effects["share_of_variance"].notna()] if len(effects) else effects
    lost = list(tested["out_of_reach"]) if len(tested) else []
    if not any(lost):
        return f"No effect of {what} was found beyond noise"
    trials = span(tested["trials"])
    if all(lost):
        return f"{trials} trials are too few to show an effect of {what}"
    return f"No effect of {what} was found beyond noise, of those that {trials} trials could show"


def _of_panel(effect: pd.Series) -> str:
    if np.isnan(effect["share_of_variance"]):
        return "not tested"
    if effect["told"]:
        return f"explains {share(effect['share_of_variance'])}"
    return "too few trials to show an effect" if effect["out_of_reach"] else "no effect found beyond noise"


def _explained(own: pd.DataFrame, hyperparameter: str, metrics: list[str]) -> str:
    own = own[own.index.isin(metrics)] if len(own) else own
    if len(own) and own["share_of_variance"].isna().all():
        return f"{hyperparameter}: too few trials to test"
    known = own[own["told"].astype(bool)] if len(own) else own
    if len(known) == 0:
        return _none(own, f"{hyperparameter} on these metrics")
    strongest = known["share_of_variance"].sort_values(ascending=False).head(2)
    parts = [
        f"{share(value)} of {'that' if place else 'the variance'} of {plain(str(metric))}"
        for place, (metric, value) in enumerate(strongest.items())
    ]
    return f"{hyperparameter} explains {listed(parts)}"
