"""Effects of hyperparameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_tables import COSTS, SAFE, colors, effects, ended, note, texts, ticks, title, trials
from matplotlib.axes import Axes
from numpy.typing import NDArray

from entrypoints.reporting.figures.effect import by_hyperparameter, effect_sizes, interaction

EFFECTS = effects(
    [
        ("val_rmse", "rate", 0.62, 0.001),
        ("val_rmse", "layers", 0.03, 0.4),
        ("peak_memory_mb", "rate", 0.0, 0.9),
        ("peak_memory_mb", "layers", 0.97, 0.001),
    ]
)


def _cells(axes: Axes) -> NDArray[Any]:
    return np.asarray(axes.images[0].get_array())


def _row(metric: str, first: str, second: str, share: float = 0.12) -> pd.Series:
    return pd.Series({"metric": metric, "first": first, "second": second, "share_of_variance": share})


def test_map_of_effects_holds_the_shares() -> None:
    """The strongest metric first; what is not told is in brackets."""
    figure = effect_sizes(EFFECTS)
    assert figure is not None
    axes = figure.axes[0]
    assert _cells(axes).tolist() == [[0.0, 0.97], [0.62, 0.03]]
    assert texts(axes) == ["(0 %)", "97 %", "62 %", "(3 %)"]
    assert ticks(axes, "y") == ["peak memory (MB, RSS - SHR)", "validation RMSE (units of the target)"]
    assert ticks(axes, "x") == ["rate", "layers"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(
            EFFECTS,
            "layers explains 97 % of the variance of peak memory, rate 62 % of that of validation RMSE",
            id="two",
        ),
        pytest.param(
            EFFECTS[EFFECTS["hyperparameter"] == "rate"],
            "rate explains 62 % of the variance of validation RMSE",
            id="one",
        ),
        pytest.param(
            EFFECTS[~EFFECTS["told"]], "No effect of a hyperparameter on any metric was found beyond noise", id="none"
        ),
    ],
)
def test_title_of_the_map_says_the_strongest_effects(table: pd.DataFrame, expected: str) -> None:
    """Of different hyperparameters, if they are told."""
    assert title(effect_sizes(table)) == expected


def test_note_of_the_map_counts_the_trials() -> None:
    """Of the metric with the fewest, and with the most."""
    assert note(effect_sizes(EFFECTS)).endswith("n = 54 trials.")
    fewer = EFFECTS.assign(trials=[54, 54, 50, 50])
    assert note(effect_sizes(fewer)).endswith("n = 50 to 54 trials.")


def test_map_of_many_metrics_shows_the_strongest_and_says_so() -> None:
    """Twenty rows, eight columns."""
    many = effects(
        (f"metric_{row}", f"h{column}", (row + column) / 100, 0.01) for row in range(30) for column in range(10)
    )
    figure = effect_sizes(many)
    assert figure is not None
    assert _cells(figure.axes[0]).shape == (20, 8)
    assert _cells(figure.axes[0]).max() == 0.38
    assert "20 of 30 metrics" in note(figure)


def test_text_in_a_map_contrasts_with_its_cell() -> None:
    """White on dark ones."""
    figure = effect_sizes(EFFECTS)
    assert figure is not None
    assert {text.get_text(): text.get_color() for text in figure.axes[0].texts} == {
        "(0 %)": "black",
        "97 %": "white",
        "62 %": "black",
        "(3 %)": "black",
    }


def test_points_are_the_trials_and_the_line_their_medians() -> None:
    """A panel per metric; trials that diverged or were stopped are not there."""
    table = trials()
    figure = by_hyperparameter(table, EFFECTS, "layers", ["val_rmse", "peak_memory_mb"])
    assert figure is not None
    shown = ended(table)
    assert len(figure.axes) == 2
    for axes, metric in zip(figure.axes, ("val_rmse", "peak_memory_mb"), strict=True):
        points, line = axes.lines
        assert list(points.get_ydata()) == list(shown[metric])
        assert np.abs(points.get_xdata() - shown["layers"]).max() < 0.1
        medians = shown.groupby("layers")[metric].median()
        assert list(line.get_xdata()) == list(medians.index)
        assert list(line.get_ydata()) == list(medians)
        assert axes.get_xlabel() == "layers"
    assert figure.axes[1].get_ylabel() == "peak memory\n(MB, RSS - SHR)"
    assert note(figure).startswith(f"Points: {len(shown)} trials")
    assert colors(figure) <= SAFE


def test_axes_are_log_where_values_span_far() -> None:
    """Rates and times, not layers and memory; a rate without levels gets the medians of tenths."""
    figure = by_hyperparameter(trials(), EFFECTS, "rate", ["training_time_s", "peak_memory_mb"])
    assert figure is not None
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]
    points, line = figure.axes[0].lines
    assert list(points.get_xdata()) == pytest.approx(list(ended(trials())["rate"]))
    assert len(line.get_xdata()) == 10
    linear = by_hyperparameter(trials(), EFFECTS, "layers", ["peak_memory_mb"])
    assert linear is not None
    assert linear.axes[0].get_xscale() == "linear"


def test_words_are_categories() -> None:
    """In order, with their medians."""
    figure = by_hyperparameter(trials(), EFFECTS, "kind", ["val_rmse"])
    assert figure is not None
    (axes,) = figure.axes
    assert ticks(axes, "x") == ["adam", "lion", "sgd"]
    assert list(axes.lines[1].get_ydata()) == list(ended(trials()).groupby("kind")["val_rmse"].median())


def test_long_words_are_cut_and_turned() -> None:
    """So that they do not run into each other."""
    table = trials().assign(kind=[f"optimizer_number_{place % 8}" for place in range(60)])
    figure = by_hyperparameter(table, EFFECTS, "kind", ["val_rmse", "peak_memory_mb"])
    assert figure is not None
    assert all(len(text) <= 14 for text in ticks(figure.axes[0], "x"))
    assert figure.axes[0].get_xticklabels()[0].get_rotation() == 30


@pytest.mark.parametrize(
    ("hyperparameter", "expected"),
    [
        pytest.param("layers", "layers explains 97 % of the variance of peak memory", id="one"),
        pytest.param("kind", "No effect of kind on these metrics was found beyond noise", id="none"),
    ],
)
def test_title_says_what_a_hyperparameter_explains(hyperparameter: str, expected: str) -> None:
    """If it is told; each panel says its own."""
    figure = by_hyperparameter(trials(), EFFECTS, hyperparameter, ["val_rmse", "peak_memory_mb"])
    assert title(figure) == expected
    if hyperparameter == "layers":
        assert figure is not None
        assert [axes.get_title("left") for axes in figure.axes] == ["no effect found beyond noise", "explains 97 %"]


@pytest.mark.parametrize(
    ("untested", "says", "panels"),
    [
        pytest.param(["val_rmse", "peak_memory_mb"], "layers: too few trials to test", ["not tested"] * 2, id="all"),
        pytest.param(
            ["peak_memory_mb"],
            "No effect of layers on these metrics was found beyond noise",
            ["no effect found beyond noise", "not tested"],
            id="one",
        ),
    ],
)
def test_what_was_not_tested_is_said_to_be_so(untested: list[str], says: str, panels: list[str]) -> None:
    """As where each level has one trial; nothing is said of its effect."""
    table = EFFECTS.copy()
    table.loc[table["metric"].isin(untested), ["share_of_variance", "told"]] = [np.nan, False]
    figure = by_hyperparameter(trials(), table, "layers", ["val_rmse", "peak_memory_mb"])
    assert title(figure) == says
    assert figure is not None
    assert [axes.get_title("left") for axes in figure.axes] == panels


@pytest.mark.parametrize(
    ("lost", "of_all", "of_layers", "panels"),
    [
        pytest.param(
            ["val_rmse", "peak_memory_mb"],
            "54 trials are too few to show an effect of a hyperparameter on any metric",
            "54 trials are too few to show an effect of layers on these metrics",
            ["too few trials to show an effect"] * 2,
            id="all",
        ),
        pytest.param(
            ["val_rmse"],
            "No effect of a hyperparameter on any metric was found beyond noise, of those that 54 trials could show",
            "No effect of layers on these metrics was found beyond noise, of those that 54 trials could show",
            ["too few trials to show an effect", "no effect found beyond noise"],
            id="some",
        ),
    ],
)
def test_effects_that_so_few_trials_could_never_show_are_not_called_absent(
    lost: list[str], of_all: str, of_layers: str, panels: list[str]
) -> None:
    """Nor is a share of the variance named, which chance may make."""
    table = EFFECTS.assign(told=False, out_of_reach=EFFECTS["metric"].isin(lost))
    assert title(effect_sizes(table)) == of_all
    figure = by_hyperparameter(trials(), table, "layers", ["val_rmse", "peak_memory_mb"])
    assert title(figure) == of_layers
    assert figure is not None
    assert [axes.get_title("left") for axes in figure.axes] == panels


def test_interaction_shows_the_median_of_each_cell() -> None:
    """The first hyperparameter down, the second across; the title names the share."""
    table = trials()
    figure = interaction(table, _row("peak_memory_mb", "layers", "kind"))
    assert figure is not None
    axes, bar = figure.axes
    expected = ended(table).groupby(["layers", "kind"])["peak_memory_mb"].median().unstack()
    assert _cells(axes) == pytest.approx(expected.to_numpy(), nan_ok=True)
    assert (ticks(axes, "y"), ticks(axes, "x")) == (["1", "2", "3", "4", "5"], ["adam", "lion", "sgd"])
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("layers", "kind")
    assert texts(axes)[0] == f"{expected.to_numpy()[0, 0]:.0f}"
    assert bar.get_ylabel() == "peak memory\n(MB, RSS - SHR)"
    assert title(figure) == "How kind changes peak memory depends on layers (12 % of its variance)"
    assert "6 %" in title(interaction(table, _row("peak_memory_mb", "layers", "kind", 0.06)))


def test_interaction_cuts_many_values_into_quartiles_and_leaves_unknown_cells_empty() -> None:
    """Its colours are on a log scale where values span far."""
    table = trials()
    table.loc[(table["layers"] == 1) & (table["kind"] == "sgd"), "training_time_s"] = np.nan
    by_rate = interaction(table, _row("training_time_s", "kind", "rate"))
    by_layers = interaction(table, _row("training_time_s", "layers", "kind"))
    assert by_rate is not None
    assert by_layers is not None
    assert len(ticks(by_rate.axes[0], "x")) == 4
    assert texts(by_layers.axes[0])[2] == ""
    assert type(by_layers.axes[0].images[0].norm).__name__ == "LogNorm"


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(trials(0), id="no trials"),
        pytest.param(trials().assign(diverged=True), id="all diverged"),
        pytest.param(trials().assign(status="KILLED"), id="all stopped"),
        pytest.param(trials().drop(columns="val_rmse"), id="unknown metric"),
    ],
)
def test_nothing_to_draw_is_no_figure(table: pd.DataFrame) -> None:
    """Not an empty one."""
    assert by_hyperparameter(table, EFFECTS, "layers", ["val_rmse"]) is None
    assert interaction(table, _row("val_rmse", "layers", "kind")) is None


def test_no_effects_are_no_figure_but_trials_can_be_drawn_without() -> None:
    """Then nothing is said of the variance."""
    assert effect_sizes(EFFECTS.iloc[:0]) is None
    assert effect_sizes(EFFECTS.assign(share_of_variance=np.nan)) is None
    assert by_hyperparameter(trials(), EFFECTS, "layers", []) is None
    figure = by_hyperparameter(trials(), EFFECTS.iloc[:0], "layers", [*COSTS])
    assert title(figure) == "No effect of layers on these metrics was found beyond noise"
