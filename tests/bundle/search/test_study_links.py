"""The pages of a study in the UI, made from its record and saved in a real store, and the words around their links."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow import MlflowClient
from records import ended_by, recorded, trial
from reference import configured
from saved_views import listed, tags_of

from entrypoints import views
from entrypoints.runs import RecordedRun
from entrypoints.search.pages import SAID, in_markdown, save_pages
from entrypoints.search.record import TrialRecord
from mlflow_sysmetrics.ui import MAX_STUDIES

MEASURED = {"training_time_s": 0.2, "peak_memory_mb": 210.0, "val_rmse": 0.6, "val_accuracy": 0.7}
LIMITS = "training_time_s<=1, val_loss patience 3, val_loss<=2"


def _saved(client: MlflowClient, criteria: str = "", *others: TrialRecord, task: str = "regression") -> dict[str, str]:
    """Save the pages of a study of two trials that were measured, and others."""
    trials = [trial(place, figures=MEASURED, configuration=configured(batch_size=8 * place)) for place in (1, 2)]
    record = recorded([*trials, *others], criteria, task=task)
    run = RecordedRun.of(client, client.create_run("1"))
    return save_pages(run, "red_wine", record, [each.configuration for each in trials])


def _columns(client: MlflowClient, said: str) -> list[str]:
    (view,) = [view for name, view in listed(client, "1").items() if name.endswith(said)]
    return [column.split("`")[1] for column in view.state["selectedColumns"]]


@pytest.mark.parametrize(
    ("criteria", "more"),
    [("", []), (LIMITS, ["within the limits", "what was stopped, and why"])],
    ids=["full", "limits"],
)
def test_study_saves_its_pages_and_those_of_its_experiment(
    client: MlflowClient, criteria: str, more: list[str]
) -> None:
    """All are views, and each link opens its own; those of limits have them in words, on one figure together."""
    links = _saved(client, criteria)
    shown = {name.rpartition(" · ")[2] for name in listed(client, "1")}
    assert shown == {"score against cost", "table", "during training, the ten best", "All studies", "Reports", *more}
    ids = {view.id for view in listed(client, "1").values()}
    assert len({each for each in ids for link in links.values() if f"viewStateShareKey={each}&" in link}) == len(links)
    if criteria:
        (view,) = [view for name, view in listed(client, "1").items() if name.endswith("within the limits")]
        assert "training_time_s<=1, val_loss patience 3, val_loss<=2" in view.headings
        assert _columns(client, "within the limits")[2:5] == ["val_rmse", "training_time_s", "val_loss"]


@pytest.mark.parametrize(
    ("task", "score", "ascending"), [("regression", "val_rmse", True), ("classification", "val_accuracy", False)]
)
def test_table_begins_with_the_best_trial_of_the_task(
    client: MlflowClient, task: str, score: str, ascending: bool
) -> None:
    """The lowest error, or the highest accuracy; its columns are the hyperparameters in which trials differ."""
    _saved(client, task=task)
    (state,) = [view.state for name, view in listed(client, "1").items() if name.endswith("table")]
    assert (state["orderByKey"], state["orderByAsc"]) == (f"metrics.`{score}`", ascending)
    assert _columns(client, "table") == ["batch_size", score, "training_time_s", "peak_memory_mb"]


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        pytest.param({}, True, id="finished"),
        pytest.param({"status": "KILLED", "ending": ended_by("peak_gpu_memory_mb<=1")}, True, id="its limits"),
        pytest.param({"status": "FAILED"}, False, id="failed"),
        pytest.param({"status": "KILLED"}, False, id="cut off"),
        pytest.param({"diverged": True}, False, id="diverged"),
    ],
)
def test_trials_that_are_not_drawn_do_not_say_what_pages_show(
    client: MlflowClient, values: dict[str, Any], counted: bool
) -> None:
    """Their figures are those of where they were, or not those of a model."""
    _saved(client, "", trial(3, figures={"peak_gpu_memory_mb": 3.0}, **values))
    assert ("peak_gpu_memory_mb" in _columns(client, "table")) is counted


def test_experiment_of_twelve_studies_has_the_tags_of_ten(client: MlflowClient) -> None:
    """Five pages each, and the two over all studies: 52 tags of less than 1,500 characters each."""
    for _ in range(MAX_STUDIES + 2):
        _saved(client, LIMITS)
    tags = tags_of(client, "1")
    assert len(tags) == MAX_STUDIES * 5 + 2
    assert sum(map(len, tags.values())) < 1_500 * len(tags)


def test_links_are_one_line_of_markdown_in_the_order_of_use() -> None:
    """Score against cost first; a page without words for it is not linked there."""
    links = {views.REPORTS: "#/y", views.TABLE: "#/x", views.SCORE: "#/z"}
    assert in_markdown(links) == f"[{SAID[views.SCORE]}](#/z) · [table](#/x)"
