"""A page of runs: what MLflow's UI reads from its state, and the address of it without a saved view."""

from __future__ import annotations

from typing import Any

import pytest
from reference import fragment
from saved_views import unpacked

from mlflow_sysmetrics.views.page import Page, Section, bars, lines, metric, parallel, param, scatter, tag

WANTED = "tags.mlflow.parentRunId = 'abc' and metrics.`val_rmse` <= 0.7"
COLUMNS = (param("batch_size"), metric("val_rmse"), tag("why"))
SECTIONS = (
    Section("Against cost", [scatter("elapsed_s", "val_rmse"), parallel(["batch_size"], ["val_rmse"])], columns=2),
    Section("Costs", [bars("elapsed_s"), lines("memory_mb")]),
)
PAGE = Page("mine", WANTED, sort_by="val_rmse", ascending=True, columns=COLUMNS, wide=[tag("why")], sections=SECTIONS)


def test_state_holds_which_runs_in_which_order() -> None:
    """Of any time and any dataset, since the UI would else keep what its user looked at last."""
    state = unpacked(PAGE.state())
    assert (state["searchFilter"], state["orderByKey"], state["orderByAsc"]) == (WANTED, "metrics.`val_rmse`", True)
    always = {"startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs"}
    assert always.items() <= state.items()


def test_page_without_a_metric_to_sort_by_keeps_the_order_of_the_ui() -> None:
    """The newest run first: an empty key would be no order at all."""
    assert "orderByKey" not in unpacked(Page("mine", WANTED).state())


def test_columns_are_shown_from_left_to_right_and_sentences_have_room() -> None:
    """They are selected, in this order, and of numbers more than the heading's first letters can be read."""
    state = unpacked(PAGE.state())
    shown = ["params.`batch_size`", "metrics.`val_rmse`", "tags.`why`"]
    assert (state["selectedColumns"], state["columnOrder"]) == (shown, shown)
    widths = [state["columnWidths"][column] for column in shown]
    assert widths[0] == widths[1] >= 140
    assert widths[2] > 2 * widths[0]


def test_charts_are_in_their_sections_and_all_others_are_folded_below() -> None:
    """Where a section is not named, the UI puts it, open, above: so the two that it makes itself are named, too."""
    state = unpacked(PAGE.state())
    sections, cards = state["compareRunSections"], state["compareRunCharts"]
    assert {each["name"]: each["display"] for each in sections} == {
        "Against cost": True,
        "Costs": True,
        "Model metrics": False,
        "System metrics": False,
    }
    assert [each.get("columns") for each in sections[:2]] == [2, 3]
    assert state["isAccordionReordered"]
    assert not [each for each in sections if each["deleted"] or each["isGenerated"] or not each["isReordered"]]
    headings = {each["uuid"]: each["name"] for each in sections}
    assert [(headings[card["metricSectionId"]], card["type"]) for card in cards] == [
        ("Against cost", "SCATTER"),
        ("Against cost", "PARALLEL"),
        ("Costs", "BAR"),
        ("Costs", "LINE"),
    ]
    assert not [card for card in cards if card["deleted"] or card["isGenerated"]]
    for parts in (sections, cards):
        assert len({each["uuid"] for each in parts}) == len(parts)


@pytest.mark.parametrize(("all_runs", "mode"), [(True, "SHOW_ALL"), (False, "FIRST_10_RUNS")], ids=["all", "best ten"])
def test_charts_show_all_runs_or_the_first_ten(all_runs: bool, mode: str) -> None:
    """Ten curves can be told apart, and a cloud of points needs them all."""
    assert unpacked(Page("mine", WANTED, all_runs=all_runs).state())["runsHiddenMode"] == mode


@pytest.mark.parametrize(
    ("card", "holds"),
    [
        pytest.param(
            scatter("elapsed_s", "loss"),
            {"xaxis": {"key": "elapsed_s", "type": "METRIC"}, "yaxis": {"key": "loss", "type": "METRIC"}},
            id="scatter",
        ),
        pytest.param(parallel(["a"], ["m"]), {"selectedParams": ["a"], "selectedMetrics": ["m"]}, id="parallel"),
        pytest.param(bars("m"), {"metricKey": "m"}, id="bars"),
        pytest.param(
            lines("m"), {"selectedMetricKeys": ["m"], "xAxisKey": "step", "scaleType": "linear"}, id="over steps"
        ),
        pytest.param(lines("m", log=True), {"scaleType": "log"}, id="logarithmic"),
        pytest.param(lines("m", against="time-relative"), {"xAxisKey": "time-relative"}, id="over time"),
        pytest.param(
            lines("m", against="training_time_s"),
            {"xAxisKey": "metric", "selectedXAxisMetricKey": "training_time_s"},
            id="over a metric",
        ),
    ],
)
def test_card_shows_what_it_was_made_of(card: dict[str, Any], holds: dict[str, Any]) -> None:
    """By the words of the UI's own cards."""
    assert holds.items() <= card.items()


@pytest.mark.parametrize(
    ("page", "query"),
    [
        pytest.param(
            PAGE,
            {"orderByKey": ["metrics.`val_rmse`"], "orderByAsc": ["true"], "compareRunsMode": ["CHART"]},
            id="sorted charts",
        ),
        pytest.param(Page("mine", WANTED, "TABLE"), {"compareRunsMode": ["TABLE"]}, id="unsorted table"),
    ],
)
def test_plain_link_shows_the_same_runs_in_the_same_order(page: Page, query: dict[str, list[str]]) -> None:
    """And survives markdown, which a bracket, a space or a quote would end."""
    plain = page.plain_link("7")
    always = {"workflowType": ["machine_learning"], "searchFilter": [WANTED]}
    assert fragment(plain) == ("/experiments/7/runs", always | query)
    assert not set(plain) & set(" ()<>[]'\"`")
