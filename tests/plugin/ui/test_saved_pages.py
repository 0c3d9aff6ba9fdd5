"""Pages of runs, and views in an experiment's tags: where the UI knows them, few, never over what a user has made."""

import json
import os
from pathlib import Path

from cases import cases, check_golden
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from pages import PREFIX, fragment, listed, unpacked
from servers import server_here, serving
from werkzeug import Request, Response

from mlflow_sysmetrics import ui
from mlflow_sysmetrics.ui import Page, Section, bars, save, save_costs

PAGES = {
    "score": Page("wine · score", "tags.a = 'b'"),
    "table": Page("wine · table", "tags.a = 'b'", "TABLE"),
}
LONG = Page("long", os.urandom(4_500).hex())  # it cannot be compressed
HERE = Path(__file__).parent
WANTED = "tags.mlflow.parentRunId = 'abc' and metrics.`val_rmse` <= 0.7"
COLUMNS = (ui.param("batch_size"), ui.metric("val_rmse"), ui.tag("why"))
SECTIONS = (
    Section("Against cost", [ui.scatter("elapsed_s", "val_rmse"), ui.parallel(["batch_size"], [])], columns=2),
    Section("Costs", [bars("elapsed_s"), ui.lines("memory_mb")]),
)
PAGE = Page(
    "mine", WANTED, sort_by="val_rmse", ascending=True, columns=COLUMNS, wide=[ui.tag("why")], sections=SECTIONS
)


def test_page_says_all_that_the_ui_would_else_keep_of_what_its_user_looked_at_last():
    """Of any time and any dataset. Sentences have room, and sections that it makes itself are folded below ours."""
    state = unpacked(PAGE.state())
    check_golden(HERE / "page.json", json.dumps(state, indent=1) + "\n")
    ten = unpacked(Page("mine", WANTED, all_runs=False).state())
    assert ten["runsHiddenMode"] == "FIRST_10_RUNS"
    assert "orderByKey" not in ten  # an empty one would be no order at all


def test_plain_link_shows_the_same_runs_in_the_same_order():
    """And survives markdown, which a bracket, a space or a quote would end."""
    link = PAGE.plain_link("7")
    path, query = fragment(link)
    assert path == "/experiments/7/runs"
    assert query == {
        "workflowType": ["machine_learning"],
        "searchFilter": [WANTED],
        "orderByKey": ["metrics.`val_rmse`"],
        "orderByAsc": ["true"],
        "compareRunsMode": ["CHART"],
    }
    assert not set(link) & set(" ()<>[]'\"`")


def test_menu_lists_the_pages_in_order_and_links_open_them(client):
    """Without a filter of their own, which would win over the view's. One too long for a tag has a plain link.

    They are written anew, but for one that the user has changed: MLflow's UI leaves out what it does not know.
    """
    with server_here(client.tracking_uri) as uri:
        links = save(MlflowClient(uri), "1", "a" * 32, {"long": LONG, **PAGES})
    assert links.pop("long") == LONG.plain_link("1")
    views = listed(client, "1")
    assert list(views) == [page.name for page in PAGES.values()]
    for word, page in PAGES.items():
        assert links[word].endswith(f"&viewStateShareKey={views[page.name].id}&compareRunsMode={page.shown}")
        assert "searchFilter" not in links[word]
    key = PREFIX + views["wine · table"].id
    changed = client.get_experiment("1").tags[key].replace(',"sysmetrics":true', "")
    client.set_experiment_tag("1", key, changed)
    later = {word: Page(f"{page.name}, later", "", page.shown) for word, page in PAGES.items()}
    assert save(client, "1", "a" * 32, later) == links
    assert set(listed(client, "1")) == {"wine · score, later", "wine · table"}


@cases("version", ["3.10.1", "3.17.2"])
def test_server_without_such_views_gives_plain_links(monkeypatch, caplog, version):
    """One of another version, or that refuses the rest: nothing is raised. It is a fake, as none is installed here."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    answer = Request.application(lambda request: Response(version, 200 if request.path == "/version" else 404))
    with serving(answer) as address:
        links = save(MlflowClient(address), "1", "all", PAGES)
    assert links == {word: page.plain_link("1") for word, page in PAGES.items()}
    assert ("the views of experiment 1 could not be written" in caplog.text) is (version == "3.17.2")


# What others log, but for the last three, which are shown.
LOGGED = """
node_0/steps phase/load/elapsed_s process_memory_mb_max gpu_0_power_w memory_mb trials training_iteration time_total_s
pid system/cpu_utilization_percentage mean_fit_time std_score_time
system/process_memory_mb system/process_cpu_percent system/gpu_0_memory_mb
"""


def test_page_of_costs_is_made_of_what_its_runs_have_logged(client):
    """What differs, what was measured, and why it ended; of numbers that others log none is taken for a score."""
    for team, size in (("a", 8), ("a", 64), ("b", 1)):
        run = client.create_run("1", tags={"team": team})
        reward = "process_reward" if team == "a" else "other"
        names = f"elapsed_s peak_memory_mb steps {reward} {LOGGED}".split()
        metrics = [Metric(name, 1.0, 1, 0) for name in names]
        client.log_batch(run.info.run_id, metrics, [Param("batch_size", str(size)), Param("seed", "0")])
    assert save_costs(client, "1", "costs", "tags.team = 'a'", "runs")
    state = listed(client, "1")["costs"].state
    check_golden(HERE / "costs.json", json.dumps(state, indent=1) + "\n")
