"""Predicted against measured costs."""

from __future__ import annotations

import pandas as pd
import pytest
from figure_tables import SAFE, colors, note, title

from entrypoints.reporting.figures.predicted import predicted
from entrypoints.reporting.savings.calibration import calibration


def _predictions(ratio: float = 1.0, outside: int = 1) -> pd.DataFrame:
    """Forty times that span three decades, forty of a memory of 200 MB, and of a model's memory, which has no ratio."""
    rows = [
        {"metric": metric, "predicted": ratio * value, "low": 0.7 * value, "high": 1.4 * value, "measured": value}
        | {"inside": place >= outside, "ratio": ratio if value > 0.005 else float("nan")}
        for metric, values in {
            "training_time_s": [0.01 * 1.2**place for place in range(40)],
            "peak_memory_mb": [200.0 + place / 40 for place in range(40)],
            "model_memory_mb": [0.004] * 40,
        }.items()
        for place, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def _drawn(predictions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return predictions, pd.DataFrame(calibration(predictions.to_dict("records")))  # type: ignore[arg-type]


def test_each_metric_with_ratios_has_a_panel() -> None:
    """Its title says how many lie in the interval; both axes are alike, log where the costs span decades."""
    figure = predicted(*_drawn(_predictions()))
    assert figure is not None
    times, memory = figure.axes
    assert times.get_title("left") == "training time (s)\n98 % of 40 inside"
    assert memory.get_title("left") == "peak memory (MB, RSS - SHR)\n98 % of 40 inside"
    assert (times.get_xscale(), times.get_yscale()) == ("log", "log")
    assert (memory.get_xscale(), memory.get_yscale()) == ("linear", "linear")
    for axes in (times, memory):
        assert axes.get_xlim() == axes.get_ylim()
        (identity,) = axes.lines
        assert list(identity.get_xdata()) == list(identity.get_ydata())
    assert "98 % interval" in note(figure)
    assert colors(figure) <= SAFE


def test_trials_outside_of_their_interval_differ_in_colour_and_marker() -> None:
    """One of forty, at what it was predicted and measured."""
    figure = predicted(*_drawn(_predictions(outside=1)))
    assert figure is not None
    points = {each.get_label(): each for each in figure.axes[0].collections if each.get_label()[0] != "_"}
    assert {name: len(each.get_offsets()) for name, each in points.items()} == {"inside": 39, "outside": 1}
    assert points["outside"].get_offsets().tolist() == [pytest.approx([0.01, 0.01])]
    assert len({tuple(each.get_facecolor()[0]) for each in points.values()}) == 2  # type: ignore[attr-defined]


def test_what_is_too_small_to_be_drawn_is_counted() -> None:
    """Half of the trials of a metric whose other half has ratios."""
    table = _predictions()
    small = (table["metric"] == "peak_memory_mb") & (table["measured"] < 200.5)
    figure = predicted(*_drawn(table.assign(ratio=table["ratio"].mask(small))))
    assert figure is not None
    assert figure.axes[1].get_title("left").endswith("98 % of 40 inside, 20 below 0.1 MB")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(
            _predictions(outside=0),
            "No prediction of a cost was found to be off beyond chance and 5 %: 100 % of trials lie within the 98 % "
            "interval",
            id="as claimed",
        ),
        pytest.param(
            _predictions(outside=2),
            "No prediction of a cost was found to be off beyond chance and 5 %: 95 % of trials lie within the 98 % "
            "interval",
            id="fewer than claimed by chance",
        ),
        pytest.param(
            _predictions(outside=0).assign(inside=lambda table: table["metric"] != "model_memory_mb"),
            "Predictions of costs are off: model memory: interval too narrow (0 to 100 % inside)",
            id="of a metric without a panel",
        ),
        pytest.param(
            _predictions(ratio=1.3, outside=0),
            "Predictions of costs are off: training time: predicted too high and peak memory: predicted too high "
            "(100 % inside)",
            id="too high",
        ),
    ],
)
def test_title_says_whether_predictions_are_right(table: pd.DataFrame, expected: str) -> None:
    """And which are not."""
    assert title(predicted(*_drawn(table))) == expected


def test_nothing_to_draw_is_no_figure() -> None:
    """Without predictions, or with none whose ratio says something."""
    assert predicted(pd.DataFrame(), pd.DataFrame()) is None
    small = _predictions()
    assert predicted(*_drawn(small[small["metric"] == "model_memory_mb"])) is None
