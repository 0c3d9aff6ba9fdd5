"""What a user sees of a study in the MLflow UI, in a real browser. Skipped where there is none.

The page at the end of each test is saved in the folder that the environment variable SCREENSHOTS names, or else in
pytest's temporary one.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from commands import ROOT, Command, clean_environment, references, runs_of_kind, wait_until
from mlflow import MlflowClient
from servers import tracking_server

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Chromium: set CHROMIUM to its path"),
]

PATIENCE_MS = 60_000
SHOWN_WITHIN_S = 60.0
ROW, CARD = ".ag-center-cols-container .ag-row, .ag-pinned-left-cols-container .ag-row", "[data-testid$='runs-card']"
LINES, BARS = ".scatterlayer .trace", ".barlayer .trace"


@pytest.fixture(scope="module")
def report(under_limits, run_project):
    """The run of a report on the full study and the one under limits."""
    full, study = under_limits.full, under_limits.study
    ids = f"{full.run.info.run_id},{study.run.info.run_id}"
    command = run_project("report", study.folder, study=ids)
    assert command.exit_code == 0, command.stderr
    return runs_of_kind(study.client, "report")[0]


@pytest.fixture(scope="module")
def server(under_limits):
    """The address of a server on the store of the small study and those after it."""
    with tracking_server(under_limits.study.folder) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def page():
    """A page of a browser, 1600 x 1000, with the side pane of MLflow's assistant closed."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        page.add_locator_handler(
            page.locator("[data-component-id='mlflow.assistant.chat_panel.close']"), lambda button: button.click()
        )
        yield page
        browser.close()


@pytest.fixture(autouse=True)
def _picture(page, request, tmp_path):
    """Save what the page shows at the end of each test."""
    yield
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{request.node.name}.png", animations="disabled")


def _links(run):
    """The links of a run's description by their words."""
    return dict(re.findall(r"\[([^\]]*)\]\((#[^)]*)\)", run.data.tags["mlflow.note.content"]))


def _open(page, server, fragment, runs=None):
    """Open a page of the UI, and wait until it lists this number of runs."""
    page.goto("about:blank")  # a change of the fragment alone does not reload the page
    page.goto(f"{server}/{fragment}")
    if runs is not None:
        page.get_by_text(re.compile(f"^{runs} matching runs?$")).first.wait_for()


def _shown(study):
    """What its pages list: the trials that did not diverge, and what the search was held against."""
    able = [run for run in study.trials if run.data.tags["sysmetrics.diverged"] == "false"]
    return [*able, *references(study.client, study.run).values()]


def _cells(page, selector, read="cell => cell.innerText"):
    """What these parts of the table of runs show, from top to bottom."""
    cells = page.locator(f":is({ROW}) {selector}").evaluate_all(
        f"cells => cells.map(cell => [Number(cell.closest('.ag-row').getAttribute('row-index')), ({read})(cell)])"
    )
    return [shown for _, shown in sorted(set(map(tuple, cells)))]


def _chart(page, title):
    return page.locator(CARD).filter(has=page.get_by_text(title, exact=True)).first


def _found(page, title):
    """The chart with this title, which is searched for: charts further down are drawn only when they are seen."""
    page.get_by_placeholder("Search metric charts").fill(title)
    _chart(page, title).wait_for()
    return _chart(page, title)


def test_view_of_score_against_cost_draws_each_trial_that_did_not_diverge(study, server, page):
    """A card with a point for each trial, parallel coordinates, and the best trial first; no axis of noise alone."""
    able = _shown(study)
    _open(page, server, _links(study.run)["score against cost"], len(able))
    card = _chart(page, "training_time_s vs. val_rmse")
    card.locator(f"{LINES} .point").nth(len(able) - 1).wait_for(state="attached")
    assert card.locator(f"{LINES} .point").count() == len(able)
    assert page.get_by_text("peak_memory_mb vs. val_rmse", exact=True).count() == 0
    best_first = sorted(able, key=lambda run: run.data.metrics["val_rmse"])
    names = [run.info.run_name for run in best_first]
    assert _cells(page, "a[href*='/runs/']", "link => link.textContent") == names
    page.get_by_text("Parallel Coordinates", exact=True).scroll_into_view_if_needed()
    page.locator(".parcoords, [class*=parcoords]").first.wait_for()


def test_study_page_shows_the_result_and_its_views_before_it_is_unfolded(study, server, page):
    """The first sentence and the link are seen at once; the link opens the view in a tab; the rest unfolds.

    Another leads to what a trial's process did, as lines: here the longest one's, of which there are several points.
    """
    _open(page, server, f"#/experiments/0/runs/{study.run.info.run_id}?workflowType=machine_learning")
    page.get_by_text("Show more").wait_for()
    link = page.get_by_role("link", name="score against cost")
    folded = page.get_by_text("Show more").bounding_box()["y"]
    assert link.bounding_box()["y"] < folded
    assert page.get_by_text("The search has not beaten a forest").bounding_box()["y"] < folded
    with page.expect_popup() as opened:
        link.click()
    opened.value.get_by_text(f"{len(_shown(study))} matching runs").wait_for()
    opened.value.close()
    page.get_by_text("Show more").click()
    page.get_by_text("on other rows like these expect rmse").first.wait_for()
    longest = max(study.trials, key=lambda run: run.data.metrics["elapsed_s"]).info.run_id
    _open(page, server, re.sub(r"/runs/\w+/", f"/runs/{longest}/", _links(study.run)["what its process did"]))
    _found(page, "process_memory_mb").locator(f"{LINES} .point").nth(1).wait_for(state="attached")


def test_view_of_limits_tells_who_met_them_and_what_stopped_the_others(under_limits, server, page):
    """Stopped trials have another icon, and a column has the reason; as charts, the limited cost is a bar a trial."""
    study = under_limits.study
    listed = [*study.trials, *references(study.client, study.run).values()]
    _open(page, server, _links(study.run)["who met the limits"], len(listed))
    reason = "[col-id='tags.`sysmetrics.stop_reason`']"
    tags = sorted(run.data.tags.get("sysmetrics.stop_reason", "-") for run in listed)
    wait_until(lambda: sorted(_cells(page, reason)) == tags, SHOWN_WITHIN_S, "the column of reasons")
    shown = _cells(page, reason)
    icons = _cells(page, "[col-id='runDateAndNestInfo']", "cell => cell.querySelector('svg').innerHTML")
    finished = [why == "-" for why in shown]
    assert len(set(icons)) == len(set(zip(icons, finished, strict=True))) == len(set(finished)) == 2
    _open(page, server, _links(study.run)["who met the limits"].replace("TABLE", "CHART"))
    page.get_by_text(f"training_time_s<={under_limits.limit_s}").first.wait_for()
    card = _chart(page, "training_time_s")
    known = [run for run in listed if "training_time_s" in run.data.metrics]
    card.locator(f"{BARS} .point").nth(len(known) - 1).wait_for(state="attached")


def test_report_page_answers_with_tables_and_pictures_and_leads_to_the_trials(report, under_limits, server, page):
    """Its description is rendered whole: the answers, a table for each question, figures that load, and a link."""
    page.set_viewport_size({"width": 1600, "height": 4200})
    _open(page, server, f"#/experiments/0/runs/{report.info.run_id}?workflowType=machine_learning")
    page.get_by_text("Show more").click()
    page.get_by_role("heading", name="What ending trials early saves", exact=True).wait_for()
    page.get_by_role("columnheader", name="saved_cpu_percent", exact=True).first.wait_for()
    pictures = page.locator("img[src*='get-artifact']")
    loaded = "images => images.filter(image => image.naturalWidth > 500).length"
    shown = report.data.tags["mlflow.note.content"].count("](get-artifact")
    wait_until(lambda: pictures.evaluate_all(loaded) == shown, SHOWN_WITHIN_S, f"{shown} pictures")
    page.set_viewport_size({"width": 1600, "height": 1000})
    _open(page, server, _links(report)["the trials"], len(_shown(under_limits.full)))


COMPUTE = "import time\nend = time.time() + {seconds}\nwhile time.time() < end: pass"
FIGURES = ("cpu_percent", "memory_mb", "rss_mb", "threads", "page_faults_per_s")


@pytest.fixture(scope="module")
def programs(module_store):
    """The address of a server, and what starts our commands with its store."""
    commands = []

    def start(*words):
        env = clean_environment(MLFLOW_TRACKING_URI=uri, MLFLOW_SYSMETRICS_SPOOL=str(module_store / "spool"))
        line, output = ["mlflow-sysmetrics", *words], module_store / f"output{len(commands)}"
        commands.append(Command(line, cwd=module_store, output=output, env=env))
        return commands[-1]

    with tracking_server(module_store) as port:
        uri = f"http://127.0.0.1:{port}"
        yield uri, start
        for command in commands:
            command.kill()


def test_system_metrics_of_any_program_are_lines_under_readable_names(programs, page):
    """By the link of docs/plugin.md: its costs, then a line under each name, a point a second; no name is cut."""
    uri, start = programs
    for name, seconds in (("shorter", 1), ("longer", 20)):
        ended = start("run", "--run-name", name, "--", "python", "-c", COMPUTE.format(seconds=seconds)).wait()
        assert ended.exit_code == 0, ended.stderr
    (link,) = re.findall(r"<http://127.0.0.1:5000/(#[^>]*)>", (ROOT / "docs" / "plugin.md").read_text())
    assert start("ui").wait().stdout.strip() == f"{uri}/{link}"
    _open(page, uri, link)
    _chart(page, "peak_memory_mb").wait_for()
    _found(page, "system/process_memory_mb").locator(LINES).nth(1).wait_for(state="attached")
    page.get_by_role("link", name="longer").click()
    page.get_by_role("tab", name="System metrics").click()
    page.locator(CARD).nth(5).locator(f"{LINES} .point").nth(5).wait_for(state="attached")
    for name in (f"process_{figure}{end}" for figure in FIGURES for end in ("", "_max")):
        card = _found(page, name)
        card.locator(f"{LINES} .point").nth(7).wait_for(state="attached")
        assert card.locator(BARS).count() == 0
        title = card.get_by_text(name, exact=True).first
        assert title.evaluate("title => title.scrollWidth <= title.clientWidth"), name


def test_command_is_ended_by_the_tag_that_is_typed_on_its_page(programs, page):
    """The stop button, as a user presses it."""
    uri, start = programs
    client = MlflowClient(uri)
    command = start("run", "--", "python", "-c", "import mlflow, time; mlflow.start_run(); time.sleep(300)")
    wait_until(lambda: client.search_runs(["0"], "attributes.status = 'RUNNING'"), SHOWN_WITHIN_S, "the run")
    (run,) = client.search_runs(["0"], "attributes.status = 'RUNNING'")
    _open(page, uri, f"#/experiments/0/runs/{run.info.run_id}/overview?workflowType=machine_learning")
    page.get_by_role("button", name="Edit tags").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("sysmetrics.stop")
    page.keyboard.press("Enter")
    dialog.get_by_placeholder("Type a value").fill("enough")
    dialog.get_by_role("button", name="Add tag").click()
    dialog.get_by_role("button", name="Save tags").click()
    assert command.wait().exit_code == 124
    run = client.get_run(run.info.run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"] == "the tag sysmetrics.stop was set to 'enough'"
