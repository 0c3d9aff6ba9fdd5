"""What a user sees of a study in the MLflow UI, in a real browser. Skipped where there is none.

The pictures go to the folder named by the environment variable SCREENSHOTS, or else to pytest's temporary folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import (
    ROOT,
    Command,
    RunProject,
    Study,
    UnderLimits,
    clean_environment,
    runs_of_kind,
    store_uri,
    wait_until,
)
from mlflow import MlflowClient
from mlflow.entities import Run
from ray.tune import examples
from stop_tag import ended, save_tags, tune_line, type_stop_tag
from tracking_server import tracking_server

from entrypoints.search.last_words import TOP

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Chromium: set CHROMIUM to its path"),
]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip
PATIENCE_MS = 60_000
ROW, CARD = ".ag-center-cols-container .ag-row, .ag-pinned-left-cols-container .ag-row", "[data-testid$='runs-card']"
LINES, BARS = ".scatterlayer .trace", ".barlayer .trace"

Page = Any  # playwright is optional, and so are its types


@pytest.fixture(scope="module")
def report(under_limits: UnderLimits, run_project: RunProject) -> Run:
    """The run of a report on the full study and the one under limits."""
    full, study = under_limits.full, under_limits.study
    ids = f"{full.run.info.run_id},{study.run.info.run_id}"
    command = run_project("report", study.folder, study=ids)
    assert command.exit_code == 0, command.stderr
    return runs_of_kind(study.client, "report")[0]


@pytest.fixture(scope="module")
def server(under_limits: UnderLimits) -> Iterator[str]:
    """The address of a server on the store of the small study and those after it."""
    with tracking_server(under_limits.study.folder) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a browser, 1600 x 1000, with the side pane of MLflow's assistant closed."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        page.add_locator_handler(
            page.locator("[data-component-id='mlflow.assistant.chat_panel.close']"), lambda button: button.click()
        )
        yield page
        browser.close()


@pytest.fixture
def screenshot(page: Page, tmp_path: Path) -> Callable[[str], None]:
    """Save a picture of the page as ui_<name>.png."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: page.screenshot(path=folder / f"ui_{name}.png", animations="disabled")


def _links(study: Study) -> dict[str, str]:
    """The links of the study's description by their words."""
    return dict(re.findall(r"\[([^\]]*)\]\((#[^)]*)\)", study.run.data.tags["mlflow.note.content"]))


def _open(page: Page, server: str, fragment: str) -> None:
    page.goto("about:blank")  # a change of the fragment alone does not reload the page
    page.goto(f"{server}/{fragment}")


def _names_by(trials: Iterable[Run], metric: str) -> list[str]:
    """The trials' names, the lowest value first."""
    return [str(run.info.run_name) for run in sorted(trials, key=lambda run: run.data.metrics[metric])]


def _able(study: Study) -> list[Run]:
    """The trials that did not diverge."""
    return [run for run in study.trials if run.data.tags["sysmetrics.diverged"] == "false"]


def _listed(page: Page) -> list[str]:
    """The names in the list of runs, from top to bottom."""
    links = page.locator(f":is({ROW}) a[href*='/runs/']").evaluate_all(
        "links => links.map(link => [Number(link.closest('.ag-row').getAttribute('row-index')), link.textContent])"
    )
    return [name for _, name in sorted({tuple(link) for link in links})]


def _card(page: Page, title: str) -> Page:
    """The chart with this title, which is searched for: charts further down are drawn only when they are seen."""
    page.get_by_placeholder("Search metric charts").fill(title)
    card = page.locator(CARD).filter(has=page.get_by_text(title, exact=True)).first
    card.wait_for()
    return card


def _from_menu(page: Page, server: str, name: str, *, newest: bool) -> None:
    """Open a saved view as a user finds it, from the menu: the newest of its name, or the oldest."""
    _open(page, server, "#/experiments/0/runs?workflowType=machine_learning")
    page.get_by_role("button", name="Views").click()
    named = page.get_by_text(name, exact=True)
    (named.first if newest else named.last).click()
    page.get_by_text("viewing a shared view").wait_for()


def _view_name(study: Study, word: str) -> str:
    """What the menu calls a view of the study."""
    tags = study.client.get_experiment("0").tags
    return str(json.loads(tags[f"mlflow.sharedViewState.sysmetrics-{study.run.info.run_id}-{word}"])["name"])


@pytest.mark.parametrize("opened_by", ["link", "menu"])
def test_view_of_score_against_cost_draws_each_trial_that_did_not_diverge(
    study: Study, server: str, page: Page, screenshot: Callable[[str], None], opened_by: str
) -> None:
    """A card for each of three costs with a point for each trial, parallel coordinates, and the best trial first."""
    able = _able(study)
    if opened_by == "link":
        _open(page, server, _links(study)["score against cost"])
    else:
        _from_menu(page, server, _view_name(study, "score"), newest=False)
        page.locator("label").filter(has=page.locator("input[name='runs-view-mode'][value='CHART']")).click()
    page.get_by_text(f"{len(able)} matching runs").wait_for()
    for cost in ("training_time_s", "peak_memory_mb", "inference_latency_ms"):
        card = page.locator(CARD).filter(has=page.get_by_text(f"{cost} vs. val_rmse", exact=True)).first
        card.locator(f"{LINES} .point").nth(len(able) - 1).wait_for(state="attached")
        assert card.locator(f"{LINES} .point").count() == len(able)
    assert _listed(page) == _names_by(able, "val_rmse")
    screenshot(f"score_by_{opened_by}")
    page.get_by_text("Parallel Coordinates", exact=True).scroll_into_view_if_needed()
    page.locator(".parcoords, [class*=parcoords]").first.wait_for()


def test_view_of_training_draws_curves(
    study: Study, server: str, page: Page, screenshot: Callable[[str], None]
) -> None:
    """The score, the loss, the CPU share, the time of a step and the memory are lines, one for each trial."""
    finished = [run for run in _able(study) if run.info.status == "FINISHED"]
    _open(page, server, _links(study)["during training"])
    page.get_by_text(f"{len(finished)} matching runs").wait_for()
    for name in ("val_rmse", "val_loss", "cpu_percent", "step_time_ms", "memory_mb"):
        card = _card(page, name)
        card.locator(LINES).nth(len(finished) - 1).wait_for(state="attached")
        assert card.locator(BARS).count() == 0
    page.get_by_placeholder("Search metric charts").fill("")
    screenshot("training")


def test_study_page_shows_the_result_and_its_views_before_it_is_unfolded(
    study: Study, server: str, page: Page, screenshot: Callable[[str], None]
) -> None:
    """The score and the link are seen at once; the link opens the view in a tab; the rest unfolds."""
    _open(page, server, f"#/experiments/0/runs/{study.run.info.run_id}?workflowType=machine_learning")
    page.get_by_text("Show more").wait_for()
    link = page.get_by_role("link", name="score against cost")
    folded = page.get_by_text("Show more").bounding_box()["y"]
    assert link.bounding_box()["y"] < folded
    assert page.get_by_text(f"val_rmse {study.run.data.metrics['best_val_rmse']:.4f}").bounding_box()["y"] < folded
    with page.expect_popup() as opened:
        link.click()
    opened.value.get_by_text(f"{len(_able(study))} matching runs").wait_for()
    opened.value.close()
    page.get_by_text("Show more").click()
    page.get_by_text("Refitted on the whole training part").wait_for()
    screenshot("study")


def test_trials_system_metrics_are_lines(
    study: Study, server: str, page: Page, screenshot: Callable[[str], None]
) -> None:
    """The System metrics tab of a trial shows the memory of its process as a line of several points.

    The best trial may be over within a window of half a second: the tab is that of the longest one.
    """
    longest = max(_able(study), key=lambda run: run.data.metrics["elapsed_s"]).info.run_id
    _open(page, server, re.sub(r"/runs/\w+/", f"/runs/{longest}/", _links(study)["what its process did"]))
    card = _card(page, "process_memory_mb")
    card.locator(f"{LINES} .point").nth(1).wait_for(state="attached")
    assert card.locator(BARS).count() == 0
    screenshot("system_metrics")


# Two workers wait while a table is made, then both compute on copies of it, and at last one process goes on alone.
PROGRAM = """
import multiprocessing, time

def compute(seconds, table_mb):
    table, end = bytes(range(250)) * 4000 * table_mb, time.monotonic() + seconds
    while time.monotonic() < end:
        sum(table[:100_000])

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        compute(3, 100)
        pool.starmap(compute, [(4, 150)] * 2, chunksize=1)
        compute(3, 50)
"""
FIGURES = ("cpu_percent", "memory_mb", "rss_mb", "threads", "page_faults_per_s", "context_switches_per_s")


@pytest.fixture
def watched(empty_store: Path) -> Iterator[str]:
    """The page that `mlflow-sysmetrics ui` opens after a program that knows nothing of MLflow: see docs/plugin.md."""
    (empty_store / "train.py").write_text(PROGRAM)
    uri, spool = store_uri(empty_store), str(empty_store / "spool")
    command = Command(
        ["mlflow-sysmetrics", "run", "--run-name", "two workers", "--", "python", "train.py"], cwd=empty_store,
        output=empty_store / "output", env=clean_environment(MLFLOW_TRACKING_URI=uri, MLFLOW_SYSMETRICS_SPOOL=spool),
    ).wait()  # fmt: skip
    assert command.exit_code == 0, command.stderr
    with tracking_server(empty_store) as port:
        server = f"http://127.0.0.1:{port}"
        show = ["mlflow-sysmetrics", "ui", "--no-browser", "--tracking-uri", server]
        shown = Command(show, cwd=empty_store, output=empty_store / "output", env=clean_environment()).wait()
        yield shown.stdout.strip()


def test_system_metrics_of_any_program_are_lines_under_readable_names(
    watched: str, page: Page, screenshot: Callable[[str], None]
) -> None:
    """By the link of docs/plugin.md: its costs, then a line under each name, a point a second; no name is cut."""
    (link,) = re.findall(r"<http://127.0.0.1:5000/(#[^>]*)>", (ROOT / "docs" / "plugin.md").read_text())
    server, _, shown = watched.partition("/#")
    assert f"#{shown}" == link
    _open(page, server, link)
    page.locator(CARD).filter(has=page.get_by_text("peak_memory_mb", exact=True)).first.wait_for()
    screenshot("what_a_run_cost")
    page.get_by_role("link", name="two workers").click()
    page.get_by_role("tab", name="System metrics").click()
    page.locator(CARD).nth(5).locator(f"{LINES} .point").nth(5).wait_for(state="attached")
    screenshot("watched")
    for name in (f"process_{figure}{end}" for figure in FIGURES for end in ("", "_max")):
        card = _card(page, name)
        card.locator(f"{LINES} .point").nth(7).wait_for(state="attached")
        assert card.locator(BARS).count() == 0
        title = card.get_by_text(name, exact=True).first
        assert title.evaluate("title => title.scrollWidth <= title.clientWidth"), name


@pytest.fixture
def empty_server(empty_store: Path) -> Iterator[MlflowClient]:
    """A server on a store that holds nothing."""
    with tracking_server(empty_store) as port:
        yield MlflowClient(f"http://127.0.0.1:{port}")


def _start(line: list[str], server: MlflowClient, folder: Path) -> Command:
    """Start a command that writes to this server."""
    spool = str(folder / "spool")
    env = clean_environment(MLFLOW_TRACKING_URI=server.tracking_uri, MLFLOW_SYSMETRICS_SPOOL=spool)
    return Command(line, cwd=folder, output=folder / "output", env=env)


def _press_stop(page: Page, server: MlflowClient, run: Run) -> None:
    """Type the stop tag on the run's page and save it, and wait for the end of the run."""
    type_stop_tag(page, server.tracking_uri, run.info.run_id)
    save_tags(page)
    wait_until(lambda: server.get_run(run.info.run_id).info.status != "RUNNING", 30, "the end of the run")


def test_command_is_ended_by_the_tag_that_is_typed_on_its_page(
    empty_server: MlflowClient, tmp_path: Path, page: Page, screenshot: Callable[[str], None]
) -> None:
    """The stop button: its run is KILLED with these words, and the tag is gone, so that it can go on later."""
    sleeps = ["mlflow-sysmetrics", "run", "--", sys.executable, "-c", "import time; time.sleep(300)"]
    command = _start(sleeps, empty_server, tmp_path)
    wait_until(lambda: empty_server.search_runs(["0"]), 60, "the run")
    (run,) = empty_server.search_runs(["0"])
    type_stop_tag(page, empty_server.tracking_uri, run.info.run_id)
    screenshot("stop")
    save_tags(page)
    assert command.wait().exit_code == 124
    wait_until(lambda: empty_server.get_run(run.info.run_id).info.status != "RUNNING", 30, "the end of the run")
    run = empty_server.get_run(run.info.run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"] == "the tag sysmetrics.stop was set to 'enough'"
    assert "sysmetrics.stop" not in run.data.tags


def test_trial_and_study_of_a_tune_script_are_ended_by_the_tag_that_is_typed_on_their_pages(
    empty_server: MlflowClient, tmp_path: Path, page: Page, screenshot: Callable[[str], None]
) -> None:
    """The trial alone, and the next one begins; then the study, and none begins any more."""
    script = _start(tune_line(tmp_path, 1), empty_server, tmp_path)

    def running(kind: str) -> list[Run]:
        wanted = f"tags.`sysmetrics.kind` = '{kind}' and attributes.status = 'RUNNING'"
        return list(empty_server.search_runs(["0"], wanted))

    wait_until(lambda: running("trial"), 90, "a trial")
    (first,) = running("trial")
    _press_stop(page, empty_server, first)
    screenshot("stopped_trial")
    wait_until(lambda: running("trial"), 30, "the next trial")
    (study,) = running("study")
    _press_stop(page, empty_server, study)
    assert script.wait().exit_code == 0
    trials = empty_server.search_runs(["0"], "tags.`sysmetrics.kind` = 'trial'", order_by=["attributes.start_time"])
    by_whom = [(run.info.status, run.data.tags["sysmetrics.stopped_by"]) for run in trials]
    assert by_whom == [("KILLED", "person"), ("KILLED", "experiment_end")]
    assert [what for _, what in ended(tmp_path)] == [first.data.tags["sysmetrics.trial_id"], "study"]
    assert empty_server.get_run(study.info.run_id).data.tags["sysmetrics.stopped_by"] == "person"


@pytest.fixture
def of_others(empty_store: Path) -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the links of the views of two plain runs and of an example of Ray's, as they are told."""
    env = clean_environment(
        MLFLOW_TRACKING_URI=store_uri(empty_store), HOME=str(empty_store), RAY_ADDRESS="local",
        RAY_AUTH_MODE="disabled", RAY_TUNE_CALLBACKS="mlflow_sysmetrics.ray_tune.SystemMetricsCallback",
    )  # fmt: skip
    plain = ["mlflow-sysmetrics", "run", "--", sys.executable, "-c", "print(sum(range(5 * 10**7)))"]
    script = str(Path(str(examples.__file__)).parent / "logging_example.py")
    for line in (plain, plain, [sys.executable, script, "--smoke-test"]):
        command = Command(line, cwd=empty_store, output=empty_store / "output", env=env).wait()
        assert command.exit_code == 0, command.stderr
    tags = MlflowClient(store_uri(empty_store)).get_experiment("0").tags
    (of_trials,) = [key.rpartition(".")[2] for key, value in tags.items() if "What trials cost" in value]
    with tracking_server(empty_store) as port:
        server = f"http://127.0.0.1:{port}"
        line = ["mlflow-sysmetrics", "ui", "--no-browser", "--tracking-uri", server]
        shown = Command(line, cwd=empty_store, output=empty_store / "output", env=env).wait()
        (of_runs,) = re.findall(r"#/\S+", shown.stdout)
        yield server, [of_runs, re.sub(r"(?<=Key=)[^&]*", of_trials, of_runs)]


def test_views_of_other_projects_draw_what_their_runs_cost(
    of_others: tuple[str, list[str]], page: Page, screenshot: Callable[[str], None]
) -> None:
    """The memory of plain runs as lines; what each trial of another Tune script cost, and its metric against that."""
    server, (of_runs, of_trials) = of_others
    _open(page, server, of_runs)
    _card(page, "system/process_memory_mb").locator(LINES).nth(1).wait_for(state="attached")
    screenshot("what_runs_cost")
    _open(page, server, of_trials)
    page.get_by_text("5 matching runs").wait_for()
    card = page.locator(CARD).filter(has=page.get_by_text("elapsed_s vs. mean_loss", exact=True)).first
    card.locator(f"{LINES} .point").nth(4).wait_for(state="attached")
    page.get_by_placeholder("Search metric charts").fill("cpu_seconds")
    page.locator(f"{CARD} {BARS} .point").nth(4).wait_for(state="attached")
    screenshot("what_trials_cost")


def test_compare_view_shows_parallel_coordinates(
    study: Study, server: str, page: Page, screenshot: Callable[[str], None]
) -> None:
    """The link to the best trials opens their comparison, drawn as parallel coordinates."""
    compared = min(len(_able(study)), TOP)
    _open(page, server, _links(study)[f"the {compared} best in parallel coordinates"])
    page.get_by_text(f"Comparing {compared} Runs from 1 Experiment").wait_for()
    page.locator(".parcoords .axis-title").nth(1).wait_for()
    assert page.get_by_role("tab", name="Parallel Coordinates Plot").get_attribute("aria-selected") == "true"
    screenshot("compare")


def test_view_of_the_table_has_hyperparameters_score_and_costs_and_can_be_sorted(
    study: Study, server: str, page: Page, screenshot: Callable[[str], None]
) -> None:
    """Its columns stand from left to right, the best trial is first, and a cost can be sorted by."""
    _open(page, server, _links(study)["table"])
    page.get_by_text(f"{len(study.trials)} matching runs").wait_for()
    heads = page.locator(".ag-header-cell[col-id^='params.'], .ag-header-cell[col-id^='metrics.']")
    heads.nth(4).wait_for()
    shown = heads.evaluate_all("heads => heads.map(head => [head.getBoundingClientRect().x, head.textContent.trim()])")
    names = [name for _, name in sorted(map(tuple, shown))]
    assert names[:4] == ["batch_size", "learning_rate", "val_rmse", "training_time_s"], names
    assert _listed(page) == _names_by(study.trials, "val_rmse")
    page.get_by_test_id("sort-select-dropdown").click()
    page.get_by_test_id("sort-select-peak_memory_mb").click()
    page.get_by_text("Sort: peak_memory_mb").wait_for()
    by_memory = _names_by(study.trials, "peak_memory_mb")
    wait_until(lambda: _listed(page) == by_memory, 20, "the trials by their peak memory")
    screenshot("table_by_peak_memory")


def _cells(page: Page, column: str, read: str = "cell => cell.innerText") -> list[str]:
    """What a column of the table of runs shows, from top to bottom."""
    cells = page.locator(f":is({ROW}) > [col-id='{column}']").evaluate_all(
        f"cells => cells.map(cell => [Number(cell.parentElement.getAttribute('row-index')), ({read})(cell)])"
    )
    return [shown for _, shown in sorted(map(tuple, cells))]


def test_view_of_limits_tells_who_met_them_and_what_stopped_the_others(
    under_limits: UnderLimits, server: str, page: Page, screenshot: Callable[[str], None]
) -> None:
    """Stopped trials have another icon, and a column has the reason; as charts, the limited cost is a bar a trial."""
    study = under_limits.study
    _open(page, server, _links(study)["who met the limits"])
    page.get_by_text(f"{len(study.trials)} matching runs").wait_for()
    reason = "tags.`sysmetrics.stop_reason`"
    wait_until(lambda: len(_cells(page, reason)) == len(study.trials), 20, "the column of reasons")
    tags = [run.data.tags.get("sysmetrics.stop_reason", "-") for run in study.trials]
    shown = _cells(page, reason)
    assert sorted(shown) == sorted(tags)
    feasible = [run.data.tags["sysmetrics.feasible"] for run in study.trials]
    assert sorted(_cells(page, "tags.`sysmetrics.feasible`")) == sorted(feasible)
    icons = _cells(page, "runDateAndNestInfo", "cell => cell.querySelector('svg').innerHTML")
    finished = {icon for icon, why in zip(icons, shown, strict=True) if why == "-"}
    killed = {icon for icon, why in zip(icons, shown, strict=True) if why != "-"}
    assert (len(finished), len(killed), len(finished | killed)) == (1, 1, 2)
    screenshot("limits")
    _open(page, server, _links(study)["who met the limits"].replace("TABLE", "CHART"))
    page.get_by_text(under_limits.criterion).first.wait_for()
    card = page.locator(CARD).filter(has=page.get_by_text("training_time_s", exact=True)).first
    known = [run for run in study.trials if "training_time_s" in run.data.metrics]
    card.locator(f"{BARS} .point").nth(len(known) - 1).wait_for(state="attached")


def test_view_of_all_studies_has_a_line_for_each(under_limits: UnderLimits, server: str, page: Page) -> None:
    """With its dataset and its best score."""
    studies = runs_of_kind(under_limits.study.client, "study")
    _open(page, server, _links(under_limits.study)["all studies"])
    page.get_by_text(f"{len(studies)} matching runs").wait_for()
    wait_until(lambda: len(_cells(page, "metrics.`best_val_rmse`")) == len(studies), 20, "the best scores")
    assert set(_cells(page, "params.`dataset`")) == {run.data.params["dataset"] for run in studies}


def test_menu_opens_each_view(under_limits: UnderLimits, report: Run, server: str, page: Page) -> None:
    """Each lists the runs that it is for, and says so in its name."""
    study = under_limits.study
    stopped = [run for run in study.trials if run.data.tags.get("sysmetrics.stopped_by") == "criteria"]
    finished = [run for run in _able(study) if run.info.status == "FINISHED"]
    kinds = {kind: len(runs_of_kind(study.client, kind)) for kind in ("study", "report")}
    counts = {
        _view_name(study, "table"): len(study.trials),
        _view_name(study, "training"): len(finished),
        _view_name(study, "limits"): len(study.trials),
        _view_name(study, "stopped"): len(stopped),
        "All studies": kinds["study"],
        "Reports": kinds["report"],
    }
    for name, count in counts.items():
        _from_menu(page, server, name, newest=True)
        page.get_by_text(f"{count} matching run", exact=False).first.wait_for()
        page.get_by_role("button", name=name[:12]).first.wait_for()


PICTURES = "img[src*='get-artifact']"


def _seen(page: Page) -> list[int]:
    """The widths of the page's pictures, 0 for one that could not be loaded."""
    widths: list[int] = page.locator(PICTURES).evaluate_all("images => images.map(image => image.naturalWidth)")
    return widths


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_page_answers_with_tables_and_pictures(
    report: Run, server: str, page: Page, screenshot: Callable[[str], None], scheme: str
) -> None:
    """Its description is rendered whole: the answers, a table for each question, and figures that load."""
    page.set_viewport_size({"width": 1600, "height": 4200})
    _open(page, server, "#/settings")
    page.evaluate(f"localStorage.setItem('_mlflow_dark_mode_toggle_enabled', {str(scheme == 'dark').lower()})")
    _open(page, server, f"#/experiments/0/runs/{report.info.run_id}?workflowType=machine_learning")
    page.get_by_text("Show more").click()
    for title in ("The choice", "What limits save"):
        page.get_by_role("heading", name=title, exact=True).wait_for()
    page.get_by_text("Load it").wait_for()
    for column in ("role", "saved_cpu_percent"):
        page.get_by_role("columnheader", name=column, exact=True).first.wait_for()
    page.get_by_role("cell", name="chosen", exact=True).first.wait_for()
    shown = report.data.tags["mlflow.note.content"].count("](get-artifact")
    wait_until(lambda: len(_seen(page)) == shown and min(_seen(page)) > 500, 20, f"{shown} pictures")
    red, *_ = map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (red < 128) is (scheme == "dark")
    screenshot(f"report_{scheme}")
    page.set_viewport_size({"width": 1600, "height": 1000})
    page.evaluate("localStorage.removeItem('_mlflow_dark_mode_toggle_enabled')")


def test_report_leads_to_the_trials(report: Run, under_limits: UnderLimits, server: str, page: Page) -> None:
    """Its link opens the page of the study's trials that is saved, score against cost."""
    links = dict(re.findall(r"\[([^\]]*)\]\((#[^)]*)\)", report.data.tags["mlflow.note.content"]))
    able = len(_able(under_limits.full))
    _open(page, server, links["the trials of the first, the best first"])
    page.get_by_text(f"{able} matching runs").wait_for()
