"""Metrics while trials train."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figure_tables import SAFE, colors, curves, drift, memory_jumps, note, title
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from entrypoints.reporting.figures.curve import during_training, over_time, spread

FLAT = [[5.0, 5.0, 5.0]] * 3
RISING = [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 6.0, 9.0]]


def test_panel_shows_the_median_and_the_middle_of_the_trials() -> None:
    """At the steps of their reports; a line and a band per metric."""
    figure = during_training(curves({"memory_growth_mb": RISING, "val_loss": FLAT}), drift())
    assert figure is not None
    growth, loss = figure.axes
    (line,) = growth.lines
    assert list(line.get_xdata()) == [100, 200, 300]
    assert list(line.get_ydata()) == [2.0, 4.0, 6.0]
    (band,) = growth.collections
    edges = band.get_paths()[0].vertices
    assert edges[:, 1].min() == pytest.approx(1.2)
    assert edges[:, 1].max() == pytest.approx(8.4)
    assert list(loss.lines[0].get_ydata()) == [5.0, 5.0, 5.0]


def test_axes_name_metric_and_unit() -> None:
    """The training step has none."""
    figure = during_training(curves({"memory_growth_mb": RISING}), drift())
    assert figure is not None
    assert figure.axes[0].get_ylabel() == "memory growth\n(MB since the start)"
    assert figure.axes[0].get_xlabel() == "training step"


def test_over_time_shows_what_is_known_by_seconds_and_during_training_what_is_by_step() -> None:
    """Each its own metrics."""
    both = pd.concat([curves({"val_loss": FLAT}), curves({"system/process_memory_mb": RISING}, axis="seconds")])
    by_step, by_time = during_training(both, drift()), over_time(both, drift())
    assert by_step is not None
    assert by_time is not None
    assert [axes.get_ylabel() for axes in by_step.axes] == ["validation loss"]
    assert [axes.get_ylabel() for axes in by_time.axes] == ["memory (MB, RSS - SHR)"]
    assert by_time.axes[0].get_xlabel().endswith("(s)")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([("memory_growth_mb", "rises", 57.0)], "memory growth rises by 57 %", id="one rises"),
        pytest.param(
            [("memory_growth_mb", "rises", 57.0), ("cpu_percent", "rises", 9.6)],
            "memory growth rises by 57 % and CPU use by 10 %",
            id="two rise",
        ),
        pytest.param(
            [("memory_growth_mb", "steady", 1.0), ("cpu_percent", "falls", -12.0)],
            "CPU use falls by 12 %; memory growth stays steady",
            id="one falls, one stays",
        ),
        pytest.param(
            [("memory_growth_mb", "steady", 1.0), ("cpu_percent", "steady", 0.0)],
            "memory growth and CPU use stay steady",
            id="both stay",
        ),
    ],
)
def test_title_says_what_the_tests_found_of_the_costs(rows: list[tuple[str, str, float]], expected: str) -> None:
    """Not of the losses; a panel says what was found of its own metric."""
    table = curves({"memory_growth_mb": RISING, "cpu_percent": FLAT, "val_loss": FLAT})
    figure = during_training(table, drift(*rows, ("val_loss", "falls", -80.0)))
    assert title(figure) == f"While trials train, {expected}"
    assert figure is not None
    assert figure.axes[2].get_title("left") == "falls: -80 % (-82 to -78 %)"


def test_panel_of_what_stays_says_at_which_level() -> None:
    """With the interval of the change."""
    figure = during_training(curves({"cpu_percent": FLAT}), drift(("cpu_percent", "steady", 0.5)))
    assert figure is not None
    assert figure.axes[0].get_title("left") == "steady at 200 (-2 to +2 %)"


def test_change_of_memory_is_in_megabytes() -> None:
    """Most of it are libraries, so that percentages of it mislead."""
    figure = during_training(curves({"memory_mb": RISING}), drift(("memory_mb", "rises", 3.0)))
    assert title(figure) == "While trials train, memory rises by 6 MB"
    assert figure is not None
    assert figure.axes[0].get_title("left") == "rises: +6 MB (+2 to +10 MB)"


def test_jumps_of_memory_are_marked_where_they_are_a_finding() -> None:
    """In the panel of memory alone, by algorithm, with the number of trials in the title."""
    tables = [curves({"memory_mb": RISING, "cpu_percent": FLAT}, group=group) for group in ("linear", "mlp")]
    both, tests = pd.concat(tables), drift(("cpu_percent", "steady", 0.0))
    figure = during_training(both, tests, *memory_jumps(linear=80, mlp=1))
    plain = during_training(both, tests, *memory_jumps(linear=1, mlp=1))
    assert figure is not None
    assert plain is not None
    memory, cpu = figure.axes
    (ticks,) = [each for each in memory.collections if isinstance(each, LineCollection)]
    assert [segment[0, 0] for segment in ticks.get_segments()] == [150, 250]
    assert to_hex(ticks.get_color()[0]) == to_hex(memory.lines[0].get_color())
    assert title(figure) == "While trials train, CPU use stays steady; memory jumps in 80 of 90 trials"
    assert "Ticks" in note(figure)
    assert title(plain) == "While trials train, CPU use stays steady"
    assert "Ticks" not in note(plain)
    for axes in (cpu, *plain.axes):
        assert not any(isinstance(each, LineCollection) for each in axes.collections)


def test_score_has_its_spread_over_folds() -> None:
    """Dotted, around the median: the median over trials, in the panel of the score alone; the note says so."""
    table = curves({"val_loss": FLAT, "val_rmse": FLAT}).assign(sd=np.nan)
    assert "Dotted" not in note(during_training(table, drift()))
    score = table["metric"] == "val_rmse"
    table.loc[score, "sd"] = [0.1, 0.2, 0.3, 0.2, 0.3, 0.4, 0.3, 0.4, 5.0]
    figure = during_training(table, drift())
    assert figure is not None
    loss, panel = figure.axes
    low, high, middle = panel.lines
    assert list(middle.get_ydata()) == [5, 5, 5]
    assert list(low.get_ydata()) == pytest.approx([4.8, 4.7, 4.6])
    assert list(high.get_ydata()) == pytest.approx([5.2, 5.3, 5.4])
    assert (low.get_linestyle(), high.get_linestyle(), middle.get_linestyle()) == (":", ":", "-")
    assert len(loss.lines) == 1
    assert "Dotted" in note(figure)


def test_title_of_curves_that_are_unclear_or_were_not_tested_says_so() -> None:
    """In words."""
    table = curves({"memory_growth_mb": RISING})
    assert title(during_training(table, drift(("memory_growth_mb", "unclear", 8.0)))) == (
        "No clear drift of the costs in 3 trials"
    )
    untested = drift(("memory_growth_mb", "too few trials", 8.0))
    untested[["change_percent", "low_percent", "high_percent", "p_holm"]] = np.nan
    for tests in (untested, drift(), pd.DataFrame()):
        figure = during_training(table, tests)
        assert "too few of them" in title(figure)
        assert figure is not None
        assert figure.axes[0].get_title("left").startswith("not tested")


def test_algorithms_have_lines_of_their_own_and_a_legend() -> None:
    """They differ in colour, marker and dashes."""
    table = pd.concat([curves({"step_time_ms": FLAT}, group="linear"), curves({"step_time_ms": RISING}, group="mlp")])
    tests = pd.concat(
        [drift(("step_time_ms", "steady", 0.0), group="linear"), drift(("step_time_ms", "rises", 90.0), group="mlp")]
    )
    figure = during_training(table, tests)
    assert figure is not None
    linear, mlp = figure.axes[0].lines
    for look in ("color", "marker", "linestyle"):
        assert getattr(linear, f"get_{look}")() != getattr(mlp, f"get_{look}")()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["linear", "mlp"]
    assert figure.axes[0].get_title("left") == "linear: steady, mlp: rises"
    assert colors(figure) <= SAFE


@pytest.mark.parametrize(
    ("linear", "mlp", "expected"),
    [
        pytest.param("falls", "rises", "step time differs by algorithm", id="opposite"),
        pytest.param("rises", "steady", "step time rises for linear and stays steady for mlp", id="one stays"),
        pytest.param("unclear", "steady", "step time stays steady for mlp and is unclear for linear", id="unclear"),
        pytest.param("falls", "too few trials", "step time falls for linear and has too few trials for mlp", id="few"),
    ],
)
def test_title_calls_algorithms_different_only_where_they_are(linear: str, mlp: str, expected: str) -> None:
    """Where one rises and another falls; else it has the verdict of each."""
    table = pd.concat([curves({"step_time_ms": FLAT}, group=group) for group in ("linear", "mlp")])
    tests = [
        drift(("step_time_ms", verdict, 9.0), group=group) for group, verdict in (("linear", linear), ("mlp", mlp))
    ]
    assert title(during_training(table, pd.concat(tests))) == f"While trials train, {expected}"


def test_curves_that_fall_by_orders_of_magnitude_are_on_a_log_axis() -> None:
    """Others are not."""
    figure = during_training(curves({"val_loss": [[100.0, 10.0, 1.0]], "cpu_percent": FLAT}), drift())
    assert figure is not None
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_median_goes_as_far_as_half_of_the_trials() -> None:
    """The few long ones would be another population; in between, curves are straight."""
    rows = [("a", 0.0, 0.0), ("a", 10.0, 10.0), ("b", 0.0, 0.0), ("b", 5.0, 5.0), ("b", 10.0, 10.0), ("c", 0.0, 0.0)]
    band = spread(pd.DataFrame([*rows, ("c", 20.0, 20.0)], columns=["run_id", "at", "value"]))
    assert list(band["at"]) == [0.0, 5.0, 10.0]
    assert list(band["middle"]) == [0.0, 5.0, 10.0]


def test_many_places_are_thinned() -> None:
    """From the first to the last."""
    at = np.arange(1000.0)
    band = spread(pd.DataFrame({"run_id": "a", "at": at, "value": 2 * at}))
    assert len(band) == 60
    assert (band["at"].min(), band["at"].max()) == (0.0, 999.0)
    assert list(band["middle"]) == pytest.approx(list(2 * band["at"]))


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(pd.DataFrame(), id="nothing"),
        pytest.param(curves({"val_loss": FLAT}, axis="other"), id="other axis"),
        pytest.param(curves({"val_loss": [[1.0], [2.0]]}), id="one point each"),
        pytest.param(curves({"val_loss": [[np.nan, np.inf]]}), id="no numbers"),
    ],
)
def test_nothing_to_draw_is_no_figure(table: pd.DataFrame) -> None:
    """Not an empty one."""
    assert during_training(table, drift()) is None
    assert over_time(table, drift()) is None


def test_note_counts_the_trials() -> None:
    """Those with a course."""
    table = pd.concat([curves({"val_loss": FLAT}), curves({"val_loss": [[1.0]]}, group="short")])
    assert note(during_training(table, drift())).endswith(" 3 trials.")
