"""What stop rules save and lose."""

from __future__ import annotations

import pandas as pd
import pytest
from figure_tables import SAFE, by_criterion, colors, note, rules, texts, ticks, title, tradeoff
from matplotlib.figure import Figure

from entrypoints.reporting.figures import saving


def _savings(table: pd.DataFrame, *idle: str, score: str | None = None) -> Figure | None:
    """Of rules whose limits ended trials, but for those of idle studies."""
    return saving.savings(table, by_criterion(table, *idle) if len(table) else table, score)


def test_bars_are_as_long_as_what_rules_save() -> None:
    """The limits first, as run and replayed, then the controls; what they lose stands beside."""
    figure = _savings(rules())
    assert figure is not None
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [41.0, 44.0, 35.0, 62.0]  # type: ignore[attr-defined]
    assert ticks(axes, "y") == ["the limits, as run", "the limits, replayed", "median rule", "ASHA"]
    assert texts(axes) == [
        "41 %, no regret",
        "44 %, regret 0.0012; stops 2 of 40 feasible",
        "35 %, regret 0.02; stops 21 of 40 feasible",
        "62 %, leaves no trial within the limits; stops 40 of 40 feasible",
    ]
    assert axes.get_title("left") == "peak_memory_mb<=200, predict=on"
    assert axes.get_xlabel() == "saved CPU time (% of the full study's)"
    assert axes.yaxis_inverted()
    assert colors(figure) <= SAFE


def test_kinds_of_rules_differ_in_colour() -> None:
    """And replayed ones are hatched."""
    figure = _savings(rules())
    assert figure is not None
    real, replayed, *controls = figure.axes[0].patches
    assert len({bar.get_facecolor() for bar in (real, replayed, *controls)}) == 3
    assert replayed.get_hatch()
    assert not real.get_hatch()


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(rules(), "saved 41 % of the CPU time without losing the best model", id="free"),
        pytest.param(rules(val_regret=1e-17), "saved 41 % of the CPU time without losing the best model", id="rounded"),
        pytest.param(rules(val_regret=0.0312), "saved 41 % of the CPU time at a regret of 0.031", id="regret"),
        pytest.param(
            rules(val_regret=float("nan")), "saved 41 % of the CPU time but left no trial within them", id="none left"
        ),
        pytest.param(
            pd.concat([rules(), rules(saved_cpu_percent=60.0, val_regret=0.01).assign(study="other")]),
            "saved 41 to 60 % of the CPU time at a regret of 0.01 at most",
            id="two studies",
        ),
        pytest.param(
            rules()[lambda table: table["kind"] == "replayed"],
            "would have saved 44 % of the CPU time at a regret of 0.0012",
            id="replayed only",
        ),
    ],
)
def test_title_says_what_the_limits_saved_and_lost(table: pd.DataFrame, expected: str) -> None:
    """As run, where they were."""
    assert title(_savings(table)) == f"Stopping at the limits {expected}"


@pytest.mark.parametrize(
    ("table", "idle", "expected"),
    [
        pytest.param(rules(saved_cpu_percent=12.0), ["s"], "The limits stopped no trial and saved nothing", id="idle"),
        pytest.param(
            rules()[lambda table: table["kind"] == "replayed"],
            ["s"],
            "The limits would have stopped no trial and saved nothing",
            id="replayed",
        ),
        pytest.param(
            rules(saved_cpu_percent=4.9),
            [],
            "Stopping at the limits saved less than 5 % of the CPU time without losing the best model",
            id="small",
        ),
        pytest.param(
            rules(saved_cpu_percent=float("nan")),
            [],
            "How much CPU time stopping at the limits saved is unknown",
            id="unknown",
        ),
        pytest.param(
            pd.concat([rules(), rules(saved_cpu_percent=12.0, val_regret=0.5).assign(study="other")]),
            ["other"],
            "Stopping at the limits saved 41 % of the CPU time in 1 of 2 studies without losing the best model",
            id="one of two",
        ),
    ],
)
def test_title_calls_no_saving_what_the_page_does_not(table: pd.DataFrame, idle: list[str], expected: str) -> None:
    """Studies of which none stopped a trial differ by noise, and so little may be noise, too."""
    assert title(_savings(table, *idle)) == expected


def test_bar_of_limits_that_stopped_nothing_says_so() -> None:
    """Whatever the two studies differ by; replays as well."""
    figure = _savings(rules(saved_cpu_percent=12.0), "s")
    assert figure is not None
    assert texts(figure.axes[0])[:2] == ["12 %, stops no trial", "44 %, stops no trial"]


def test_each_study_has_a_panel_and_regrets_a_unit() -> None:
    """That of the score, where it is known."""
    figure = _savings(pd.concat([rules(), rules().assign(study="other")]), score="val_rmse")
    assert figure is not None
    assert len(figure.axes) == 2
    assert note(figure).startswith("Regret in validation RMSE")


def test_a_rule_that_costs_more_than_it_saves_has_a_bar_to_the_left() -> None:
    """Inside of the panel."""
    figure = _savings(rules(saved_cpu_percent=-8.0))
    assert figure is not None
    assert figure.axes[0].patches[0].get_width() == -8.0  # type: ignore[attr-defined]
    assert figure.axes[0].get_xlim()[0] < -8.0


def test_saving_that_is_unknown_has_no_bar() -> None:
    """The others have theirs."""
    figure = _savings(rules(saved_cpu_percent=float("nan")))
    assert figure is not None
    assert len(figure.axes[0].patches) == 3


def test_tradeoff_shows_saving_against_both_regrets() -> None:
    """From the loosest limit on; limits are written beside, and those that none met are counted."""
    figure = saving.tradeoff(tradeoff(), "val_rmse")
    assert figure is not None
    (axes,) = figure.axes
    of_all, of_feasible = axes.lines
    assert list(of_all.get_xdata()) == list(of_feasible.get_xdata()) == [0.0, 30.0, 80.0]
    assert list(of_all.get_ydata()) == [0.0, 0.0, 0.05]
    assert list(of_feasible.get_ydata()) == [0.0, 0.0, 0.01]
    assert texts(axes) == ["240", "230", "210"]
    assert of_all.get_linestyle() != of_feasible.get_linestyle()
    assert axes.get_title("left") == "limit on peak memory (MB, RSS - SHR)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("saved CPU time (%)", "regret in validation RMSE")
    assert note(figure).endswith("left out: 1.")
    assert colors(figure) <= SAFE


@pytest.mark.parametrize(
    ("some", "said"),
    [
        pytest.param({}, "n = 108 trials of the full study.", id="all"),
        pytest.param({"trials": 128, "of_trials": 5000}, "n = 128 of 5000 trials of the full study.", id="a part"),
    ],
)
def test_figures_say_how_many_trials_they_count(some: dict[str, int], said: str) -> None:
    """And of how many, where that is not all."""
    assert note(saving.tradeoff(tradeoff().assign(**some))).startswith(f"Replayed over {said}")
    assert note(_savings(rules().assign(**some))).endswith(f"Counted over {said}")


def test_rows_that_count_different_trials_have_the_range_of_them() -> None:
    """A study under limits may have run a part of those that are replayed."""
    assert note(_savings(rules(trials=100))).endswith("Counted over n = 100 to 108 of 108 trials of the full study.")


def test_limits_that_save_nearly_the_same_are_not_written_over_each_other() -> None:
    """The first is."""
    table = tradeoff().assign(saved_cpu_percent=[0.0, 2.0, 80.0, 95.0])
    figure = saving.tradeoff(table)
    assert figure is not None
    assert texts(figure.axes[0]) == ["240", "210"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(
            tradeoff(),
            "Limiting peak memory saves 30 % of the CPU time for free; saving 80 % costs a regret of 0.05",
            id="free at first",
        ),
        pytest.param(
            tradeoff().assign(val_regret_all=1e-17),
            "Limiting peak memory saves 95 % of the CPU time for free",
            id="free",
        ),
        pytest.param(
            tradeoff().assign(val_regret_all=[0.01, 0.02, 0.05, 0.1]).iloc[1:],
            "Every limit costs: the least regret is 0.02, for 30 % of the CPU time saved",
            id="never free",
        ),
        pytest.param(
            tradeoff().assign(val_regret_all=[0.0, 0.1, 0.0, 0.0]),
            "Limiting peak memory saves 0 % of the CPU time for free; saving 30 % costs a regret of 0.1",
            id="lost in between",
        ),
        pytest.param(
            tradeoff().assign(val_regret_all=[0.1, 0.0, 0.2, 0.3]),
            "Even the loosest limit costs: a regret of 0.1, for 0 % of the CPU time saved",
            id="free by accident",
        ),
    ],
)
def test_title_says_what_is_free_and_what_more_costs(table: pd.DataFrame, expected: str) -> None:
    """Of the metric that saves the most for nothing, as far as each looser limit does."""
    assert title(saving.tradeoff(table)) == expected


def test_regrets_of_nothing_are_no_curve() -> None:
    """The axis has its 0 and does not magnify rounding."""
    figure = saving.tradeoff(tradeoff().assign(val_regret_all=1e-17, val_regret_feasible=0.0))
    assert figure is not None
    assert figure.axes[0].get_ylim() == (-1, 1)
    assert ticks(figure.axes[0], "y") == ["0"]


def test_each_limited_metric_has_a_panel() -> None:
    """The title names the one that saves the most for nothing."""
    both = pd.concat([tradeoff("training_time_s"), tradeoff().assign(saved_cpu_percent=[0.0, 40.0, 50.0, 60.0])])
    figure = saving.tradeoff(both)
    assert figure is not None
    assert [axes.get_title("left") for axes in figure.axes] == [
        "limit on training time (s)",
        "limit on peak memory (MB, RSS - SHR)",
    ]
    assert title(figure).startswith("Limiting peak memory saves 40 %")
    assert figure.axes[0].get_ylabel() == "regret (units of the score)"


def test_nothing_to_draw_is_no_figure() -> None:
    """Not an empty one."""
    assert _savings(rules().iloc[:0]) is None
    assert saving.tradeoff(tradeoff().iloc[:0]) is None
    assert saving.tradeoff(pd.DataFrame()) is None
    assert saving.tradeoff(tradeoff().assign(val_regret_all=float("nan"))) is None
    assert _savings(pd.DataFrame()) is None
    assert _savings(rules().assign(saved_cpu_percent=float("nan"))) is None
