"""What all figures share."""

from __future__ import annotations

import io
import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
from figure_tables import ended, note, ticks, title, trials
from matplotlib.figure import Figure
from PIL import Image

from entrypoints.reporting.figures.style import (
    LINES,
    MARKERS,
    PALETTE,
    STYLE,
    levels_of,
    needs_log,
    scale_axis,
    sheet,
    styled,
    tick_levels,
    usable,
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1.0, 20.0], False, id="factor of 20"),
        pytest.param([1.0, 20.1], True, id="more than that"),
        pytest.param([0.0, 1.0, 100.0], False, id="zero"),
        pytest.param([-1.0, 100.0], False, id="below zero"),
        pytest.param([1.0, math.nan, math.inf, 50.0], True, id="unknown ones do not count"),
        pytest.param([], False, id="nothing"),
    ],
)
def test_axis_is_log_where_positive_values_span_far(values: list[float], expected: bool) -> None:
    """On both axes."""
    assert needs_log(values) == expected
    axes = Figure().subplots()
    for which in ("x", "y"):
        scale_axis(axes, which, values)
    assert (axes.get_xscale(), axes.get_yscale()) == (("log",) * 2 if expected else ("linear",) * 2)


@pytest.mark.parametrize("values", [[0.6, 0.65], [0.001, 1.0], [203.1, 203.4]], ids=str)
def test_axis_has_few_ticks_of_plain_numbers(values: list[float]) -> None:
    """Two to seven, without powers or offsets."""
    axes = Figure().subplots()
    axes.plot(values, values)
    scale_axis(axes, "y", values)
    inside = [tick for tick in axes.get_yticks() if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]]
    assert 2 <= len(inside) <= 7
    assert ticks(axes, "y") == [f"{tick:g}" for tick in axes.get_yticks()]
    assert not any("$" in text for text in ticks(axes, "y"))


def test_levels_get_a_tick_each_unless_their_texts_would_run_into_each_other() -> None:
    """On a log axis batch sizes have room; on a linear one the small ones do not."""
    sizes = [2, 4, 8, 16, 32, 64, 128, 256, 512]
    axes = Figure().subplots()
    axes.set_xscale("log")
    tick_levels(axes, [*sizes, *sizes])
    assert list(axes.get_xticks()) == sizes
    linear = Figure().subplots()
    tick_levels(linear, sizes)
    assert list(linear.get_xticks()) == [2, 32, 64, 128, 256, 512]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        pytest.param([10.0, 0.5, 2.0, 10.0], ["0.5", "2", "10"], id="numbers, in order of size"),
        pytest.param(["b", "a", "b"], ["a", "b"], id="words"),
        pytest.param([True, False], ["False", "True"], id="yes and no"),
        pytest.param(list(range(1, 101)), ["1 to 25", "26 to 50", "51 to 75", "76 to 100"], id="quartiles"),
        pytest.param([1.0, 1.0000001], ["1"], id="numbers that read the same"),
    ],
)
def test_levels_have_names_in_order(values: list[object], names: list[str]) -> None:
    """Many numbers are cut into quartiles."""
    assert list(levels_of(pd.Series(values)).cat.categories) == names


def test_rare_words_become_one_level() -> None:
    """The eleven commonest stay."""
    words = [f"w{place:02}" for place in range(20) for _ in range(20 - place)]
    levels = levels_of(pd.Series(words))
    assert list(levels.cat.categories) == ["(others)", *(f"w{place:02}" for place in range(11))]
    assert (levels == "(others)").sum() == sum(20 - place for place in range(11, 20))


def test_usable_trials_ended_by_themselves_with_the_figures_asked_for() -> None:
    """Without diverged and stopped ones, and those without a figure."""
    table = trials(30)
    assert list(usable(table, "val_rmse")["run_id"]) == list(ended(table)["run_id"])
    first = ended(table).index[0]
    table.loc[first, "val_rmse"] = np.nan
    assert first not in usable(table, "val_rmse").index
    assert first in usable(table, "training_time_s").index
    assert usable(table, "val_rmse", "unknown").empty


def test_sheet_has_the_panels_asked_for_below_its_finding() -> None:
    """No empty ones; long titles are wrapped, and a percent sign stays with its number."""
    figure, panels = sheet(5, "word " * 17 + "41 % of it", "below")
    assert len(panels) == len(figure.axes) == 5
    assert title(figure).endswith("41 % of it")
    assert "41\N{NO-BREAK SPACE}%" in figure.get_suptitle()
    assert "\n" in figure.get_suptitle()
    assert note(figure) == "below"


def test_figures_are_opaque_white_and_about_1100_pixels_wide() -> None:
    """So that they read on a dark page."""
    figure, _ = sheet(2, "title")
    file = io.BytesIO()
    figure.savefig(file)
    image = Image.open(file).convert("RGBA")
    assert image.width == 1100
    assert image.getpixel((0, 0)) == (255, 255, 255, 255)
    assert image.getchannel("A").getextrema() == (255, 255)


def test_style_is_in_force_while_a_figure_is_drawn_and_nowhere_else() -> None:
    """Other code's settings stay."""
    before = dict(matplotlib.rcParams)
    inside = styled(lambda: {name: matplotlib.rcParams[name] for name in ("axes.grid", "axes.spines.top")})()
    assert inside == {"axes.grid": True, "axes.spines.top": False}
    assert {name: before[name] for name in STYLE} == {name: matplotlib.rcParams[name] for name in STYLE}
    assert STYLE["font.size"] >= 10


def test_groups_differ_in_more_than_colour() -> None:
    """Any seven have a colour and a marker of their own, any four a line."""
    assert len(set(PALETTE)) == len(set(MARKERS)) == 7
    assert len(set(LINES)) == 4
