"""The pages of a study: which trials they list, what is on them, and their names in the menu."""

import json
import re

from cases import cases
from mlflow.entities import Metric, RunTag
from pages import PREFIX, View, tags_of, unpacked

from entrypoints import views
from entrypoints.frame import StudyRows, frame_of
from entrypoints.limits.costs import metrics
from entrypoints.limits.grammar import Limits
from entrypoints.search.pages import MAX_STUDIES, remove_old
from entrypoints.views import LIMITS, PROGRESS, SCORE, STOPPED, TABLE, TRAINING, of_experiment, of_study
from mlflow_sysmetrics.ui import Page, save

NEAR = [0.650 + 0.002 * place for place in range(11)]  # RMSEs of trials that are much the same
FAR = 5.0
SMALL, LARGE = {"model_memory_mb": 0.2}, {"model_memory_mb": 14.0, "status": "KILLED"}
MEASURED = {"training_time_s": 0.2, "peak_memory_mb": 210.0, "inference_latency_ms": 0.3}


def shown(
    *figures,
    score="val_rmse",
    ascending=True,
    run_id="abc",
    limits="",
    searched=("batch_size", "alpha"),
    differing=views.COSTS,
    result=None,
):
    """The pages of a study of trials with these figures."""
    trials = [
        {"status": "FINISHED", "diverged": False, "repeat": 0, "role": "", "params": {}, **each} for each in figures
    ]
    about = {"name": "red_wine", "score": score, "higher_is_better": not ascending, "model_run_id": result}
    frame = frame_of([StudyRows(run_id, about, trials, ())])
    limits = Limits.parse(limits, metrics(score, not ascending)) if limits else Limits(())
    return of_study(frame, 0.0, searched, limits, differing)


def scored(*scores, **changes):
    """The pages of a study of trials with these scores."""
    name = str(changes.get("score", "val_rmse"))
    return shown(*[MEASURED | {name: score} for score in scores], **changes)


def view(page):
    """What the UI makes of a page."""
    return View("", page.name, 0.0, unpacked(page.state()))


def columns(page):
    """The names of its columns."""
    return [column.split("`")[1] for column in page.columns]


@cases("scale, ascending", {"tiny": (1e-6, True), "higher is better": (-1e5, False)})
def test_score_page_lists_the_trials_that_do_not_spoil_its_axis(client, scale, ascending):
    """Searched for in a real store: neither those that diverged nor another study's."""
    scores = [scale * value for value in NEAR]
    parent = client.create_run("1").info.run_id
    for number, score in enumerate([*scores, 1e9, NEAR[0]]):
        tags = {"sysmetrics.diverged": str(number == 11).lower(), "sysmetrics.kind": "trial"}
        tags["mlflow.parentRunId"] = parent if number < 12 else "another"
        run = client.create_run("1")
        logged = [RunTag(*tag) for tag in tags.items()]
        client.log_batch(run.info.run_id, [Metric("val_rmse", score, 1, 0)], (), logged)
    pages = scored(*scores, ascending=ascending, run_id=parent)
    found = {word: client.search_runs(["1"], page.wanted) for word, page in pages.items()}
    assert {run.data.metrics["val_rmse"] for run in found[SCORE]} == set(scores)
    assert len(found[TABLE]) == 12


@cases("ascending", {"lower": True, "higher": False})
def test_each_page_of_a_study_begins_with_its_best_trial(ascending):
    """Where ten are shown, these are the ten best. Names begin with dataset and start."""
    pages = scored(*NEAR, ascending=ascending, limits="elapsed_s<=9")
    assert {(page.sort_by, page.ascending) for page in pages.values()} == {("val_rmse", ascending)}
    assert {word for word, page in pages.items() if not page.all_runs} == {TRAINING, STOPPED}
    assert {word for word, page in pages.items() if page.shown == "TABLE"} == {TABLE, LIMITS, STOPPED}
    (title,) = {page.name.split(" · ")[0] for page in pages.values()}
    assert re.match(r"red_wine (01 Jan|31 Dec) \d\d:\d\d$", title)


@cases(
    "figures, memory",
    {
        "large models": ([{"model_memory_mb": 0.2}, {"model_memory_mb": 14.0}], "model_memory_mb"),
        "small models": ([{"model_memory_mb": 0.2}, {"model_memory_mb": 0.9}], "peak_memory_mb"),
        "large one that was limited": ([SMALL, LARGE | {"stopped_by": "limits"}], "model_memory_mb"),
        "large one that was stopped": ([SMALL, LARGE | {"stopped_by": "person"}], "peak_memory_mb"),
    },
)
def test_memory_of_a_study_is_that_of_its_models_where_these_are_large(figures, memory):
    """A model of less than a megabyte is lost in what the process needs."""
    page = view(shown(*[MEASURED | each for each in figures])[SCORE])
    drawn = [card["xaxis"]["key"] for card in page.cards["Score against cost"]]
    assert drawn == ["training_time_s", memory, "inference_latency_ms"]
    (parallel,) = page.cards["Hyperparameters, costs and score"]
    assert parallel["selectedMetrics"] == [*drawn, "val_rmse"]
    assert parallel["selectedParams"] == ["batch_size", "alpha"]


def test_result_of_a_study_is_pinned_on_each_page_and_named():
    """As the UI's own pins are kept; nothing is pinned while there is no result."""
    trials = [MEASURED | {"run_id": name, "name": f"trial {name}", "val_rmse": 0.6} for name in ("a", "b")]
    pages = shown(*trials, limits="elapsed_s<=9", result="b")
    assert [view(page).state["runsPinned"] for page in pages.values()] == [["b"]] * 6
    assert next(iter(view(pages[SCORE]).headings)) == "Score against cost; the result is trial b"
    before = view(shown(*trials)[SCORE])
    assert (before.state["runsPinned"], next(iter(before.headings))) == ([], "Score against cost")


def test_score_is_drawn_against_limited_figures_of_served_models_too():
    """Which finalists alone have: coordinates of all trials leave them out."""
    page = view(shown(MEASURED, MEASURED, limits="served_p95_ms<=9, elapsed_s<=9")[SCORE])
    drawn = [card["xaxis"]["key"] for card in page.cards["Score against cost"]]
    (parallel,) = page.cards["Hyperparameters, costs and score"]
    assert drawn == [*parallel["selectedMetrics"][:-1], "served_p95_ms"]


def test_cost_that_differs_by_noise_alone_is_no_axis():
    """As the latency of equal models; the training time where none differs."""
    for differing, drawn in (["peak_memory_mb"], "peak_memory_mb"), ([], "training_time_s"):
        page = view(shown(MEASURED, MEASURED, differing=differing)[SCORE])
        assert [card["xaxis"]["key"] for card in page.cards["Score against cost"]] == [drawn]


def test_page_of_what_was_stopped_lists_those_that_a_limit_has_stopped(client):
    """And those of the best ten only what came to its end. Searched for in a real store."""
    parent = client.create_run("1").info.run_id
    ends = {
        "FINISHED": {},
        "KILLED": {"sysmetrics.stopped_by": "limits"},
        "FAILED": {"sysmetrics.stopped_by": "budget"},
    }
    for status, tags in ends.items():
        always = {"mlflow.parentRunId": parent, "sysmetrics.kind": "trial", "sysmetrics.diverged": "false"}
        run = client.create_run("1", tags=always | tags)
        client.set_terminated(run.info.run_id, status)
    pages = scored(*NEAR, run_id=parent, limits="elapsed_s<=9")
    found = {word: {run.info.status for run in client.search_runs(["1"], page.wanted)} for word, page in pages.items()}
    every = set(ends)
    assert found == {
        SCORE: every,
        TABLE: every,
        TRAINING: {"FINISHED"},
        LIMITS: every,
        STOPPED: {"KILLED"},
        PROGRESS: {"RUNNING"},
    }


def test_curves_are_of_score_loss_and_costs():
    """Over the steps; the score over the training time, too, since steps of large batches take longer.

    An error of a trial that was stopped on its way to infinity would hide all others on a linear axis.
    """
    score, pages = "val_rmse", shown(MEASURED, limits="elapsed_s<=1")
    for word, of_score in {TRAINING: "linear", STOPPED: "log"}.items():
        cards = view(pages[word]).cards
        drawn = [(card["metricKey"], card["scaleType"], card["xAxisKey"]) for card in cards["Score during training"]]
        assert drawn == [(score, of_score, "step"), ("val_loss", "log", "step"), (score, of_score, "metric")]
        assert cards["Score during training"][-1]["selectedXAxisMetricKey"] == "training_time_s"
        costs = [card["metricKey"] for card in cards["Costs during training"]]
        assert costs == ["cpu_percent", "step_time_ms", "memory_mb"]


def test_pages_over_an_experiment_list_its_studies_and_its_reports(client):
    """One line a study. Searched for in a real store."""
    for kind in ("study", "report", "trial", "prepare"):
        client.create_run("1", tags={"sysmetrics.kind": kind})
    found = {
        page.name: [run.data.tags["sysmetrics.kind"] for run in client.search_runs(["1"], page.wanted)]
        for page in of_experiment().values()
    }
    assert found == {"All studies": ["study"], "Reports": ["report"]}
    shown_first = columns(of_experiment()[views.STUDIES])[:3]
    assert shown_first == ["dataset", "test_rmse", "test_rmse_low"]


def test_no_page_of_a_large_study_is_too_long_for_a_tag():
    """MLflow's database takes 5,000 characters of an experiment's tag, with the name and the times around the state."""
    names = tuple(f"hyperparameter_number_{number}" for number in range(12))
    rows = [{**dict.fromkeys(views.COSTS, 1.0), "val_rmse": score} for score in (*NEAR, FAR)]
    limits = ",".join(f"{name}<={number}.25" for number, name in enumerate(views.COSTS))
    pages = shown(*rows, searched=names, limits=limits) | of_experiment()
    assert max(len(page.state()) for page in pages.values()) < 2_500


def save_studies(client, count):
    """Save a view of each of this number of studies, the oldest first; their ids."""
    studies = [str(client.create_run("1").info.run_id) for _ in range(count)]
    for study in studies:
        save(client, "1", study, {SCORE: Page("wine", "")})
    return studies


def test_views_of_the_ten_newest_studies_are_kept(client):
    """Besides those of the whole experiment, those of others, and one that a user has changed."""
    theirs = {f"{PREFIX}0f8fad5b": json.dumps({"name": "mine", "createdAt": 1, "state": "{}"})}
    theirs |= {f"{PREFIX}broken": "{", f"{PREFIX}sysmetrics-{'b' * 32}-broken": "{", "sysmetrics-note": "a tag"}
    (changed,) = save_studies(client, 1)
    key = f"{PREFIX}sysmetrics-{changed}-{SCORE}"
    written = json.loads(tags_of(client, "1")[key])
    theirs[key] = json.dumps({name: written[name] for name in ("name", "createdAt", "state")})  # as MLflow's UI does
    for name, value in theirs.items():
        client.set_experiment_tag("1", name, value)
    save(client, "1", "all", {"studies": Page("All studies", "")})
    newest = save_studies(client, MAX_STUDIES + 1)[1:]
    remove_old(client, "1")
    tags = client.get_experiment("1").tags
    assert theirs.items() <= tags.items()
    ours = {f"{PREFIX}sysmetrics-{study}-{SCORE}" for study in newest}
    assert tags.keys() - theirs.keys() == ours | {f"{PREFIX}sysmetrics-all-studies"}
