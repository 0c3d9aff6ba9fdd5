"""The pages of a study: which trials they list, what is on them, and their names in the menu."""

import json
import re

import pytest
from cases import cases, tables
from pages import PREFIX, View, unpacked

from entrypoints.limits.costs import metrics
from entrypoints.limits.grammar import Limits
from entrypoints.study.pages import (
    COSTS,
    EXPERIMENT,
    FOLDS,
    LIMITS,
    MAX_STUDIES,
    PROGRESS,
    REPORTS,
    SCORE,
    STOPPED,
    STUDIES,
    TABLE,
    TRAINING,
    of_experiment,
    of_study,
    remove_old,
)
from entrypoints.trials.frame import StudyRows, frame_of
from mlflow_sysmetrics.ui import Page, save

MEASURED = {"training_time_s": 0.2, "peak_memory_mb": 210.0, "inference_latency_ms": 0.3}
ENDED = {"status": "FINISHED", "diverged": False, "role": "", "params": {}}
AGAINST = "Score against cost"


def pages_of(
    *figures,
    score="val_rmse",
    ascending=True,
    run_id="abc",
    limits="elapsed_s<=9",
    searched=("batch_size", "alpha"),
    differing=COSTS,
    axes=("training step", "fold"),
    result=None,
):
    """The pages of a study of trials with these figures."""
    about = {"name": "red_wine", "score": score, "higher_is_better": not ascending, "model_run_id": result}
    frame = frame_of([StudyRows(run_id, about, [ENDED | trial for trial in figures], ())])
    parsed = Limits.parse(limits, metrics(score, not ascending))
    return of_study(frame, 0.0, searched, parsed, axes, differing)


def view(page):
    """What the UI makes of a page."""
    return View("", unpacked(page.state()))


def drawn(page):
    """The costs that the score is drawn against."""
    return [card["xaxis"]["key"] for card in view(page).cards[AGAINST]]


def coordinates(page):
    """The one chart of all hyperparameters, costs and the score."""
    (chart,) = view(page).cards["Hyperparameters, costs and score"]
    return chart


def found(client, pages):
    """The names of the runs that each page lists in a real store."""
    names = {}
    for word, page in pages.items():
        names[word] = {run.info.run_name for run in client.search_runs(["1"], page.wanted)}
    return names


def test_each_page_lists_what_it_is_about(client):
    """The score's neither what diverged nor another study's, and those of the best ten what came to its end.

    Training steps and folds are two axes, so each has a page.
    """
    study = client.create_run("1", run_name="study").info.run_id
    trials = {
        "best": ("FINISHED", {}),
        "forest": ("FINISHED", {"sysmetrics.axis": "fold"}),
        "diverged": ("FINISHED", {"sysmetrics.diverged": "true"}),
        "limited": ("KILLED", {"sysmetrics.stopped_by": "limits"}),
        "cut off": ("KILLED", {"sysmetrics.stopped_by": "budget"}),
        "of another study": ("FINISHED", {"mlflow.parentRunId": "another"}),
    }
    for name, (status, tags) in trials.items():
        usual = {"kind": "trial", "diverged": "false", "axis": "training step"}
        usual = {f"sysmetrics.{tag}": value for tag, value in usual.items()} | {"mlflow.parentRunId": study}
        run = client.create_run("1", run_name=name, tags=usual | tags)
        client.set_terminated(run.info.run_id, status)
    sound = {"best", "forest", "limited", "cut off"}
    assert found(client, pages_of(MEASURED, run_id=study)) == {
        SCORE: sound,
        TABLE: sound | {"diverged"},
        TRAINING: {"best"},
        FOLDS: {"forest"},
        LIMITS: sound | {"diverged"},
        STOPPED: {"limited"},
        PROGRESS: {"study"},
    }


@cases("ascending", {"lower": True, "higher": False})
def test_each_page_of_a_study_begins_with_its_best_trial(ascending):
    """Where ten are shown, these are the ten best. Names begin with dataset and start."""
    pages = pages_of(MEASURED, ascending=ascending)
    assert {(page.sort_by, page.ascending) for page in pages.values()} == {("val_rmse", ascending)}
    assert {word for word, page in pages.items() if not page.all_runs} == {TRAINING, FOLDS, STOPPED}
    assert {word for word, page in pages.items() if page.shown == "TABLE"} == {TABLE, LIMITS, STOPPED}
    (title,) = {page.name.split(" · ")[0] for page in pages.values()}
    assert re.match(r"red_wine (01 Jan|31 Dec) \d\d:\d\d$", title)


@cases("other, memory", tables(__file__, "study_pages.yaml"))
def test_memory_of_a_study_is_that_of_its_models_where_one_is_large(other, memory):
    """A model of less than a megabyte is lost in what the process needs."""
    page = pages_of(MEASURED | {"model_memory_mb": 0.2}, MEASURED | other)[SCORE]
    costs = ["training_time_s", memory, "inference_latency_ms"]
    assert drawn(page) == costs
    assert coordinates(page)["selectedMetrics"] == [*costs, "val_rmse"]
    assert coordinates(page)["selectedParams"] == ["batch_size", "alpha"]


def test_result_of_a_study_is_pinned_on_each_page_and_named():
    """As the UI's own pins are kept; nothing is pinned while there is no result."""
    trials = [MEASURED | {"run_id": name, "name": f"trial {name}"} for name in ("a", "b")]
    pages = pages_of(*trials, result="b")
    assert [view(page).state["runsPinned"] for page in pages.values()] == [["b"]] * 7
    assert next(iter(view(pages[SCORE]).headings)) == f"{AGAINST}; the result is trial b"
    before = view(pages_of(*trials)[SCORE])
    assert before.state["runsPinned"] == []
    assert next(iter(before.headings)) == AGAINST


def test_score_is_drawn_against_limited_figures_of_served_models_too():
    """Which finalists alone have: coordinates of all trials leave them out."""
    page = pages_of(MEASURED, MEASURED, limits="served_p95_ms<=9, elapsed_s<=9")[SCORE]
    assert drawn(page)[-1] == "served_p95_ms"
    assert coordinates(page)["selectedMetrics"] == [*drawn(page)[:-1], "val_rmse"]


@cases("differing, cost", [(["peak_memory_mb"], "peak_memory_mb"), ([], "training_time_s")])
def test_cost_that_differs_by_noise_alone_is_no_axis(differing, cost):
    """As the latency of equal models; the training time where none differs."""
    assert drawn(pages_of(MEASURED, MEASURED, differing=differing)[SCORE]) == [cost]


@cases("word, of_score", [(TRAINING, "linear"), (STOPPED, "log")])
def test_curves_are_of_score_loss_and_costs(word, of_score):
    """Over the steps; the score over the training time, too, since steps of large batches take longer.

    An error of a trial that was stopped on its way to infinity would hide all others on a linear axis.
    """
    cards = view(pages_of(MEASURED)[word]).cards
    scores = cards["Score during training"]
    assert [(card["metricKey"], card["scaleType"], card["xAxisKey"]) for card in scores] == [
        ("val_rmse", of_score, "step"),
        ("val_loss", "log", "step"),
        ("val_rmse", of_score, "metric"),
    ]
    assert scores[-1]["selectedXAxisMetricKey"] == "training_time_s"
    costs = [card["metricKey"] for card in cards["Costs during training"]]
    assert costs == ["cpu_percent", "step_time_ms", "memory_mb"]


@cases(
    "axes, words, stopped",
    {
        "trees alone": (["fold"], {FOLDS}, ["val_rmse", "val_loss", "training_time_s"]),
        "batches alone": (["training step"], {TRAINING}, []),
    },
)
def test_trials_without_batches_have_values_of_folds_in_place_of_curves(axes, words, stopped):
    """A chart of training would have no line; a page that is empty is not made."""
    pages = pages_of(MEASURED, axes=axes)
    assert {word for word in (TRAINING, FOLDS) if word in pages} == words
    cards = view(pages[STOPPED]).cards
    of_folds = cards.get("The model of each fold, by the number of the fold", [])
    assert [card["metricKey"] for card in of_folds] == [f"fold/{name}" for name in stopped]
    assert ("Score during training" in cards) is (TRAINING in words)


def test_pages_over_an_experiment_list_its_studies_and_its_reports(client):
    """One line a study."""
    for kind in ("study", "report", "trial", "prepare"):
        client.create_run("1", run_name=kind, tags={"sysmetrics.kind": kind})
    pages = of_experiment()
    assert found(client, pages) == {STUDIES: {"study"}, REPORTS: {"report"}}
    first = [column.split("`")[1] for column in pages[STUDIES].columns[:3]]
    assert first == ["dataset", "test_rmse", "test_rmse_low"]


def test_no_page_of_a_large_study_is_too_long_for_a_tag():
    """MLflow's database takes 5,000 characters of an experiment's tag, with the name and the times around the state."""
    names = tuple(f"hyperparameter_number_{number}" for number in range(12))
    limits = ",".join(f"{name}<={number}.25" for number, name in enumerate(COSTS))
    pages = pages_of(dict.fromkeys(COSTS, 1.0), searched=names, limits=limits) | of_experiment()
    assert max(len(page.state()) for page in pages.values()) < 2_500


@pytest.fixture
def save_studies(client):
    """Save a view of each of this number of studies, the oldest first; the keys of their tags."""

    def saved(count):
        keys = []
        for _ in range(count):
            study = client.create_run("1").info.run_id
            save(client, "1", study, {SCORE: Page("wine", "")})
            keys.append(f"{PREFIX}sysmetrics-{study}-{SCORE}")
        return keys

    return saved


def test_views_of_the_ten_newest_studies_are_kept(client, save_studies):
    """Besides those of the whole experiment, those of others, and one that a user has changed."""
    (changed,) = save_studies(1)
    written = json.loads(client.get_experiment("1").tags[changed])
    by_ui = {name: written[name] for name in ("name", "createdAt", "state")}
    theirs = {
        changed: json.dumps(by_ui),
        f"{PREFIX}0f8fad5b": json.dumps({"name": "mine", "createdAt": 1, "state": "{}"}),
        f"{PREFIX}broken": "{",
        f"{PREFIX}sysmetrics-{'b' * 32}-broken": "{",
        "sysmetrics-note": "a tag",
    }
    for name, value in theirs.items():
        client.set_experiment_tag("1", name, value)
    save(client, "1", changed.split("-")[1], {SCORE: Page("wine", "")})
    save(client, "1", EXPERIMENT, {STUDIES: Page("All studies", "")})
    newest = save_studies(MAX_STUDIES + 1)[1:]
    remove_old(client, "1")
    tags = client.get_experiment("1").tags
    assert theirs.items() <= tags.items()
    assert tags.keys() - theirs.keys() == {*newest, f"{PREFIX}sysmetrics-all-studies"}
