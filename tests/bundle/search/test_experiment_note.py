"""An experiment's description: its studies, the newest first, unless a user has written one."""

from __future__ import annotations

import re

import pytest
from mlflow import MlflowClient

from entrypoints import views
from entrypoints.search.experiment_note import NOTE, write_note
from mlflow_sysmetrics.ui import Page, save


@pytest.fixture
def studies(client: MlflowClient) -> list[str]:
    """Two studies in experiment 1, the older one without limits: the ids of their runs, with a view each."""
    ids = []
    for start, name in enumerate(("tune wine", "early_stop wine"), start=1):
        run = client.create_run("1", start_time=start, run_name=name, tags={"sysmetrics.kind": "study"})
        client.log_metric(run.info.run_id, "best_val_rmse", 0.65432)
        save(
            client,
            "1",
            run.info.run_id,
            {word: Page(f"{name} {word}", "") for word in (views.SCORE, views.TABLE, views.STOPPED)},
        )
        ids.append(str(run.info.run_id))
    client.log_metric(ids[1], "feasible", 7)
    client.log_metric(ids[1], "saved_cpu_percent", 61.4)
    client.create_run("1", run_name="no study")
    return ids


def note(client: MlflowClient) -> str:
    """The description of experiment 1."""
    return client.get_experiment("1").tags.get(NOTE, "")


def test_first_line_has_the_newest_study_and_its_result_and_the_older_ones_follow(
    client: MlflowClient, studies: list[str]
) -> None:
    """Each with the link of its view; the views over all studies stand in the first line, where there are some."""
    save(client, "1", views.EXPERIMENT, views.of_experiment())
    write_note(client, "1")
    first, *rest = note(client).splitlines()
    assert re.match(r"\[early_stop wine, .*\]\(#/experiments/1/runs\?.*\): val_rmse 0\.6543, ", first)
    assert "7 trials meet its limits, 61 % of CPU saved" in first
    for page, said in (("score", "early_stop wine, "), ("table", "table"), ("stopped", "what was stopped, and why")):
        assert re.search(rf"\[{said}[^]]*\]\([^)]*viewStateShareKey=sysmetrics-{studies[1]}-{page}&", first)
    assert "during training" not in first  # there is no such page
    assert "[all studies](#" in first
    assert "[reports](#" in first
    (older,) = [line for line in rest if line.startswith("- ")]
    assert older.startswith("- [tune wine, ")
    assert studies[0] in older
    assert "no study" not in note(client)


def test_description_is_written_again_after_a_study(client: MlflowClient, studies: list[str]) -> None:
    """As long as it is as it was written."""
    write_note(client, "1")
    run = client.create_run("1", start_time=9, run_name="tune later", tags={"sysmetrics.kind": "study"})
    write_note(client, "1")
    page = re.escape(f"](#/experiments/1/runs/{run.info.run_id}/overview")
    assert re.match(rf"\[tune later, .*{page}", note(client))


@pytest.mark.parametrize("own", ["What we do here.", None], ids=["own", "changed"])
def test_description_of_a_user_stays(client: MlflowClient, studies: list[str], own: str | None) -> None:
    """One that was there before, and one of ours that was changed."""
    if own is None:
        write_note(client, "1")
        own = f"{note(client)}\nSee the wiki."
    client.set_experiment_tag("1", NOTE, own)
    write_note(client, "1")
    assert note(client) == own
