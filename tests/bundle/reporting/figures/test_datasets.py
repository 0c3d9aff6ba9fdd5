"""How datasets compare in what they cost."""

from __future__ import annotations

import pandas as pd
from figure_tables import SAFE, colors, title

from entrypoints.reporting.figures.datasets import step_times

STEPS: pd.DataFrame = pd.DataFrame(
    [
        {"dataset": name, "features": features, "numbers": size * features, "mean_step_time_ms": ms, "trials": 12}
        for name, features, size, ms in (
            ("a", 8, 2, 0.31),
            ("a", 8, 256, 0.4),
            ("b", 784, 2, 0.5),
            ("b", 784, 256, 21.0),
        )
    ]
)


def test_step_is_drawn_against_the_numbers_of_its_batch() -> None:
    """A line for each dataset; the title says from what to what a step costs, the legend how many trials there are."""
    figure = step_times(STEPS.sample(frac=1, random_state=0))
    assert title(figure) == "A training step takes from 0.31 ms (a, 16 numbers) to 21 ms (b, 200704 numbers)"
    assert figure is not None
    (axes,) = figure.axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[16, 2048], [1568, 200704]]
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.31, 0.4], [0.5, 21.0]]
    assert [line.get_label() for line in axes.lines] == [
        f"{name}, n = 24 trials)" for name in ("a (8 features", "b (784 features")
    ]
    assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "numbers in a batch (rows x features)")
    assert axes.get_ylabel() == "mean step time (ms)"
    assert colors(figure) <= SAFE


def test_no_steps_are_no_figure() -> None:
    """Where hosts differ."""
    assert step_times(STEPS.iloc[:0]) is None
