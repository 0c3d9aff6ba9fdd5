"""Which configuration to choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_tables import SAFE, colors, ended, front, note, ranks, texts, ticks, title, trials

from entrypoints.reporting.figures.choice import critical_difference, pareto, pareto_hover
from entrypoints.reporting.figures.style import PALE, VERMILLION

TRIALS = trials()
BEST = ended(TRIALS).sort_values("val_rmse")["run_id"].iloc[0]
SECOND = ended(TRIALS).sort_values("val_rmse")["run_id"].iloc[1]


def _pareto(**changes: Any) -> dict[str, Any]:
    values = {
        "trials": TRIALS,
        "front": front(TRIALS),
        "score": "val_rmse",
        "higher_is_better": False,
        "limits": {"peak_memory_mb": 230.0},
        "chosen_run_id": BEST,
    }
    return values | changes


def test_diagram_puts_mean_ranks_on_a_line_with_the_critical_difference_above() -> None:
    """The best first; one bar joins the two that are near."""
    figure = critical_difference(ranks([1.2, 1.8, 3.0], 1.0), "a ranks best")
    (axes,) = figure.axes
    assert [float(marker.get_offsets()[0][0]) for marker in axes.collections] == [1.2, 1.8, 3.0]
    joined = [list(line.get_xdata()) for line in axes.lines if line.get_color() == VERMILLION]
    assert [sorted(bar) for bar in joined] == [[1.2, 1.8]]
    (difference,) = [line for line in axes.lines if line.get_marker() == "|"]
    assert list(difference.get_xdata()) == [1.2, 2.2]
    assert "critical difference 1.00" in texts(axes)
    assert ticks(axes, "x") == ["1", "2", "3"]
    assert colors(figure) <= SAFE


def test_finding_over_datasets_is_the_title() -> None:
    """The note says over how many."""
    figure = critical_difference(ranks([1.2, 1.8, 3.0], 1.0, blocks=4), "time (s) by rate: a ranks best, c worst")
    assert title(figure) == "time (s) by rate: a ranks best, c worst"
    assert note(figure) == "Mean rank over 4 datasets, 1 is best; bars join what does not differ at 5 % (Nemenyi)."
    assert [name in " ".join(texts(figure.axes[0])) for name in ("a  (1.2)", "b", "(3.0)")] == [True] * 3


def test_front_and_trials_are_drawn_against_each_cost() -> None:
    """All that ended are points; the front climbs in steps."""
    figure = pareto(**_pareto())
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "peak memory (MB, RSS - SHR)",
        "training time (s)",
        "inference latency (ms per row)",
    ]
    for axes, cost in zip(figure.axes, ("peak_memory_mb", "training_time_s", "inference_latency_ms"), strict=True):
        points, line = (each for each in axes.lines if each.get_label() in ("trial", "front"))
        own = front(TRIALS)[lambda table, cost=cost: table["cost"] == cost]
        assert list(points.get_xdata()) == list(ended(TRIALS)[cost])
        assert list(points.get_ydata()) == list(ended(TRIALS)["val_rmse"])
        assert list(line.get_xdata()) == list(own["value"])
        assert list(line.get_ydata()) == list(own["val_rmse"])
        assert line.get_drawstyle() == "steps-post"
        assert axes.get_ylabel() == "validation RMSE\n(units of the target)"
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log", "linear"]
    assert colors(figure) <= SAFE


def test_chosen_model_is_a_star_and_limits_are_shaded() -> None:
    """On the cost that has one, up to the limit."""
    figure = pareto(**_pareto(chosen_run_id=SECOND))
    assert figure is not None
    row = TRIALS.set_index("run_id").loc[SECOND]
    star = next(line for line in figure.axes[1].lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (row["training_time_s"], row["val_rmse"])
    assert [len(axes.patches) for axes in figure.axes] == [1, 0, 0]
    extent = figure.axes[0].patches[0].get_extents().transformed(figure.axes[0].transData.inverted())
    assert extent.x1 == pytest.approx(230.0)
    assert figure.axes[0].get_title("left") == "limit 230"
    assert "Shaded" in note(figure)
    without = pareto(**_pareto(limits={}, chosen_run_id=None))
    assert "Shaded" not in note(without)
    assert "Star" not in note(without)


@pytest.mark.parametrize(("cost", "limit"), [("peak_memory_mb", 100.0), ("training_time_s", 1e4)], ids=["low", "high"])
def test_limits_that_no_trial_is_near_are_in_the_picture(cost: str, limit: float) -> None:
    """On linear and log axes."""
    figure = pareto(**_pareto(limits={cost: limit}))
    assert figure is not None
    axes = figure.axes[0 if cost == "peak_memory_mb" else 1]
    low, high = axes.get_xlim()
    assert low < limit < high
    assert low > 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, "The chosen model has the best validation RMSE of all 48 trials, 0.964", id="best"),
        pytest.param({"chosen_run_id": None}, "The best validation RMSE of 48 trials is 0.964", id="none chosen"),
        pytest.param(
            {"chosen_run_id": SECOND},
            "To stay within the limits, the chosen model has a validation RMSE {gap} worse than the best of all 48 "
            "trials",
            id="worse",
        ),
        pytest.param(
            {"chosen_run_id": SECOND, "limits": {}},
            "The chosen model has a validation RMSE {gap} worse than the best of all 48 trials",
            id="worse without limits",
        ),
    ],
)
def test_title_compares_the_chosen_model_with_the_best(changes: dict[str, Any], expected: str) -> None:
    """The interactive figure says the same."""
    scores = ended(TRIALS).set_index("run_id")["val_rmse"]
    gap = scores[SECOND] - scores[BEST]
    said = expected.format(gap="less than 0.1 %" if gap < 0.001 * scores[BEST] else f"{gap:.2g}")
    said = said.replace("48", str(len(scores))).replace("0.964", f"{scores[BEST]:.3g}")
    assert title(pareto(**_pareto(**changes))) == said
    hovering = pareto_hover(**_pareto(**changes))
    assert hovering is not None
    assert hovering.layout.title.text.replace("<br>", " ") == said


def test_a_higher_score_may_be_better() -> None:
    """Then the best is the highest."""
    table = TRIALS.assign(val_accuracy=1 / TRIALS["val_rmse"])
    changes = _pareto(trials=table, score="val_accuracy", higher_is_better=True)
    changes["front"] = front(TRIALS).assign(val_accuracy=1.0)
    assert title(pareto(**changes)).startswith("The chosen model has the best validation accuracy of all")


def test_interactive_figure_shows_the_first_cost_and_names_trials() -> None:
    """With their figures on hover."""
    figure = pareto_hover(**_pareto())
    assert figure is not None
    points, line, chosen = figure.data
    assert list(points.x) == list(ended(TRIALS)["peak_memory_mb"])
    assert list(points.y) == list(ended(TRIALS)["val_rmse"])
    assert sorted(line.x) == sorted(front(TRIALS)[lambda table: table["cost"] == "peak_memory_mb"]["value"])
    row = TRIALS.set_index("run_id").loc[BEST]
    assert list(chosen.y) == [row["val_rmse"]]
    assert chosen.text[0].startswith(f"<b>{row['name']}</b><br>")
    assert f"peak memory (MB, RSS - SHR): {row['peak_memory_mb']:.3g}" in chosen.text[0]
    assert figure.layout.xaxis.title.text == "peak memory (MB, RSS - SHR)"
    assert figure.layout.paper_bgcolor == "white"
    assert figure.layout.shapes[0].x1 == 230.0
    assert {trace.marker.color.upper() for trace in figure.data} <= SAFE - {PALE}


def test_interactive_figure_of_thousands_of_trials_shows_a_part_and_says_so() -> None:
    """With the whole front and the chosen trial."""
    table = trials(5000)
    own = front(table)[lambda rows: rows["cost"] == "peak_memory_mb"]
    chosen = ended(table)["run_id"].iloc[1]
    figure = pareto_hover(**_pareto(trials=table, front=own, chosen_run_id=chosen))
    assert figure is not None
    shown = len(figure.data[0].x)
    assert shown <= 2000
    assert f"{shown} of {len(ended(table))} trials are shown" in figure.layout.title.text
    assert len(figure.data[1].x) == len(own)
    assert len(figure.data[2].x) == 1
    assert "are shown" not in pareto_hover(**_pareto()).layout.title.text


def test_unknown_costs_have_no_panel() -> None:
    """The interactive figure takes the first that is known."""
    table = TRIALS.drop(columns="inference_latency_ms").assign(peak_memory_mb=np.nan)
    figure = pareto(**_pareto(trials=table))
    hovering = pareto_hover(**_pareto(trials=table))
    assert figure is not None
    assert hovering is not None
    assert [axes.get_xlabel() for axes in figure.axes] == ["training time (s)"]
    assert hovering.layout.xaxis.title.text == "training time (s)"
    assert hovering.layout.xaxis.type == "log"


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(trials(0), id="no trials"),
        pytest.param(TRIALS.assign(diverged=True), id="all diverged"),
        pytest.param(TRIALS.drop(columns="val_rmse"), id="no score"),
    ],
)
def test_nothing_to_draw_is_no_figure(table: pd.DataFrame) -> None:
    """Not an empty one."""
    assert pareto(**_pareto(trials=table, front=pd.DataFrame())) is None
    assert pareto_hover(**_pareto(trials=table, front=pd.DataFrame())) is None


def test_trials_can_be_drawn_without_a_front() -> None:
    """As points."""
    figure = pareto(**_pareto(front=pd.DataFrame()))
    assert figure is not None
    assert len(figure.axes) == 3
