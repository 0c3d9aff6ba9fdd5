"""What a study finds, says, and leaves in its run, after its search."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace

import mlflow
import pytest
from commands import in_use
from records import BY_TIME, TIME, of_every_end, store, study_of, trial
from reference import configured, table_of
from saved_views import listed
from study_settings import study_settings

from entrypoints.models.best_model import LoggedModel
from entrypoints.reporting.questions import limits_applied
from entrypoints.reporting.questions.counts import counted
from entrypoints.reporting.questions.limits_saved import answer, saving
from entrypoints.runs import RecordedRun
from entrypoints.search import result
from entrypoints.search.pages import open_from_the_start, save_pages
from entrypoints.search.result import frame_at_end
from entrypoints.search.run_names import searched
from entrypoints.search.study import Study
from entrypoints.tags import BEST_TRIAL_RUN_ID, BY_TIME_LIMIT, FEASIBLE, SCORE, SEARCHED, STUDY_KEY, STUDY_LIMITS
from mlflow_sysmetrics.tags import BY_PERSON, HOST_PREFIX, KIND

SETTINGS = study_settings(folds=3, time_limit_s=90.0, served=False, space={"batch_size": [2, 4, 8, 16, 32]})
TABLE = table_of("red_wine")
REFIT = {"refit_training_time_s": 0.0984, "refit_memory_growth_mb": 1.52, "refit_latency_ms": 2.04}
MODEL = LoggedModel("m-0123", {"test_rmse": 0.64, **REFIT})
COUNTS = ("trials", "stopped", "failed", "diverged", "restarts")
NO_END = "no trial ran to its end without diverging"
LONGER = "raise time_limit_s, or shorten the trials with length, max_rows or folds"

Finish = Callable[..., Study]
Before = Callable[..., str]


def _metrics(study):
    return result.metrics(study, frame_at_end(study))


@pytest.fixture
def before(empty_store):
    """Have a study of these trials run before, in a store of its own that is in use, and return its id."""
    with in_use(empty_store) as client:
        experiment_id = client.create_experiment("studies", (empty_store / "artifacts").as_uri())

        def ran(trials, *, status="FINISHED", tags=None):
            about = {
                KIND: "study",
                STUDY_KEY: study_of(settings=SETTINGS).key,
                SCORE: json.dumps({"score": "val_rmse", "higher_is_better": False, "baseline": None}),
                SEARCHED: json.dumps(searched([each.configuration for each in trials])),
                **(tags or {}),
            }
            run_id = client.create_run(experiment_id, tags=about).info.run_id
            for each in trials:
                store(client, run_id, each)
            client.set_terminated(run_id, status)
            return str(run_id)

        yield ran


@pytest.fixture
def finish(before):
    """What is asked of a study whose trials these are, in the same store."""

    def finished(trials, limits="", *, settings=SETTINGS, planned=0):
        client = mlflow.MlflowClient()
        run_id = before(trials)
        study = study_of(trials, limits, settings=settings, planned=planned)
        study.run = RecordedRun.of(client, client.get_run(run_id))
        client.update_run(run_id, status="RUNNING")
        study.first_start, study.last_end = 1000.0, 1042.5
        result.decide(study)
        return study

    return finished


def test_counts_of_trials_add_up(finish):
    """Each trial is in one of them, and what diverged is named: what it has in common, or some runs."""
    study = finish(of_every_end(), TIME, planned=12)
    said = counted(study.frame)
    assert said == (
        "12 trials: 2 ran to the end, 2 stopped by the limits, 2 stopped by a person, "
        "1 cut off by time_limit_s, 2 diverged (all with batch_size 256), 1 failed, "
        "2 not started"
    )
    assert sum(map(int, re.findall(r"(?:: |, )(\d+) ", said))) == 12
    many = finish(
        [trial(number, diverged=number > 1, ending=BY_TIME if number == 6 else None) for number in range(1, 7)]
    )
    assert counted(many.frame) == "6 trials: 1 ran to the end, 5 diverged (b4, b8, b16 and 2 more)"


def test_figures_of_a_study_are_those_of_its_trials(finish, before):
    """Spent by all that say so; saved against the full study, also where a trial cost more than there."""
    before([trial(number) for number in range(1, 11)])
    trials = [each for each in of_every_end() if not each.figures or each.configuration.number not in (8, 9)]
    study = finish(trials, TIME)
    found = _metrics(study)
    assert {name: found[name] for name in COUNTS} == {
        "trials": 8, "stopped": 5, "failed": 1, "diverged": 0, "restarts": 0
    }  # fmt: skip
    assert (found["search_time_s"], found["forecast_time_s"], found["feasible"], found["skipped"]) == (42.5, 50, 2, 1)
    assert "forecast_error_percent" not in found
    assert (found["spent_cpu_s"], found["saved_cpu_s"]) == (1 + 2 + 3 + 0 + 5 + 6 + 7, 4)
    assert found["saved_cpu_percent"] == pytest.approx(100 * 4 / 28)
    again = trial(2, configuration=replace(configured(batch_size=2), repeat=1))
    assert _metrics(finish([trial(1), again], TIME))["feasible"] == 1


def test_saving_is_counted_against_the_forecast_without_a_full_study(finish):
    """At the rate at which trials came to their end; whether they converged or not."""
    trials = [trial(4, 0.6), trial(2, None, ending=BY_TIME)]
    trials.append(trial(3, None, ending=BY_TIME, configuration=configured(tol=0.1)))
    study = finish(trials, TIME)
    found = saving(frame_at_end(study))
    assert found is not None
    assert (found.full, found.unknown) == (None, 0)
    assert (found.figures["saved_cpu_s"], found.figures["saved_wall_s"]) == (
        4.0 - 2.0 + 4.0 - 3.0,
        8.0 - 4.0 + 8.0 - 6.0,
    )


def test_forecast_has_an_error_where_the_search_was_whole(finish):
    """Nothing was stopped, and nothing was done before."""
    assert _metrics(finish([trial(1)]))["forecast_error_percent"] == pytest.approx(100 * (50 / 42.5 - 1))
    assert "forecast_error_percent" not in _metrics(finish([trial(1)], planned=2))
    assert not {"feasible", "spent_cpu_s"} & _metrics(finish([trial(1)])).keys()
    continued = finish([trial(1)])
    continued.is_continued = True
    assert "forecast_error_percent" not in _metrics(continued)


def test_best_is_among_the_trials_that_meet_the_limits(finish):
    """A relative limit is that of all trials, and each run is told what it came to."""
    trials = [trial(number, 0.7 - number / 100) for number in (5, 4, 3, 2, 1)]  # scores improve as costs rise
    study = finish(trials, "training_time_s<=1x median")
    assert study.best is not None
    assert study.best.configuration.number == 3
    for each in trials:
        tag = study.run.client.get_run(str(each.run_id)).data.tags[FEASIBLE]
        assert tag == str(each.configuration.number < 4).lower()


def test_page_and_terminal_say_the_same(finish):
    """What to take, what it costs and how to load it come first, then where to look, then what became of the trials."""
    study = finish(of_every_end(), TIME)
    with mlflow.start_run(run_id=study.run.run_id):
        words = result.tell(study, MODEL, {})
    page = study.run.client.get_run(study.run.run_id).data.tags["mlflow.note.content"]
    take, look, *rest = page.splitlines()
    assert take.startswith("**Take algorithm=linear, batch_size=2")
    assert look.startswith("Compare the trials: [score against cost](#/experiments/")
    assert re.findall(r"\[([^]]*)\]", look)[1:3] == ["table", "during training"]
    bullets = [line.removeprefix("- ") for line in rest if line.startswith("- ")]
    first_table = bullets[: bullets.index(next(line for line in bullets if line.startswith("10 trials: ")))]
    for line in (take, *first_table):
        assert line.replace("**", "").replace("`", "") in words
    assert "models:/m-0123" in page
    assert "10 trials: 2 ran to the end" in page
    assert len(page) < 8000
    lines = words.strip().splitlines()
    after_table = lines[lines.index("") + 1 : lines.index("Compare all trials in the MLflow UI:")]
    assert len(after_table) <= 9


def test_cheapest_of_equal_trials_is_the_result_where_that_is_chosen(finish):
    """On the page, on the terminal and in the run; a study that asks for the best says what it takes instead.

    That a report says the same is in test_tune.
    """
    by_number = {2: (0.604, 0.01), 9: (0.6, -0.01)}  # its training time; the folds differ by more than the scores
    trials = []
    for number, (score, rise) in by_number.items():
        folds = [{"fold": fold, "val_rmse": score + rise * (fold - 1)} for fold in range(3)]
        trials.append(trial(number, score, folds=folds))
    says = {}
    for choose in ("best", "cheapest"):
        study = finish(trials, settings=replace(SETTINGS, choose=choose))
        with mlflow.start_run(run_id=study.run.run_id):
            words = result.tell(study, MODEL, {})
        assert study.best is not None
        run, own = study.run.client.get_run(study.run.run_id), study.best
        taken = f"batch_size={own.configuration.batch_size}"
        assert run.data.tags[BEST_TRIAL_RUN_ID] == own.run_id
        assert run.data.tags["mlflow.note.content"].startswith(f"**Take algorithm=linear, {taken}**")
        says[choose] = words[words.index("\nTake ") :]
    assert says["best"].startswith("\nTake algorithm=linear, batch_size=512, the best of 2 trials: val_rmse 0.6.")
    cheaper = "The cheapest that is as good within noise (0.018) takes 22 % of its training_time_s"
    assert f"{cheaper}: choose=cheapest takes it." in says["best"]
    assert says["cheapest"].startswith("\nTake algorithm=linear, batch_size=4, the cheapest that is as good")


@pytest.mark.parametrize(
    ("trials", "limits", "planned", "says"),
    [
        pytest.param(
            [trial(1, diverged=True), trial(2, diverged=True), trial(3, by=BY_PERSON)], "", 3,
            f"{NO_END}; 3 trials: 1 stopped by a person, 2 diverged (b2, b4); "
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
            [trial(1, None, figures={"training_time_s": 1.1}, ending=BY_TIME)], "training_time_s<=1", 1,
            "no trial that ran to its end meets `training_time_s<=1`; the nearest was stopped before its end, at "
            "training_time_s 1.1 > 1; loosen these limits, or search other algorithms; "
            "1 trial: 1 stopped by the limits",
            id="all stopped",
        ),
        pytest.param(
            [trial(1, by=BY_TIME_LIMIT)], "", 24,
            f"{NO_END}; 24 trials: 1 cut off by time_limit_s, 23 not started; {LONGER}",
            id="time limit",
        ),
    ],
)  # fmt: skip
def test_study_without_a_result_says_why_and_what_to_do(finish, trials, limits, planned, says):
    """In one sentence, which its page begins with. A limit of time is raised where there is one."""
    settings = replace(SETTINGS, time_limit_s=90.0 if LONGER in says else None)
    study = finish([replace(each) for each in trials], limits, planned=planned, settings=settings)
    assert study.best is None
    with mlflow.start_run(run_id=study.run.run_id):
        assert result.tell_no_result(study, {"command_cpu_seconds": 9.0, "command_elapsed_s": 5.0}) == says
    data = study.run.client.get_run(study.run.run_id).data
    page = data.tags["mlflow.note.content"]
    assert page.startswith(f"**No model was chosen**: {says}.\n")
    assert ("The whole command, with its start and the refit, took 9 s of CPU time" in page) is bool(limits)
    assert data.metrics["trials"] == len(trials)


@pytest.mark.parametrize(
    ("limits", "figures", "says"),
    [
        pytest.param("training_time_s<=1x median", [1.0, 2.0], "fewer than 5 trials have the figure.", id="few"),
        pytest.param("peak_memory_mb<=100", [99.0, 100.5, 101.0, math.nan], "of it.", id="within noise"),
        pytest.param("model_memory_mb<=1.2x median", [0.9, 0.9, 0.9, 0.8, 0.8], None, id="1 MB above the median"),
    ],
)
def test_limit_that_says_nothing_is_named(finish, limits, figures, says):
    """Since too few trials have its figure, or since it lies within the noise of most."""
    metric = limits.partition("<")[0]
    trials = []
    for number, figure in enumerate(figures, 1):
        known = {} if math.isnan(figure) else {metric: figure}
        of_trial = {"val_rmse": 0.5 + number, "elapsed_s": 1.0} | known
        trials.append(trial(number, figures=of_trial, configuration=configured(alpha=number / 10)))
    said = limits_applied.answer(finish(trials, limits).frame).sentences
    assert [sentence.startswith(f"`{limits}` ") for sentence in said] == ([True] if says else [])
    assert [sentence.endswith(str(says)) for sentence in said] == ([True] if says else [])


def _host(cores):
    return {f"{HOST_PREFIX}usable_cores": cores}


WANTED = [configured(batch_size=size, alpha=0.123456789012) for size in (8, 16)]


def _trials(cores="2"):
    return [trial(number, configuration=each, tags=_host(cores)) for number, each in enumerate(WANTED, 1)]


def _full(finish, trials=None):
    """The full study that a saving is counted against."""
    found = saving(frame_at_end(finish(trials or _trials(), "val_loss<=9")))
    assert found is not None
    return found.full


def _says_another_machine(finish):
    sentences = answer(frame_at_end(finish(_trials(), "val_loss<=9"))).sentences
    return any("another machine" in sentence for sentence in sentences)


def test_saving_is_counted_against_the_newest_full_study_of_this_machine(finish, before):
    """Or of another one, which is said: what it cost there does not measure what limits save here."""
    assert _full(finish) is None
    elsewhere = before(_trials("8"))
    assert _full(finish) == elsewhere
    assert _says_another_machine(finish)
    before(_trials())
    here = before(_trials())
    before(_trials("8"))
    assert _full(finish) == here
    assert not _says_another_machine(finish)
    both = before([*_trials()[:1], *_trials("8")[1:]])  # of a cluster
    assert _full(finish) == both
    assert not _says_another_machine(finish)


def test_studies_that_do_not_fit_are_passed_over(finish, before):
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
def test_study_key_is_what_a_trial_of_one_configuration_depends_on(changes, same):
    """Which configurations there are, and how they are handed out, is not part of it; the data are."""
    key = study_of(settings=study_settings()).key
    other = study_of(settings=study_settings(**changes))
    assert (key == other.key) is same
    of_other_data = study_of(settings=study_settings())
    of_other_data.table = replace(TABLE, frame=TABLE.frame.rename(columns={"alcohol": "proof"}))
    assert key != of_other_data.key


def _columns(page):
    return [column.split("`")[1] for column in page.state["selectedColumns"]]


def _pages(study):
    return save_pages(study, study.frame)


def _saved(study):
    """The pages in the menu of the experiment, by what is on them."""
    found = listed(study.run.client, study.run.experiment_id)
    return {name.rpartition(" · ")[2]: page for name, page in found.items()}


def test_study_saves_its_pages_and_those_of_its_experiment(finish):
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


def test_pages_are_there_from_the_start(finish, capsys):
    """With the costs that trials will have; the end makes the same ones again."""
    study = finish([], "training_time_s<=1")
    study.configurations = [configured(batch_size=2), configured(batch_size=4)]
    open_from_the_start(study)
    (view,) = re.findall("viewStateShareKey=([^&]*)&", capsys.readouterr().out)
    saved = _saved(study)
    assert view == saved["score against cost"].id
    assert _columns(saved["table"])[:3] == ["batch_size", "val_rmse", "training_time_s"]
    _pages(study)
    assert {page.id for page in _saved(study).values()} == {page.id for page in saved.values()}
