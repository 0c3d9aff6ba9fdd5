"""What a study says, and leaves in its run, after its search."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from commands import in_use
from records import ended_by, recorded, store, trial
from reference import bundled, configured
from study_settings import study_settings

from entrypoints.limits.duration_forecast import Forecast
from entrypoints.mlflow_io import load_rows
from entrypoints.models.best_model import LoggedModel
from entrypoints.runs import RecordedRun
from entrypoints.search import ended, last_words
from entrypoints.search.ended import Ended, metrics
from entrypoints.search.full_study import study_key
from entrypoints.search.last_words import counted
from entrypoints.search.pages import in_markdown
from entrypoints.search.record import TrialRecord
from entrypoints.tags import FEASIBLE, STUDY_KEY
from mlflow_sysmetrics.tags import KIND

SETTINGS = study_settings(folds=3, time_limit_s=90.0, space={"batch_size": [2, 4, 8, 16, 32]})
DATA = bundled("red_wine")
LINKS = {"score": "#/experiments/1/runs?score", "table": "#/experiments/1/runs?table"}
MODEL = LoggedModel("m-0123", {"test_rmse": 0.64, "refit_training_time_s": 0.0984, "refit_memory_growth_mb": 1.52})
COUNTS = ("trials", "stopped", "failed", "diverged", "converged", "restarts")
TIME = "training_time_s<=2"
BY_TIME = ended_by(TIME)

Finish = Callable[..., Ended]


@pytest.fixture
def finish(empty_store: Path) -> Any:
    """What is asked of a study whose trials these are, in a store of its own that is in use."""
    with in_use(empty_store) as client:
        experiment_id = client.create_experiment("studies", (empty_store / "artifacts").as_uri())

        def finished(
            trials: list[TrialRecord], criteria: str = "", *, full: list[TrialRecord] | None = None, **kept: Any
        ) -> Ended:
            if full is not None:
                tags = {KIND: "study", STUDY_KEY: study_key(SETTINGS, DATA)}
                before = client.create_run(experiment_id, tags=tags).info.run_id
                for each in full:
                    store(client, before, each, "a trial")
                client.set_terminated(before)
            run = RecordedRun.of(client, client.create_run(experiment_id, tags={KIND: "study"}))
            for each in trials:
                store(client, run.run_id, each, "a trial")
            record = recorded(trials, criteria, **kept)
            plan: Any = SimpleNamespace(settings=SETTINGS, trials=[each.configuration for each in trials])
            return ended.ended(run, plan, DATA, record, Forecast([10.0] * len(trials), 50.0))

        yield finished


def _with_folds(each: TrialRecord) -> TrialRecord:
    """Three folds around its score."""
    score = each.figures["val_rmse"]
    folds = [{"fold": fold, "val_rmse": score + (fold - 1) / 100} for fold in range(3)]
    return replace(each, folds=folds)


def _of_every_end() -> list[TrialRecord]:
    """Two trials that can be chosen, and one of each kind that cannot."""
    return [
        _with_folds(trial(1, 0.6)),
        _with_folds(trial(2, 0.65, converged=True)),
        trial(3, None, status="KILLED", ending=BY_TIME),
        trial(4, None, figures={"elapsed_s": 0.0}, status="KILLED", ending=replace(BY_TIME, how="skipped")),
        trial(5, status="KILLED"),
        trial(6, status="KILLED", by_person=True),
        trial(7, status="KILLED", cut_off=True),
        trial(8, 0.1, diverged=True),
        trial(9, 0.1, diverged=True, configuration=configured(batch_size=256)),
        trial(10, None, figures={}, status="FAILED", error="ValueError: odd"),
    ]


def test_counts_of_trials_add_up(finish: Finish) -> None:
    """Each trial is in one of them, and what diverged is named."""
    study = finish(_of_every_end(), TIME, planned=12)
    said = counted(study)
    assert said == (
        "12 trials: 2 ran to the end (1 of them converged), 2 stopped by the limits, 1 stopped by the scheduler, "
        "1 stopped by a person, 1 cut off by time_limit_s=90, 2 diverged (all with batch_size 256), 1 failed, "
        "2 not started"
    )
    assert sum(map(int, re.findall(r"(?:: |, )(\d+) ", said))) == 12
    study.record.restarts = 3
    assert counted(study).endswith("; 3 times a trial began again because its process or node had died")


def test_trials_that_diverged_and_have_nothing_in_common_are_named_by_their_runs(finish: Finish) -> None:
    """Some of them, if there are many."""
    trials = [trial(place, diverged=place > 1) for place in range(1, 7)]
    assert counted(finish(trials)) == "6 trials: 1 ran to the end, 5 diverged (b4, b8, b16 and 2 more)"


def test_figures_of_a_study_are_those_of_its_trials(finish: Finish) -> None:
    """Spent by all that say so; saved against the full study, also where a trial cost more than there."""
    full = [trial(place) for place in range(1, 10)]
    trials = [each for each in _of_every_end() if not each.figures or each.configuration.place not in (8, 9)]
    study = finish(trials, TIME, full=[*full, trial(10)])
    found = metrics(study)
    assert {name: found[name] for name in COUNTS} == {
        "trials": 8, "stopped": 5, "failed": 1, "diverged": 0, "converged": 1, "restarts": 0
    }  # fmt: skip
    assert (found["search_time_s"], found["forecast_time_s"], found["feasible"], found["skipped"]) == (42.5, 50, 2, 1)
    assert "forecast_error_percent" not in found
    assert study.saving is not None
    assert (found["spent_cpu_s"], found["saved_cpu_s"]) == (1 + 2 + 3 + 0 + 5 + 6 + 7, 4)
    assert found["saved_cpu_percent"] == pytest.approx(100 * 4 / 28)


def test_saving_is_counted_against_the_forecast_without_a_full_study(finish: Finish) -> None:
    """But for trials that might have converged, whose full length is unknown."""
    trials = [_with_folds(trial(1, 0.6)), trial(2, None, status="KILLED", ending=BY_TIME)]
    trials.append(trial(3, None, status="KILLED", ending=BY_TIME, configuration=configured(tol=0.1)))
    study = finish(trials, TIME)
    assert study.saving is not None
    assert (study.saving.full, study.saving.saved_cpu_s, study.saving.unknown) == (None, 10.0 - 2.0, 1)


def test_forecast_has_an_error_where_the_search_was_whole(finish: Finish) -> None:
    """Nothing was stopped, and nothing was done before."""
    assert metrics(finish([trial(1)]))["forecast_error_percent"] == pytest.approx(100 * (50 / 42.5 - 1))
    assert "forecast_error_percent" not in metrics(finish([trial(1)], planned=2))
    assert not {"feasible", "spent_cpu_s"} & metrics(finish([trial(1)])).keys()


def test_best_is_the_cheapest_of_equal_scores_that_meets_the_limits(finish: Finish) -> None:
    """A relative limit is that of all trials, and each run is told what it came to."""
    trials = [trial(place, 0.5 if place < 4 else 0.1) for place in (5, 4, 3, 2, 1)]
    study = finish(trials, "training_time_s<=1x median")
    assert study.best is not None
    assert study.best.configuration.place == 1
    for each in trials:
        tag = study.run.client.get_run(str(each.run_id)).data.tags[FEASIBLE]
        assert tag == str(each.configuration.place < 4).lower()


def test_tables_hold_each_trial_and_fold(finish: Finish) -> None:
    """And what is on the front and what each limit saved; a figure that a trial does not have is absent."""
    study = finish(_of_every_end(), TIME)
    ended.log_results(study)
    client, run_id = study.run.client, study.run.run_id
    rows = load_rows(client, run_id, "trials.json")
    assert [(row["trial_id"], row["status"]) for row in rows][2:8:5] == [("t3", "KILLED"), ("t8", "FINISHED")]
    chosen = {"algorithm": "linear", "batch_size": 2, "learning_rate": 0.01, "alpha": 0.1, "folds": "3"}
    assert {name: rows[0][name] for name in chosen} | {"alpha": 0.1, "learning_rate": 0.01} == chosen
    assert (rows[0]["val_rmse"], rows[2]["val_rmse"]) == (0.6, None)
    folds = load_rows(client, run_id, "folds.json")
    assert [(row["trial_id"], row["fold"]) for row in folds] == [(t, fold) for t in ("t1", "t2") for fold in range(3)]
    assert {row["metric"] for row in load_rows(client, run_id, "noise.json")} >= {"val_rmse"}
    (saved,) = [row for row in load_rows(client, run_id, "budget.json") if row["reason"] == f"`{TIME}`"]
    assert (saved["trials"], saved["skipped"], saved["saved_cpu_s"]) == (2, 1, 17.0)
    assert {row["trial_id"] for row in load_rows(client, run_id, "pareto.json")} <= {"t1", "t2"}


def _told(study: Ended) -> tuple[str, str]:
    """The description of a study, and its last words."""
    with mlflow.start_run(run_id=study.run.run_id):
        words = last_words.tell(study, MODEL, LINKS)
    return study.run.client.get_run(study.run.run_id).data.tags["mlflow.note.content"], words


def test_page_and_last_words_say_the_same(finish: Finish) -> None:
    """What to take, what it costs and how to load it come first, then where to look, then what became of the trials."""
    page, words = _told(finish(_of_every_end(), TIME))
    take, look, _, *rest = page.splitlines()
    assert take.startswith("**Take batch_size=2")
    assert look == f"Compare the trials: {in_markdown(LINKS)}."
    for line in (take, *(line.removeprefix("- ") for line in rest if line.startswith("- "))):
        assert line.replace("**", "").replace("`", "") in words
    assert "models:/m-0123" in page
    assert "test_rmse 0.64, trained in 0.098 s with 1.5 MB" in page
    assert "10 trials: 2 ran to the end" in page
    assert len(page) < 8000
    assert [line.split()[:2] for line in words.splitlines()[1:4]] == [
        ["batch_size", "val_rmse"],
        ["1", "2"],
        ["2", "4"],
    ]


def test_study_names_its_best_trial(finish: Finish) -> None:
    """In tags of its run."""
    study = finish(_of_every_end())
    _told(study)
    tags = study.run.client.get_run(study.run.run_id).data.tags
    best = study.best
    assert best is not None
    assert tags["sysmetrics.best_trial_run_id"] == best.run_id
    assert (tags["sysmetrics.best_trial_id"], tags["sysmetrics.best_batch_size"]) == (best.trial_id, "2")


@pytest.mark.parametrize(
    ("trials", "criteria", "planned", "says"),
    [
        pytest.param(
            [trial(1, diverged=True), trial(2, diverged=True), trial(3, status="KILLED")], "", 3,
            "no trial ran to its end without diverging; 3 trials: 1 stopped by the scheduler, 2 diverged (b2, b4); "
            "lower the learning rates or max_steps",
            id="diverged",
        ),
        pytest.param(
            [trial(1, diverged=True), trial(2, None, figures={}, status="FAILED", error="ValueError: odd")], "", 2,
            "no trial ran to its end without diverging; 2 trials: 1 diverged (b2), 1 failed; the first error was "
            "ValueError: odd",
            id="failed",
        ),
        pytest.param(
            [trial(1, None, status="KILLED", ending=BY_TIME)], TIME, 1,
            "no trial ran to its end without diverging; 1 trial: 1 stopped by the limits; loosen the criteria",
            id="stopped",
        ),
        pytest.param(
            [trial(1, status="KILLED", cut_off=True)], "", 24,
            "no trial ran to its end without diverging; 24 trials: 1 cut off by time_limit_s=90, 23 not started; raise "
            "time_limit_s, or shorten the trials with max_steps, max_epochs, max_rows or folds",
            id="time limit",
        ),
        pytest.param(
            [], "", 24,
            "no trial ran to its end without diverging; 24 trials: 24 not started; raise time_limit_s, or shorten the "
            "trials with max_steps, max_epochs, max_rows or folds",
            id="time limit before the first trial",
        ),
    ],
)  # fmt: skip
def test_study_without_a_result_says_why_and_what_to_do(
    finish: Finish, trials: list[TrialRecord], criteria: str, planned: int, says: str
) -> None:
    """In one sentence, which its page begins with."""
    study = finish([replace(each) for each in trials], criteria, planned=planned)
    assert study.best is None
    ended.log_results(study)
    with mlflow.start_run(run_id=study.run.run_id):
        assert last_words.tell_no_result(study, LINKS) == says
    data = study.run.client.get_run(study.run.run_id).data
    assert data.tags["mlflow.note.content"].startswith(f"**No model was chosen**: {says}.\n")
    assert data.metrics["trials"] == len(trials)


def test_nearest_trial_is_named_where_none_meets_the_limits(finish: Finish) -> None:
    """With the figure that breaks its limit, and what to do."""
    study = finish([trial(2), trial(3)], "training_time_s<=1")
    with mlflow.start_run(run_id=study.run.run_id):
        why = last_words.tell_no_result(study, LINKS)
    assert "the nearest, batch_size=4, has training_time_s 2 > 1; raise these limits" in why


@pytest.mark.parametrize(
    ("criteria", "figures", "says"),
    [
        pytest.param(
            "training_time_s<=1x median", [1.0, 2.0], "was not applied in the end: fewer than 5 trials have", id="few"
        ),
        pytest.param(
            "model_memory_mb<=2x median",
            [-1.0] * 5,
            "was not applied in the end: the median is negative",
            id="negative",
        ),
        pytest.param(
            "peak_memory_mb<=100", [99.0, 100.5, 101.0], "cannot tell the trials apart: most", id="within noise"
        ),
        pytest.param("peak_memory_mb<=100", [50.0, 60.0, 101.0], None, id="beyond noise"),
        pytest.param("peak_memory_mb<=100", [nan, nan, 100.0], "cannot tell the trials apart", id="unknown of most"),
    ],
)
def test_limit_that_says_nothing_is_named(
    finish: Finish, criteria: str, figures: list[float], says: str | None
) -> None:
    """Since too few trials have its figure, or since it lies within the noise of most."""
    metric = criteria.partition("<")[0]
    trials = [
        trial(
            place, figures={"val_rmse": 0.5 + place, "elapsed_s": 1.0} | ({} if figure != figure else {metric: figure})
        )
        for place, figure in enumerate(figures, 1)
    ]
    said = [
        sentence for sentence in last_words._said(finish(trials, criteria)) if sentence.startswith(f"`{criteria}` ")
    ]
    of_limit = [sentence for sentence in said if " stopped " not in sentence]
    assert [says in sentence for sentence in of_limit] == [True] if says else not of_limit
