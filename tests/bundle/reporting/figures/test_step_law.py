"""What a step costs against the rows of its batch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figure_tables import SAFE, colors, note, ticks, title
from figure_tables import step_law as tables

from entrypoints.reporting.figures.step_law import step_law


def test_points_bars_and_line_are_those_of_the_tables() -> None:
    """Both axes are log, the ticks the batch sizes, and the title says the law."""
    figure = step_law(*tables())
    assert title(figure) == "A step takes 0.31 ms + 0.021 ms a row"
    assert figure is not None
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    (drawn,) = axes.containers
    points, _, (bars,) = drawn.lines
    (line,) = [each for each in axes.lines if len(each.get_xdata()) > 3]
    assert list(points.get_ydata()) == [0.48, 1.7, 11.0]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [
        [0.9 * ms, 1.2 * ms] for ms in (0.48, 1.7, 11.0)
    ]
    assert line.get_ydata() == pytest.approx(0.31 + 0.021 * np.asarray(line.get_xdata()))
    assert ticks(axes, "x") == ["8", "64", "512"]
    assert axes.get_ylabel() == "step time (ms)"
    assert "27 trials" in note(figure)
    assert colors(figure) <= SAFE


def test_each_algorithm_has_its_own_look_and_its_law_only_where_one_fits() -> None:
    """That none fits is said."""
    figure = step_law(*tables("linear", "svm", fits=(True, False)))
    assert title(figure) == "A step takes 0.31 ms + 0.021 ms a row (linear)"
    assert note(figure).endswith("No straight line fits svm.")
    assert figure is not None
    (legend,) = [axes.get_legend() for axes in figure.axes]
    assert legend is not None
    said = [text.get_text() for text in legend.get_texts()]
    assert said == ["0.31 ms + 0.021 ms a row, median error 3 %", "linear (n = 27)", "svm (n = 27)"]


def test_without_a_law_the_title_says_so() -> None:
    """And without batch sizes there is no figure."""
    assert title(step_law(*tables(fits=[False]))) == "The time of a step follows no straight line over its rows"
    assert step_law(tables()[0], pd.DataFrame()) is None
