"""What a study finds, says, and leaves in its run, after its search."""

import json
import re
from dataclasses import replace

import mlflow
import pytest
from cases import cases
from commands import in_use
from pages import listed
from records import BY_TIME, TIME, of_every_end, store, study_of, study_settings, trial
from reference import configured

from entrypoints.models.best_model import LoggedModel
from entrypoints.reporting.questions import limits_applied
from entrypoints.reporting.questions.limits_saved import answer, saving
from entrypoints.runs import RecordedRun
from entrypoints.search import result
from entrypoints.search.pages import open_from_the_start, save_pages
from entrypoints.search.result import frame_at_end
from entrypoints.search.run_names import searched
from entrypoints.tags import BEST_TRIAL_RUN_ID, BY_TIME_LIMIT, FEASIBLE, SCORE, SEARCHED, STUDY_KEY, STUDY_LIMITS
from mlflow_sysmetrics.tags import HOST_PREFIX, KIND

SETTINGS = study_settings(folds=3, time_limit_s=90.0, served=False, space={"batch_size": [2, 4, 8, 16, 32]})
REFIT = {"refit_training_time_s": 0.0984, "refit_memory_growth_mb": 1.52, "refit_latency_ms": 2.04}
MODEL = LoggedModel("m-0123", {"test_rmse": 0.64, **REFIT})


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


def test_figures_of_a_study_are_those_of_its_trials(finish, before):
    """Spent by all that say so; saved against the full study, also where a trial cost more than there."""
    before([trial(number) for number in range(1, 11)])
    trials = [each for each in of_every_end() if not each.figures or each.configuration.number not in (8, 9)]
    found = _metrics(finish(trials, TIME))
    counts = {"trials": 8, "stopped": 5, "failed": 1, "diverged": 0, "restarts": 0, "feasible": 2, "skipped": 1}
    spent_s = 1 + 2 + 3 + 0 + 5 + 6 + 7
    times = {"search_time_s": 42.5, "forecast_time_s": 50, "spent_cpu_s": spent_s, "saved_cpu_s": 4}
    assert found.items() >= (counts | times).items()
    assert found["saved_cpu_percent"] == pytest.approx(100 * 4 / 28)
    assert "forecast_error_percent" not in found


def test_repetition_is_no_feasible_trial_of_its_own(finish):
    again = trial(2, configuration=replace(configured(batch_size=2), repeat=1))
    assert _metrics(finish([trial(1), again], TIME))["feasible"] == 1


def test_saving_is_counted_against_the_forecast_without_a_full_study(finish):
    """At the rate at which trials came to their end; whether they converged or not."""
    trials = [trial(4, 0.6), trial(2, None, ending=BY_TIME)]
    trials.append(trial(3, None, ending=BY_TIME, configuration=configured(tol=0.1)))
    found = saving(frame_at_end(finish(trials, TIME)))
    assert (found.full, found.unknown) == (None, 0)
    assert found.figures["saved_cpu_s"] == (4.0 - 2.0) + (4.0 - 3.0)
    assert found.figures["saved_wall_s"] == (8.0 - 4.0) + (8.0 - 6.0)


def test_forecast_has_an_error_where_the_search_was_whole(finish):
    """Nothing was stopped, and nothing was done before."""
    whole = finish([trial(1)])
    assert _metrics(whole)["forecast_error_percent"] == pytest.approx(100 * (50 / 42.5 - 1))
    whole.is_continued = True
    for study in (whole, finish([trial(1)], planned=2)):
        assert not {"forecast_error_percent", "feasible", "spent_cpu_s"} & _metrics(study).keys()


def test_best_is_among_the_trials_that_meet_the_limits(finish):
    """A relative limit is that of all trials, and each run is told what it came to."""
    trials = [trial(number, 0.7 - number / 100) for number in (5, 4, 3, 2, 1)]  # scores improve as costs rise
    study = finish(trials, "training_time_s<=1x median")
    assert study.best.configuration.number == 3
    for each in trials:
        tag = study.run.client.get_run(each.run_id).data.tags[FEASIBLE]
        assert tag == str(each.configuration.number < 4).lower()


def _told(study):
    """What the terminal says of a study, and its run."""
    with mlflow.start_run(run_id=study.run.run_id):
        words = result.tell(study, MODEL, {})
    return words, study.run.client.get_run(study.run.run_id).data


def test_page_and_terminal_say_the_same(finish):
    """Which model to take comes first, then where to look, then what became of the trials."""
    study = finish(of_every_end(), TIME)
    words, run = _told(study)
    assert run.tags[BEST_TRIAL_RUN_ID] == study.best.run_id
    take, look, *rest = run.tags["mlflow.note.content"].splitlines()
    assert take.startswith("**Take algorithm=linear, batch_size=2")
    assert look.startswith("Compare the trials: [score against cost](#/experiments/")
    lines = [line.removeprefix("- ") for line in rest if line.startswith("- ")]
    counts = next(number for number, line in enumerate(lines) if line.startswith("10 trials: "))
    for line in (take, *lines[:counts]):
        assert line.replace("**", "").replace("`", "") in words
    assert "models:/m-0123" in words


LONG = trial(1, None, figures={"training_time_s": 1.1}, ending=BY_TIME)
ODD = trial(2, None, figures={}, status="FAILED", error="ValueError: odd")


@cases(
    "trials, limits, planned, advice",
    {
        "diverged": ([trial(1, diverged=True)], "", 1, "lower the learning rates or length"),
        "failed": ([trial(1, diverged=True), ODD], "", 2, "was ValueError: odd"),
        "stopped": ([trial(1, None, ending=BY_TIME)], TIME, 1, "loosen the limits"),
        "nearest": ([LONG, trial(2), trial(3)], "training_time_s<=1", 3, "by the limits"),
        "all stopped": ([LONG], "training_time_s<=1", 1, "by the limits"),
        "time limit": ([trial(1, by=BY_TIME_LIMIT)], "", 24, "max_rows or folds"),
    },
)
def test_study_without_a_result_says_why_and_what_to_do(finish, trials, limits, planned, advice):
    """In one sentence, which its page begins with. A limit of time is raised where there is one."""
    settings = replace(SETTINGS, time_limit_s=90.0 if planned == 24 else None)
    study = finish([replace(each) for each in trials], limits, planned=planned, settings=settings)
    assert study.best is None
    with mlflow.start_run(run_id=study.run.run_id):
        said = result.tell_no_result(study, {"command_cpu_seconds": 9.0, "command_elapsed_s": 5.0})
    run = study.run.client.get_run(study.run.run_id).data
    assert said.endswith(advice)
    assert run.tags["mlflow.note.content"].startswith(f"**No model was chosen**: {said}.")
    assert run.metrics["trials"] == len(trials)


@cases(
    "limits, figures, why",
    {
        "within noise": ("peak_memory_mb<=100", [99.0, 100.5, 101.0, None], "cannot tell"),
        "1 MB above the median": ("model_memory_mb<=1.2x median", [0.9, 0.9, 0.9, 0.8, 0.8], ""),
    },
)
def test_limit_that_says_nothing_is_named(limits, figures, why):
    """Since it lies within the noise of most trials."""
    metric, trials = limits.partition("<")[0], []
    for number, figure in enumerate(figures, 1):
        known = {"val_rmse": 0.5 + number} | ({metric: figure} if figure else {})
        trials.append(trial(number, figures=known, configuration=configured(alpha=number / 10)))
    said = "".join(limits_applied.answer(study_of(trials, limits).frame).sentences)
    assert said.startswith(f"`{limits}` {why}") if why else not said


def _counted_against(finish):
    """The full study that a saving is counted against, and whether another machine is named."""
    frame = frame_at_end(finish(_trials(), "val_loss<=9"))
    return saving(frame).full, "another machine" in " ".join(answer(frame).sentences)


def _host(cores):
    return {f"{HOST_PREFIX}usable_cores": cores}


WANTED = [configured(batch_size=size, alpha=0.123456789012) for size in (8, 16)]


def _trials(cores="2"):
    return [trial(number, configuration=each, tags=_host(cores)) for number, each in enumerate(WANTED, 1)]


def test_saving_is_counted_against_the_newest_full_study_of_this_machine(finish, before):
    """Or of another one, which is said: what it cost there does not measure what limits save here."""
    assert _counted_against(finish) == (None, False)
    elsewhere = before(_trials("8"))
    assert _counted_against(finish) == (elsewhere, True)
    before(_trials())
    here = before(_trials())
    before(_trials("8"))
    assert _counted_against(finish) == (here, False)
    both = before([*_trials()[:1], *_trials("8")[1:]])  # of a cluster
    assert _counted_against(finish) == (both, False)


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
    assert _counted_against(finish) == (fits, False)


@cases(
    "changes, same",
    {
        "space": ({"space": {"batch_size": [8]}}, True),
        "path": ({"dataset": "/elsewhere/red_wine.csv"}, True),
        **{name: ({name: 3}, False) for name in ("folds", "seed", "length")},
    },
)
def test_study_key_is_what_a_trial_of_one_configuration_depends_on(changes, same):
    """Which configurations there are, and how they are handed out, is not part of it."""
    key = study_of(settings=study_settings()).key
    assert (study_of(settings=study_settings(**changes)).key == key) is same


def test_study_of_other_data_has_another_key():
    study = study_of()
    key, table = study.key, study.table
    study.table = replace(table, frame=table.frame.rename(columns={"alcohol": "proof"}))
    assert study.key != key


def _columns(page):
    return [column.split("`")[1] for column in page.state["selectedColumns"]]


def _saved(study):
    """The pages in the menu of the experiment, by what is on them."""
    found = listed(study.run.client, study.run.experiment_id)
    return {name.rpartition(" · ")[2]: page for name, page in found.items()}


def test_study_saves_its_pages_and_those_of_its_experiment(finish):
    """All are views, and each link opens its own; those of limits have them in words, on one figure together."""
    limits = "training_time_s<=1, val_loss patience 3, val_loss<=2"
    study = finish([trial(1), trial(2)], limits)
    links, saved = save_pages(study, study.frame), _saved(study)
    assert len(saved) == 8
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
    save_pages(study, study.frame)
    assert {page.id for page in _saved(study).values()} == {page.id for page in saved.values()}
