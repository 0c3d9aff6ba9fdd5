"""What a study finds, says, and leaves in its run, after its search."""

import json
import re
from dataclasses import replace

import mlflow
import pytest
from cases import cases, tables
from commands import in_use
from pages import listed
from records import BY_TIME, FULL, TIME, of_every_end, spaces_around, store, store_run, study_of, study_settings, trial
from reference import configured

from entrypoints.models.best_model import LoggedModel
from entrypoints.reporting.questions import limits_applied
from entrypoints.reporting.questions.limits_saved import answer, saving
from entrypoints.runs.recorded import RecordedRun
from entrypoints.runs.tags import BEST_TRIAL_RUN_ID, FEASIBLE, NOTE, SEARCHED, STUDY_KEY, STUDY_LIMITS
from entrypoints.search.run_names import searched
from entrypoints.study import result
from entrypoints.study.pages import open_from_the_start, save_pages
from entrypoints.study.result import frame_at_end
from mlflow_sysmetrics.recording.tags import HOST_PREFIX, KIND

TABLES = tables(__file__, "study.yaml")
SETTINGS = study_settings(folds=3, time_limit_s=90.0, served=False, space={"batch_size": [2, 4, 8, 16, 32]})
REFIT = {"refit_training_time_s": 0.0984, "refit_memory_growth_mb": 1.52, "refit_latency_ms": 2.04}
MODEL = LoggedModel("m-0123", {"test_rmse": 0.64, **REFIT})


def _metrics(study):
    return result.metrics(study, frame_at_end(study))


@pytest.fixture
def before(client, empty_store):
    """Have a study of these trials run before, in a store of its own that is in use, and return its id."""

    def ran(trials, status="FINISHED", tags=None):
        about = FULL | {KIND: "study", STUDY_KEY: study_of(settings=SETTINGS).key}
        about[SEARCHED] = json.dumps(searched(spaces_around(each.configuration for each in trials)))
        run_id = store_run(client, "a study", about | (tags or {}), {}, {}, status)
        for each in trials:
            store(client, run_id, each)
        return run_id

    with in_use(empty_store):
        yield ran


@pytest.fixture
def finish(before):
    """What is asked of a study whose trials these are, in the same store."""

    def finished(trials, limits="", settings=SETTINGS, planned=0):
        client = mlflow.MlflowClient()
        run_id = before(trials, "RUNNING")
        study = study_of(trials, limits, settings=settings, planned=planned)
        study.run = RecordedRun.of(client, client.get_run(run_id))
        study.first_start = 1000.0
        study.last_end = 1042.5
        result.decide(study)
        return study

    return finished


def test_figures_of_a_study_are_those_of_its_trials(finish, before):
    """Spent by all that say so; saved against the full study, also where a trial cost more than there."""
    before([trial(number) for number in range(1, 11)])
    trials = [each for each in of_every_end() if not each.figures or each.configuration.number not in (8, 9)]
    found = _metrics(finish(trials, TIME))
    assert found.items() >= TABLES["figures of a study"].items()
    assert "forecast_error_percent" not in found


def test_saving_is_counted_against_the_forecast_without_a_full_study(finish):
    """At the rate at which trials came to their end, or by the steps that were done."""
    begun = {"training_time_s": 5.0, "elapsed_s": 10.0, "cpu_seconds": 5.0, "steps": 15.0}  # of 60
    trials = [trial(4), trial(2, ending=BY_TIME), trial(3, ending=BY_TIME)]
    trials.append(trial(5, figures=begun, ending=BY_TIME))
    found = saving(frame_at_end(finish(trials, TIME)))
    assert found.full is None
    assert found.figures["saved_cpu_s"] == (4.0 - 2.0) + (4.0 - 3.0) + (20.0 - 5.0)
    assert found.figures["saved_wall_s"] == (8.0 - 4.0) + (8.0 - 6.0) + (40.0 - 10.0)


def test_forecast_has_an_error_where_the_search_was_whole(finish):
    """Nothing was stopped, and nothing was done before. A search that learns has no forecast."""
    whole = finish([trial(1)])
    assert _metrics(whole)["forecast_error_percent"] == pytest.approx(100 * (50 / 42.5 - 1))
    whole.is_continued = True
    for study in (whole, finish([trial(1)], planned=2)):
        assert not {"forecast_error_percent", "feasible", "spent_cpu_s"} & _metrics(study).keys()
    learned = finish([trial(1)])
    learned.forecasts = {}
    assert not {"forecast_error_percent", "forecast_time_s"} & _metrics(learned).keys()


def test_best_is_among_the_trials_that_meet_the_limits(finish):
    """A relative limit is that of all trials, and each run is told what it came to."""
    trials = [trial(number, 0.7 - number / 100) for number in (5, 4, 3, 2, 1)]  # scores improve as costs rise
    study = finish(trials, "training_time_s<=1x median")
    assert study.best.configuration.number == 3
    for each in trials:
        tag = study.run.client.get_run(each.run_id).data.tags[FEASIBLE]
        assert tag == str(each.configuration.number < 4).lower()


def test_page_and_terminal_say_the_same(finish):
    """Which model to take comes first, then where to look, then what became of the trials."""
    study = finish(of_every_end(), TIME)
    with mlflow.start_run(run_id=study.run.run_id):
        words = result.tell(study, MODEL, {})
    tags = study.run.client.get_run(study.run.run_id).data.tags
    assert tags[BEST_TRIAL_RUN_ID] == study.best.run_id
    take, look, *rest = tags[NOTE].splitlines()
    assert take.startswith("**Take algorithm=linear, batch_size=2")
    assert look.startswith("Compare the trials: [score against cost](#/experiments/")
    (counts,) = [line for line in rest if line.startswith("- 10 trials: ")]
    for line in (take, counts.removeprefix("- ")):
        assert line.replace("**", "").replace("`", "") in words
    assert MODEL.uri in words


@cases("trials, limits, planned, advice", TABLES["studies without a result"])
def test_study_without_a_result_says_why_and_what_to_do(finish, trials, limits, planned, advice):
    """In one sentence, which its page begins with. A limit of time is raised where there is one."""
    settings = replace(SETTINGS, time_limit_s=90.0 if planned == 24 else None)
    made = [trial(number, **values) for number, values in enumerate(trials, 1)]
    study = finish(made, limits, settings, planned)
    assert study.best is None
    with mlflow.start_run(run_id=study.run.run_id):
        why = result.tell_no_result(study, {})
    run = study.run.client.get_run(study.run.run_id).data
    assert why.endswith(advice)
    assert run.tags[NOTE].startswith(f"**No model was chosen**: {why}.")
    assert run.metrics["trials"] == len(trials)


@cases("limits, figures, is_named", TABLES["limits near what trials cost"])
def test_limit_within_the_noise_of_most_trials_is_named(limits, figures, is_named):
    metric = limits.partition("<")[0]
    trials = []
    for number, figure in enumerate(figures, 1):
        known = {"val_rmse": 0.5 + number, metric: figure}
        trials.append(trial(number, figures=known, configuration=configured(alpha=number / 10)))
    found = limits_applied.answer(study_of(trials, limits).frame)
    assert bool(found.sentences) is is_named


def _counted_against(finish):
    """The full study that a saving is counted against, and whether another machine is named."""
    frame = frame_at_end(finish(_trials(), "val_loss<=9"))
    return saving(frame).full, "another machine" in " ".join(answer(frame).sentences)


WANTED = [configured(batch_size=size, alpha=0.123456789012) for size in (8, 16)]


def _trials(cores="2"):
    tags = {f"{HOST_PREFIX}usable_cores": cores}
    return [trial(number, configuration=each, tags=tags) for number, each in enumerate(WANTED, 1)]


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


def _key(**changes):
    return study_of(settings=study_settings(**changes)).key


@cases("name", ["folds", "seed", "length"])
def test_study_key_is_what_a_trial_of_one_configuration_depends_on(name):
    assert _key(**{name: 3}) != _key()


def test_study_key_does_not_depend_on_the_space_or_the_path():
    """Which configurations there are, and how they are handed out, is not part of it."""
    assert _key(space={"batch_size": [8]}, dataset="/elsewhere/red_wine.csv") == _key()


def test_study_of_other_data_has_another_key():
    study = study_of()
    key = study.key
    table = study.table
    study.table = replace(table, frame=table.frame.rename(columns={"alcohol": "proof"}))
    assert study.key != key


def _opened(text):
    """The pages that links in a text open."""
    return re.findall("viewStateShareKey=([^&]*)&", text)


def _columns(page):
    return [column.split("`")[1] for column in page.state["selectedColumns"]]


def _saved(study):
    """The pages in the menu of the experiment, by what is on them."""
    found = listed(study.run.client, study.run.experiment_id)
    return {name.rpartition(" · ")[2]: page for name, page in found.items()}


def test_study_saves_its_pages_and_those_of_its_experiment(finish):
    """All are views, and each link opens its own; those of limits have them in words, on one figure together."""
    limits = "training_time_s<=1, val_loss<=2"
    study = finish([trial(1), trial(2)], limits)
    links = save_pages(study, study.frame)
    saved = _saved(study)
    assert len(saved) == 8
    opened = set(_opened(str(links)))
    assert len(opened) == len(links)
    assert opened <= {page.id for page in saved.values()}
    assert limits in saved["within the limits"].headings
    assert _columns(saved["within the limits"])[2:5] == ["val_rmse", "training_time_s", "val_loss"]


def test_pages_are_there_from_the_start(finish, capsys):
    """With the costs that trials will have; the end makes the same ones again."""
    study = finish([], "training_time_s<=1")
    study.spaces = spaces_around([configured(batch_size=2), configured(batch_size=4)])
    open_from_the_start(study)
    saved = _saved(study)
    assert _opened(capsys.readouterr().out) == [saved["score against cost"].id]
    assert _columns(saved["table"])[:3] == ["batch_size", "val_rmse", "training_time_s"]
    save_pages(study, study.frame)
    again = _saved(study)
    assert {page.id for page in again.values()} == {page.id for page in saved.values()}
