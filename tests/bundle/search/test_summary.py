"""What a study finds, says, and leaves in its run, after its search."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

import mlflow
import pytest
from commands import in_use
from records import BY_TIME, TIME, of_every_end, recorded, store, trial
from reference import bundled, configured, table_of
from saved_views import listed
from study_settings import study_settings

from entrypoints.mlflow_io import load_rows
from entrypoints.models import scores
from entrypoints.models.best_model import BestModel, LoggedModel
from entrypoints.models.jackknife import IN_TIME, Estimate
from entrypoints.models.trial_record import Trial
from entrypoints.runs import RecordedRun
from entrypoints.search import summary
from entrypoints.search.pages import open_from_the_start, save_pages
from entrypoints.search.plan import Plan, study_key
from entrypoints.search.summary import Summary, metrics
from entrypoints.search.warm_up import Forecast
from entrypoints.tags import BEST_TRIAL_RUN_ID, BY_TIME_LIMIT, FEASIBLE, NO_INTERVAL, STUDY_KEY, STUDY_LIMITS
from mlflow_sysmetrics.tags import BY_TUNE, HOST_PREFIX, KIND

SETTINGS = study_settings(folds=3, time_limit_s=90.0, space={"batch_size": [2, 4, 8, 16, 32]})
DATA = bundled("red_wine")
TABLE = table_of("red_wine")
REFIT = {"refit_training_time_s": 0.0984, "refit_memory_growth_mb": 1.52, "refit_latency_ms": 2.04}
MODEL = LoggedModel("m-0123", {"test_rmse": 0.64, **REFIT})
COUNTS = ("trials", "stopped", "failed", "diverged", "restarts")
NO_END = "no trial ran to its end without diverging"
LONGER = "raise time_limit_s, or shorten the trials with length, max_rows or folds"

Finish = Callable[..., Summary]
Before = Callable[..., str]


@pytest.fixture
def before(empty_store: Path) -> Any:
    """Have a study of these trials run before, in a store of its own that is in use, and return its id."""
    with in_use(empty_store) as client:
        experiment_id = client.create_experiment("studies", (empty_store / "artifacts").as_uri())

        def ran(trials: list[Trial], *, status: str = "FINISHED", tags: dict[str, str] | None = None) -> str:
            about = {KIND: "study", STUDY_KEY: study_key(SETTINGS, TABLE), **(tags or {})}
            run_id = client.create_run(experiment_id, tags=about).info.run_id
            for each in trials:
                store(client, run_id, each)
            client.set_terminated(run_id, status)
            return str(run_id)

        yield ran


@pytest.fixture
def finish(before: Before) -> Finish:
    """What is asked of a study whose trials these are, in the same store."""

    def finished(
        trials: list[Trial], limits: str = "", *, table: Any = TABLE, settings: Any = SETTINGS, **kept: Any
    ) -> Summary:
        client = mlflow.MlflowClient()
        run_id = before(trials)
        run = RecordedRun.of(client, client.get_run(run_id))
        client.update_run(run_id, status="RUNNING")
        record = recorded(trials, limits, task=table.task, **kept)
        record.first_start, record.last_end = 1000.0, 1042.5
        tried: Any = [each.configuration for each in trials] or [configured()]
        unused: Any = None
        score, baseline = scores.find(None, table.task), [1.0, 1.0, 1.0]
        plan = Plan(settings, unused, unused, table, DATA.split, tried, unused, score, baseline)
        return summary.summarise(run, plan, record, Forecast({each.id: 10.0 for each in plan.trials}, 50.0))

    return finished


def test_counts_of_trials_add_up(finish: Finish) -> None:
    """Each trial is in one of them, and what diverged is named: what it has in common, or some runs."""
    study = finish(of_every_end(), TIME, planned=12)
    said = summary.counted(study)
    assert said == (
        "12 trials: 2 ran to the end, 2 stopped by the limits, 1 stopped by the scheduler, "
        "1 stopped by a person, 1 cut off by time_limit_s=90, 2 diverged (all with batch_size 256), 1 failed, "
        "2 not started"
    )
    assert sum(map(int, re.findall(r"(?:: |, )(\d+) ", said))) == 12
    study.record.restarts = 3
    assert summary.counted(study).endswith("; 3 times a trial began again because its process or node had died")
    many = finish(
        [trial(number, diverged=number > 1, ending=BY_TIME if number == 6 else None) for number in range(1, 7)]
    )
    assert summary.counted(many) == "6 trials: 1 ran to the end, 5 diverged (b4, b8, b16 and 2 more)"


def test_figures_of_a_study_are_those_of_its_trials(finish: Finish, before: Before) -> None:
    """Spent by all that say so; saved against the full study, also where a trial cost more than there."""
    before([trial(number) for number in range(1, 11)])
    trials = [each for each in of_every_end() if not each.figures or each.configuration.number not in (8, 9)]
    study = finish(trials, TIME)
    found = metrics(study)
    assert {name: found[name] for name in COUNTS} == {
        "trials": 8, "stopped": 5, "failed": 1, "diverged": 0, "restarts": 0
    }  # fmt: skip
    assert (found["search_time_s"], found["forecast_time_s"], found["feasible"], found["skipped"]) == (42.5, 50, 2, 1)
    assert "forecast_error_percent" not in found
    assert (found["spent_cpu_s"], found["saved_cpu_s"]) == (1 + 2 + 3 + 0 + 5 + 6 + 7, 4)
    assert found["saved_cpu_percent"] == pytest.approx(100 * 4 / 28)
    again = trial(2, configuration=replace(configured(batch_size=2), repeat=1))
    assert metrics(finish([trial(1), again], TIME))["feasible"] == 1


@pytest.mark.parametrize(
    ("full", "says"),
    [
        pytest.param(
            (60.0, 110.0), " in place of 60 s (30 % less), and by the clock 37 s in place of 110 s", id="less"
        ),
        pytest.param((50.0, 60.0), " in place of 50 s, and by the clock 37 s in place of 60 s", id="maybe by chance"),
    ],
)
def test_whole_command_is_told_beside_its_trials(
    finish: Finish, before: Before, full: tuple[float, float] | None, says: str
) -> None:
    """What lies outside the trials, such as the start and the refit, no limit saves."""
    of_full = before([trial(1), trial(2)])
    names = ("command_cpu_seconds", "command_elapsed_s")
    for name, seconds in zip(names, full or (), strict=False):
        mlflow.MlflowClient().log_metric(of_full, name, seconds)
    study = finish([trial(1), trial(2, None, ending=BY_TIME)], TIME)
    said = list(summary.of_limits(study, dict(zip(names, (42.0, 37.0), strict=True))))
    took = "The whole command, with its start, Ray and the refit, took 42 s of CPU time"
    assert f"{took}{says}." in said
    assert not [sentence for sentence in summary.of_limits(study, {}) if "whole command" in sentence]


def test_saving_is_counted_against_the_forecast_without_a_full_study(finish: Finish) -> None:
    """At the rate at which trials came to their end; whether they converged or not."""
    trials = [trial(4, 0.6), trial(2, None, ending=BY_TIME)]
    trials.append(trial(3, None, ending=BY_TIME, configuration=configured(tol=0.1)))
    study = finish(trials, TIME)
    assert study.saving is not None
    assert (study.saving.full, study.saving.unknown) == (None, 0)
    assert (study.saving.saved_cpu_s, study.saving.saved_wall_s) == (4.0 - 2.0 + 4.0 - 3.0, 8.0 - 4.0 + 8.0 - 6.0)


def test_forecast_has_an_error_where_the_search_was_whole(finish: Finish) -> None:
    """Nothing was stopped, and nothing was done before."""
    assert metrics(finish([trial(1)]))["forecast_error_percent"] == pytest.approx(100 * (50 / 42.5 - 1))
    assert "forecast_error_percent" not in metrics(finish([trial(1)], planned=2))
    assert not {"feasible", "spent_cpu_s"} & metrics(finish([trial(1)])).keys()
    continued = finish([trial(1)])
    continued.record.is_continued = True
    assert "forecast_error_percent" not in metrics(continued)


def test_best_and_the_front_are_among_the_trials_that_meet_the_limits(finish: Finish) -> None:
    """A relative limit is that of all trials, and each run is told what it came to."""
    trials = [trial(number, 0.7 - number / 100) for number in (5, 4, 3, 2, 1)]  # scores improve as costs rise
    study = finish(trials, "training_time_s<=1x median")
    assert study.best is not None
    assert study.best.configuration.number == 3
    rows = load_rows(study.run.client, study.run.run_id, "pareto.json")
    assert [(row["cost"], row["trial_id"]) for row in rows] == [("training_time_s", f"t{each}") for each in (1, 2, 3)]
    for each in trials:
        tag = study.run.client.get_run(str(each.run_id)).data.tags[FEASIBLE]
        assert tag == str(each.configuration.number < 4).lower()
    with mlflow.start_run(run_id=study.run.run_id):
        words = summary.tell(study, MODEL, {})
    table = [line.split()[:2] for line in words.splitlines() if re.match(r"\d +\d", line)]
    assert table == [["1", "8"], ["2", "4"], ["3", "2"]]  # the place and the batch size


def test_page_and_terminal_say_the_same(finish: Finish) -> None:
    """What to take, what it costs and how to load it come first, then where to look, then what became of the trials."""
    study = finish(of_every_end(), TIME)
    with mlflow.start_run(run_id=study.run.run_id):
        words = summary.tell(study, MODEL, {})
    page = study.run.client.get_run(study.run.run_id).data.tags["mlflow.note.content"]
    take, look, _, *rest = page.splitlines()
    assert take.startswith("**Take algorithm=linear, batch_size=2")
    assert look.startswith("Compare the trials: [score against cost](#/experiments/")
    assert re.findall(r"\[([^]]*)\]", look)[1:3] == ["table", "during training"]
    for line in (take, *(line.removeprefix("- ") for line in rest if line.startswith("- "))):
        assert line.replace("**", "").replace("`", "") in words
    assert "models:/m-0123" in page
    assert (
        "test_rmse 0.64, trained in 0.098 s, which took 1.5 MB of memory; it predicts a row of a DataFrame in 2 ms"
        in page
    )
    assert "10 trials: 2 ran to the end" in page
    assert len(page) < 8000
    table = [line.split()[:2] for line in words.splitlines()[1:4]]
    assert table == [["batch_size", "val_rmse"], ["1", "2"], ["2", "4"]]


@pytest.mark.parametrize(
    ("dataset", "name", "baseline", "of_folds", "sound", "spoilt"),
    [
        pytest.param("red_wine", "rmse", 1.0, 0.6, 0.99, 9.0, id="lower is better"),
        pytest.param("diabetes", "accuracy", 0.65, 0.8, 0.7, 0.6, id="higher is better"),
    ],
)
def test_model_that_its_refit_has_spoilt_is_warned_of(
    finish: Finish, dataset: str, name: str, baseline: float, of_folds: float, sound: float, spoilt: float
) -> None:
    """One that trains on each fold, and diverges on the whole training part; not one that is a little worse."""
    figures = {"training_time_s": 1.0, f"val_{name}": of_folds, f"test_{name}": of_folds}
    study = finish([trial(1, figures=figures)], table=table_of(dataset))
    study = replace(study, plan=replace(study.plan, baseline=[baseline] * 3))
    for refitted, is_warned in ((sound, False), (spoilt, True)):
        with mlflow.start_run(run_id=study.run.run_id):
            words = summary.tell(study, replace(MODEL, figures=MODEL.figures | {f"test_{name}": refitted}), {})
        said = (
            f"Do not use the logged model: trained on the whole training part it has test_{name} {spoilt:g}, no better"
        )
        assert (said in words) == is_warned


@pytest.mark.parametrize(("search", "is_adaptive"), [("tpe", True), ("grid", False)])
def test_study_knows_whether_it_chose_its_trials_by_their_scores(
    finish: Finish, search: str, is_adaptive: bool
) -> None:
    """Then they are no fair sample of what a hyperparameter does."""
    study = finish([trial(1)], settings=replace(SETTINGS, search=search))
    assert bool(study.frame.studies["adaptive"].item()) is is_adaptive


DEFAULTS = "linear with its library's defaults"


def _refitted(test: Estimate) -> BestModel:
    nothing: Any = None
    return BestModel(nothing, nothing, "val_rmse", {}, {}, test)


def test_expected_score_is_a_figure_of_the_model_or_it_is_said_why_not(finish: Finish) -> None:
    """An interval of an error ends at 0; in time, or with two folds, there is none."""
    trials = [trial(1, 0.6, folds=[{"fold": fold, "val_rmse": 0.6 + (fold - 1) / 100} for fold in range(3)])]
    found, refitted = summary.with_expected(finish(trials), _refitted(Estimate(0.62, 0.6, 19)))
    row, figures = found.frame.studies.iloc[0], refitted.figures
    assert figures.keys() == {"expected_rmse", "expected_rmse_low", "expected_rmse_high", "left_out_rmse"}
    assert figures["expected_rmse_low"] == row["expected_low"] == 0 < figures["expected_rmse"] < 0.7
    assert figures["left_out_rmse"] == row["left_out"] == pytest.approx(0.6)
    in_time, as_it_was = summary.with_expected(finish(trials), _refitted(Estimate(0.62, why_unknown=IN_TIME)))
    assert (as_it_was.figures, in_time.frame.studies["no_interval"].item()) == ({}, IN_TIME)
    assert in_time.run.client.get_run(in_time.run.run_id).data.tags[NO_INTERVAL] == IN_TIME


def test_training_part_counts_for_its_share_in_the_expected_score(finish: Finish) -> None:
    """With seven tenths of the rows, three folds that hardly differ weigh as 1 to 2.5 * 3 / 7 against the test part."""
    trials = [trial(1, 0.6, folds=[{"fold": fold, "val_rmse": 0.6 + (fold - 1) / 100} for fold in range(3)])]
    _, refitted = summary.with_expected(finish(trials), _refitted(Estimate(0.7, 0.6, 19)))
    assert refitted.figures["expected_rmse"] == pytest.approx(fmean([0.6] * 14 + [0.7] * 15), abs=1e-3)


@pytest.mark.parametrize(
    ("gain", "says"),
    [
        pytest.param((0.044, 0.01, 0.08), f"it is better than {DEFAULTS} by 0.04 (0.01 to 0.08) in rmse.", id="better"),
        pytest.param(
            (-0.044, -0.08, -0.01), f"it is worse than {DEFAULTS} by 0.04 (0.01 to 0.08) in rmse.", id="worse"
        ),
        pytest.param((0.02, -0.01, 0.05), f"than {DEFAULTS} beyond noise (0.02; -0.01 to 0.05 in rmse)", id="neither"),
    ],
)
def test_gain_of_tuning_is_claimed_where_its_interval_excludes_0(
    finish: Finish, gain: tuple[float, ...], says: str
) -> None:
    """Over the library's defaults, on the same rows."""
    study = finish([trial(1)])
    figures = dict(zip(("gain_rmse", "gain_rmse_low", "gain_rmse_high"), gain, strict=False))
    of_test = {"test_rmse_low": 0.58, "test_rmse_high": 0.7}
    with mlflow.start_run(run_id=study.run.run_id):
        words = summary.tell(study, replace(MODEL, figures=MODEL.figures | figures | of_test), {})
    assert says in words
    assert "it has test_rmse 0.64 (0.58 to 0.70 by its rows alone), trained in 0.098 s" in words


@pytest.mark.parametrize(
    ("metric", "has_probabilities", "is_said"),
    [("roc_auc", True, True), ("f1", True, False), ("roc_auc", False, False)],
)
def test_model_that_was_chosen_by_ranking_is_asked_for_probabilities(
    finish: Finish, metric: str, has_probabilities: bool, is_said: bool
) -> None:
    """If it gives them."""
    study = finish([trial(1)])
    study = replace(study, plan=replace(study.plan, score=scores.find(metric, "classification")))
    with mlflow.start_run(run_id=study.run.run_id):
        words = summary.tell(study, replace(MODEL, has_probabilities=has_probabilities), {})
    assert ('.predict(rows, params={"predict_method": "predict_proba"})' in words) == is_said


def test_cheapest_of_equal_trials_is_the_result_where_that_is_chosen(finish: Finish) -> None:
    """On the page, on the terminal and in the run; a study that asks for the best says what it takes instead.

    That a report says the same is in test_tune.
    """
    by_number = {2: 0.61, 9: 0.6}  # its training time; the folds differ by more than the scores
    trials = [
        trial(number, score, folds=[{"fold": fold, "val_rmse": score + (fold - 1) / 20} for fold in range(3)])
        for number, score in by_number.items()
    ]
    says = {}
    for choose in ("best", "cheapest"):
        study = finish(trials, settings=replace(SETTINGS, choose=choose))
        with mlflow.start_run(run_id=study.run.run_id):
            words = summary.tell(study, MODEL, {})
        assert study.best is not None
        run, own, first = study.run.client.get_run(study.run.run_id), study.best, words.splitlines()[2].split()
        taken = f"batch_size={own.configuration.batch_size}"
        assert run.data.tags[BEST_TRIAL_RUN_ID] == own.run_id
        assert first[1] == str(own.configuration.batch_size)
        assert run.data.tags["mlflow.note.content"].startswith(f"**Take algorithm=linear, {taken}**")
        says[choose] = words[words.index("\nTake ") :]
    saved = "as good within noise (0.029), for 22 % of its training_time_s (2 of 9 s) (choose=cheapest takes it)."
    assert f"the best of 2 trials: val_rmse 0.6; or batch_size=4, {saved}" in says["best"]
    take = (
        "Take algorithm=linear, batch_size=4: val_rmse 0.61; as good within noise (0.029) as the best, batch_size=512"
    )
    assert take in says["cheapest"]


@pytest.mark.parametrize(
    ("trials", "limits", "planned", "says"),
    [
        pytest.param(
            [trial(1, diverged=True), trial(2, diverged=True), trial(3, by=BY_TUNE)], "", 3,
            f"{NO_END}; 3 trials: 1 stopped by the scheduler, 2 diverged (b2, b4); "
            "lower the learning rates or length",
            id="diverged",
        ),
        pytest.param(
            [trial(1, diverged=True), trial(2, None, figures={}, status="FAILED", error="ValueError: odd")], "", 2,
            f"{NO_END}; 2 trials: 1 diverged (b2), 1 failed; the first error was ValueError: odd",
            id="failed",
        ),
        pytest.param(
            [trial(1, None, ending=BY_TIME)], TIME, 1,
            f"{NO_END}; 1 trial: 1 stopped by the limits; loosen the limits",
            id="stopped",
        ),
        pytest.param(
            [trial(1, None, figures={"training_time_s": 1.1}, ending=BY_TIME), trial(2), trial(3)],
            "training_time_s<=1", 24,
            "no trial that ran to its end meets `training_time_s<=1`; the nearest, batch_size=4, has training_time_s "
            "2 > 1; loosen these limits, or search other algorithms; 24 trials: 2 ran to the end, 1 stopped by "
            "the limits, 21 not started",
            id="nearest",
        ),
        pytest.param(
            [trial(1, by=BY_TIME_LIMIT)], "", 24,
            f"{NO_END}; 24 trials: 1 cut off by time_limit_s=90, 23 not started; {LONGER}",
            id="time limit",
        ),
    ],
)  # fmt: skip
def test_study_without_a_result_says_why_and_what_to_do(
    finish: Finish, trials: list[Trial], limits: str, planned: int, says: str
) -> None:
    """In one sentence, which its page begins with. A limit of time is raised where there is one."""
    settings = replace(SETTINGS, time_limit_s=90.0 if LONGER in says else None)
    study = finish([replace(each) for each in trials], limits, planned=planned, settings=settings)
    assert study.best is None
    with mlflow.start_run(run_id=study.run.run_id):
        assert summary.tell_no_result(study, {}) == says
    data = study.run.client.get_run(study.run.run_id).data
    assert data.tags["mlflow.note.content"].startswith(f"**No model was chosen**: {says}.\n")
    assert data.metrics["trials"] == len(trials)


@pytest.mark.parametrize(
    ("limits", "figures", "says"),
    [
        pytest.param("training_time_s<=1x median", [1.0, 2.0], "end: fewer than 5 trials have the figure.", id="few"),
        pytest.param("peak_memory_mb<=100", [99.0, 100.5, 101.0, nan], "of it.", id="within noise"),
        pytest.param("model_memory_mb<=1.2x median", [0.9, 0.9, 0.9, 0.8, 0.8], None, id="1 MB above the median"),
    ],
)
def test_limit_that_says_nothing_is_named(finish: Finish, limits: str, figures: list[float], says: str | None) -> None:
    """Since too few trials have its figure, or since it lies within the noise of most."""
    metric = limits.partition("<")[0]
    trials = [
        trial(number, figures={"val_rmse": 0.5 + number, "elapsed_s": 1.0} | ({metric: each} if each == each else {}))
        for number, each in enumerate(figures, 1)
    ]
    said = [each for each in summary.of_limits(finish(trials, limits), {}) if each.startswith(f"`{limits}` ")]
    of_limit = [sentence for sentence in said if " stopped " not in sentence]
    assert [sentence.endswith(says) for sentence in of_limit] == [True] if says else not of_limit


def _host(cores: str) -> dict[str, str]:
    return {f"{HOST_PREFIX}usable_cores": cores}


WANTED = [configured(batch_size=size, alpha=0.123456789012) for size in (8, 16)]


def _trials(cores: str = "2") -> list[Trial]:
    return [trial(number, configuration=each, tags=_host(cores)) for number, each in enumerate(WANTED, 1)]


def _full(finish: Finish, trials: list[Trial] | None = None) -> str | None:
    """The full study that a saving is counted against."""
    study = finish(trials or _trials(), "val_loss<=9")
    assert study.saving is not None
    assert ("other machines" in " ".join(summary.of_limits(study, {}))) == bool(study.hosts)
    return study.saving.full


def test_saving_is_counted_against_the_newest_full_study_of_this_machine(finish: Finish, before: Before) -> None:
    """Or of another one, which is said: what it cost there does not measure what limits save here."""
    assert _full(finish) is None
    elsewhere = before(_trials("8"))
    assert _full(finish) == elsewhere
    assert finish(_trials(), "val_loss<=9").hosts == "usable_cores 2; usable_cores 8"
    before(_trials())
    here = before(_trials())
    before(_trials("8"))
    assert _full(finish) == here
    assert finish(_trials(), "val_loss<=9").hosts == ""
    both = before([*_trials()[:1], *_trials("8")[1:]])  # of a cluster
    assert _full(finish) == both
    assert finish(_trials(), "val_loss<=9").hosts == ""


def test_studies_that_do_not_fit_are_passed_over(finish: Finish, before: Before) -> None:
    """An older and larger one that fits is found behind them."""
    fits = before([*_trials(), trial(3, configuration=configured("svm", momentum=0.9))])
    before(_trials(), status="FAILED")
    before(_trials(), tags={STUDY_LIMITS: "training_time_s<=1"})
    before(_trials(), tags={STUDY_KEY: "other"})
    before([])  # its trials were deleted
    first, last = _trials()
    without_costs = replace(last, figures={"val_rmse": 0.7})
    for other in (replace(last, status="KILLED"), without_costs, trial(2, configuration=configured(batch_size=16))):
        before([first, other])
    assert _full(finish) == fits


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        pytest.param({"space": {"batch_size": [8]}}, True, id="space"),
        pytest.param({"dataset": "/elsewhere/red_wine.csv"}, True, id="path"),
        *(pytest.param({name: 3}, False, id=name) for name in ("folds", "seed", "length")),
    ],
)
def test_study_key_is_what_a_trial_of_one_configuration_depends_on(changes: dict[str, Any], same: bool) -> None:
    """Which configurations there are, and how they are handed out, is not part of it; the data are."""
    key = study_key(study_settings(), TABLE)
    assert (key == study_key(study_settings(**changes), TABLE)) is same
    columns = {"alcohol": "proof"}
    assert key != study_key(study_settings(), replace(TABLE, frame=TABLE.frame.rename(columns=columns)))


def _columns(page: Any) -> list[str]:
    return [column.split("`")[1] for column in page.state["selectedColumns"]]


def _pages(study: Summary) -> dict[str, str]:
    return save_pages(study.run, study.plan, study.record, study.frame)


def _saved(study: Summary) -> dict[str, Any]:
    """The pages in the menu of the experiment, by what is on them."""
    found = listed(study.run.client, study.run.experiment_id)
    return {name.rpartition(" · ")[2]: page for name, page in found.items()}


def test_study_saves_its_pages_and_those_of_its_experiment(finish: Finish) -> None:
    """All are views, and each link opens its own; those of limits have them in words, on one figure together."""
    limits = "training_time_s<=1, val_loss patience 3, val_loss<=2"
    study = finish([trial(1), trial(2)], limits)
    links, saved = _pages(study), _saved(study)
    pages = [
        "score against cost",
        "table",
        "best score so far",
        "during training, the ten best",
        "All studies",
        "Reports",
        "within the limits",
        "what was stopped, and why",
    ]
    assert sorted(saved) == sorted(pages)
    ids = {page.id for page in saved.values()}
    assert len({each for each in ids for link in links.values() if f"viewStateShareKey={each}&" in link}) == len(links)
    assert limits in saved["within the limits"].headings
    assert _columns(saved["within the limits"])[2:5] == ["val_rmse", "training_time_s", "val_loss"]


def test_pages_are_there_from_the_start(finish: Finish, capsys: pytest.CaptureFixture[str]) -> None:
    """With the costs that trials will have; the end makes the same ones again."""
    study = finish([], "training_time_s<=1")
    plan = replace(study.plan, trials=[configured(batch_size=2), configured(batch_size=4)])
    open_from_the_start(study.run, plan, study.record)
    (view,) = re.findall("viewStateShareKey=([^&]*)&", capsys.readouterr().out)
    saved = _saved(study)
    assert view == saved["score against cost"].id
    assert _columns(saved["table"])[:3] == ["batch_size", "val_rmse", "training_time_s"]
    _pages(study)
    assert {page.id for page in _saved(study).values()} == {page.id for page in saved.values()}
