"""What is drawn of repeated studies."""

from __future__ import annotations

import pandas as pd
from figure_tables import SAFE, colors, cost_comparisons, note, title

from entrypoints.reporting.figures.repeats import cost_ratios, ranks_agree

RANKS: pd.DataFrame = pd.DataFrame(
    [
        {"first": first, "second": second, "spearman": spearman, "configurations": 3, "kendalls_w": 0.9}
        for first, second, spearman in (("a", "b", 1.0), ("a", "c", 0.5))
    ]
)
CONFIGURATIONS: pd.DataFrame = pd.DataFrame(
    [
        {"configuration": f"x={place}", "study": name, "rank": rank, "equal_in_all": place == 0}
        for name, of in {"a": (1, 2, 3), "b": (1, 2, 3), "c": (2, 1, 3)}.items()
        for place, rank in enumerate(of)
    ]
)
COSTS = cost_comparisons()


def test_ranks_of_each_pair_of_studies_are_drawn() -> None:
    """Those that equal the best stand out; the title says how many they are, the panels how far ranks agree."""
    figure = ranks_agree(CONFIGURATIONS.sample(frac=1, random_state=0), RANKS)
    assert title(figure) == (
        "1 of 3 configurations equal the best within noise in all studies; ranks agree to W 0.90 (1: fully)"
    )
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "a and b: rank correlation 1.00",
        "a and c: rank correlation 0.50",
    ]
    others, best = figure.axes[1].lines[:2]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([1], [2])
    assert sorted(zip(others.get_xdata(), others.get_ydata(), strict=True)) == [(2, 1), (3, 3)]
    assert (figure.axes[1].get_xlabel(), figure.axes[1].get_ylabel()) == ("rank in a", "rank in c")
    assert "n = 3" in note(figure)
    assert colors(figure) <= SAFE


def test_no_configuration_is_said_to_equal_the_best_where_noise_is_unknown() -> None:
    """Nor is it said that none does, and none stands out."""
    figure = ranks_agree(CONFIGURATIONS.drop(columns="equal_in_all"), RANKS)
    assert title(figure) == "Ranks agree to W 0.90 (1: fully)"
    assert figure is not None
    assert [len(line.get_xdata()) for line in figure.axes[0].lines[:2]] == [3, 0]


def test_pairs_beyond_six_are_said_to_be_left_out() -> None:
    """A figure has room for only some."""
    assert "The first 6 of 8 pairs of studies." in note(ranks_agree(CONFIGURATIONS, pd.concat([RANKS] * 4)))


def test_ratio_of_each_cost_is_drawn_with_its_spread() -> None:
    """Beside what noise explains; the title says what differs, filled markers are that."""
    figure = cost_ratios(COSTS)
    assert title(figure) == "Against a: elapsed time 1.8 times in b"
    assert figure is not None
    (axes,) = figure.axes
    markers = [line for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() != "None"]
    assert [line.get_xdata()[0] for line in markers] == [1.0, 1.0, 1.8, 1.0]
    assert [line.get_markerfacecolor() != "white" for line in markers] == [False, False, True, False]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["peak memory", "elapsed time"]
    assert axes.get_xscale() == "log"
    assert note(figure).startswith("Marker: median over n = 11 to 12 configurations, filled where it differs")
    assert colors(figure) <= SAFE


def test_costs_that_agree_are_said_to() -> None:
    """How many of the comparisons do; the rest is not clear."""
    none = COSTS[COSTS["verdict"] != "more"]
    assert title(cost_ratios(none)) == "No cost differs between studies beyond noise and 5 %; 2 of 3 agree within it"


def test_nothing_is_no_figure() -> None:
    """Where there are no ranks, or no costs."""
    assert ranks_agree(CONFIGURATIONS, RANKS.iloc[:0]) is None
    assert cost_ratios(COSTS.iloc[:0]) is None
