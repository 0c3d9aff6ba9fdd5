"""The pages of a study in the UI, made from its record and saved in a real store, and the words around their links."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow import MlflowClient
from reference import bundled, configured
from saved_views import listed, tags_of

from entrypoints import views
from entrypoints.limits.stop_or_skip import EarlyEnd
from entrypoints.models.configuration import Configuration
from entrypoints.progress import Progress
from entrypoints.runs import RecordedRun
from entrypoints.search.pages import SAID, in_markdown, save_pages
from entrypoints.search.record import Record, TrialRecord
from mlflow_sysmetrics.limits import Criteria, Stop
from mlflow_sysmetrics.ui import MAX_STUDIES

MEASURED = {"training_time_s": 0.2, "peak_memory_mb": 210.0, "val_rmse": 0.6, "val_accuracy": 0.7}
TRIALS = [configured("linear", batch_size=size, learning_rate=0.01, alpha=0.1) for size in (8, 64)]
LIMITS = Criteria.parse("training_time_s<=1, val_loss patience 3, val_loss<=2")


def saved(
    client: MlflowClient,
    criteria: Criteria | None = None,
    trials: list[Configuration] = TRIALS,
    dataset: str = "red_wine",
    last: TrialRecord | None = None,
    **wild: float,
) -> dict[str, str]:
    """Save the pages of a study of these trials and a last one, which has diverged with other figures."""
    data = bundled(dataset)
    record = Record(data.task, Progress(len(trials), "val_rmse"))
    for number, trial in enumerate(trials):
        record.trials[str(number)] = TrialRecord(str(number), trial, "FINISHED", MEASURED)
    record.trials["last"] = last or TrialRecord("last", trials[0], "FINISHED", wild, diverged=True)
    run = RecordedRun.of(client, client.create_run("1"))
    return save_pages(run, data, record, trials, criteria)


def names(client: MlflowClient) -> list[str]:
    """What the pages show, by the end of their names in the menu."""
    return [name.rpartition(" · ")[2] for name in listed(client, "1")]


def columns(client: MlflowClient, said: str) -> list[str]:
    """The columns of a page."""
    (view,) = [view for name, view in listed(client, "1").items() if name.endswith(said)]
    return [column.split("`")[1] for column in view.state["selectedColumns"]]


def test_study_without_limits_saves_its_pages_and_those_of_its_experiment(client: MlflowClient) -> None:
    """All are views, and each link opens its own."""
    links = saved(client)
    words = [views.SCORE, views.TABLE, views.TRAINING, views.STUDIES, views.REPORTS]
    assert list(links) == words
    assert all("viewStateShareKey=" in link for link in links.values())
    assert set(names(client)) == {
        *("score against cost", "table", "during training, the ten best", "All studies", "Reports")
    }
    ids = {view.id for view in listed(client, "1").values()}
    assert len({each for each in ids for link in links.values() if f"={each}&" in link}) == len(words)


def test_study_with_limits_saves_who_met_them_and_what_was_stopped(client: MlflowClient) -> None:
    """With the limits in words, those on the same figure together."""
    links = saved(client, LIMITS)
    assert {views.LIMITS, views.STOPPED} <= links.keys()
    assert {"within the limits", "what was stopped, and why"} <= set(names(client))
    (view,) = [view for name, view in listed(client, "1").items() if name.endswith("within the limits")]
    assert "training_time_s<=1, val_loss patience 3, val_loss<=2" in view.headings
    assert columns(client, "within the limits")[2:5] == ["val_rmse", "training_time_s", "val_loss"]


@pytest.mark.parametrize(
    ("dataset", "score", "ascending"), [("red_wine", "val_rmse", True), ("diabetes", "val_accuracy", False)]
)
def test_pages_begin_with_the_best_trial_of_the_task(
    client: MlflowClient, dataset: str, score: str, ascending: bool
) -> None:
    """The lowest error, or the highest accuracy."""
    saved(client, dataset=dataset)
    (state,) = [view.state for name, view in listed(client, "1").items() if name.endswith("table")]
    assert (state["orderByKey"], state["orderByAsc"]) == (f"metrics.`{score}`", ascending)


@pytest.mark.parametrize(
    ("trials", "shown"),
    [
        pytest.param(TRIALS, ["batch_size"], id="differ in one"),
        pytest.param(TRIALS[:1], ["algorithm", "batch_size", "learning_rate", "alpha"], id="one trial"),
    ],
)
def test_columns_are_hyperparameters_in_which_trials_differ(
    client: MlflowClient, trials: list[Configuration], shown: list[str]
) -> None:
    """All of them where there is one trial."""
    saved(client, trials=trials)
    assert columns(client, "table") == [*shown, "val_rmse", "training_time_s", "peak_memory_mb"]


def test_diverged_trials_do_not_say_what_pages_show(client: MlflowClient) -> None:
    """What they have cost is not that of a model, nor is it drawn."""
    saved(client, model_memory_mb=900.0, peak_gpu_memory_mb=3.0)
    assert not {"model_memory_mb", "peak_gpu_memory_mb"} & set(columns(client, "table"))


BY_A_LIMIT = EarlyEnd(Stop("peak_gpu_memory_mb<=1", "peak_gpu_memory_mb", 3.0, 1.0, 9), "crossed")


@pytest.mark.parametrize(
    ("status", "ending", "counted"),
    [
        pytest.param("FINISHED", None, True, id="finished"),
        pytest.param(
            "KILLED",
            EarlyEnd(Stop("peak_gpu_memory_mb<=1", "peak_gpu_memory_mb", 3.0, 1.0, 9), "crossed"),
            True,
            id="its limits",
        ),
        pytest.param("FAILED", None, False, id="failed"),
        pytest.param("KILLED", None, False, id="cut off"),
    ],
)
def test_trials_that_were_ended_from_outside_do_not_say_what_pages_show(
    client: MlflowClient, status: str, ending: EarlyEnd | None, counted: bool
) -> None:
    """Their figures are those of where they were."""
    saved(client, last=TrialRecord("last", TRIALS[0], status, {"peak_gpu_memory_mb": 3.0}, ending=ending))
    assert ("peak_gpu_memory_mb" in columns(client, "table")) is counted


def test_experiment_of_twelve_studies_has_the_tags_of_ten(client: MlflowClient) -> None:
    """Five pages each, and the two over all studies: 52 tags of less than 1,500 characters each."""
    for _ in range(MAX_STUDIES + 2):
        saved(client, LIMITS)
    tags = tags_of(client, "1")
    characters = sum(map(len, tags.values()))
    print(f"{len(tags)} tags, {characters} characters, the longest {max(map(len, tags.values()))}")
    assert len(tags) == MAX_STUDIES * 5 + 2
    assert characters < 1_500 * len(tags)


def test_links_are_one_line_of_markdown_in_the_order_of_use(client: MlflowClient) -> None:
    """Score against cost first; a page without words for it is not linked there."""
    links = saved(client, LIMITS)
    line = in_markdown(links)
    assert "\n" not in line
    places: list[Any] = [line.index(f"[{said}]({links[word]})") for word, said in SAID.items()]
    assert places == sorted(places)
    assert places[0] == 0
    assert in_markdown({views.TABLE: "#/x", views.REPORTS: "#/y"}) == "[table](#/x)"
