"""Before the first trials: processes wait for each other, models are timed, and what trials do is counted."""

import logging
import math
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from cases import cases, tables
from records import study_of, study_settings
from reference import MLP_CLASSIFIER, bundled, configured

from entrypoints.options.length import Length
from entrypoints.study import warm_up as warm_ups
from entrypoints.study.warm_up import (
    BETWEEN_TRIALS_S,
    WarmUp,
    announce,
    forecast,
    representatives,
    search_seconds,
    time_kinds,
    trial_costs,
)

FOLDS = 4
NO_TIME = dict.fromkeys(("step_s", "fit_s", "validate_s", "ending_s"), 0.0)
DATA = bundled("red_wine", FOLDS)
SHORT_S = 0.2
LONG_S = 300.0
KINDS = [configured()]


@pytest.fixture
def other():
    """Does what another process would."""
    with ThreadPoolExecutor() as other:
        yield other


def _still_waits(waiting):
    return not wait([waiting], timeout=SHORT_S).done


@pytest.mark.usefixtures("local_ray")
def test_all_wait_until_the_last_has_come(other):
    """Two of three wait; when the third comes all three time each kind, and leave it. One that comes late does not."""
    warm_up = WarmUp(3, KINDS)
    waiting = [other.submit(warm_up.join, DATA) for _ in range(2)]
    assert all(_still_waits(each) for each in waiting)
    assert warm_up.timed() == []
    assert warm_up.join(DATA)
    assert [each.result(LONG_S) for each in waiting] == [True, True]
    assert [len(timed) for timed in warm_up.timed()] == [1] * 3
    assert not warm_up.join(DATA)


@pytest.mark.usefixtures("local_ray")
@cases("stage, given", [("join", [DATA]), ("begin", [])])
def test_the_others_go_on_without_one_that_does_not_come(stage, given, monkeypatch, caplog, other):
    """Its process is late, or has died: the first that gives up warns, and lets the others go."""
    warm_up = WarmUp(3, KINDS)
    if stage == "begin":
        assert list(other.map(warm_up.join, [DATA] * 3, timeout=LONG_S)) == [True] * 3
    patient = other.submit(getattr(warm_up, stage), *given)
    assert _still_waits(patient)  # until the last has come
    monkeypatch.setattr(warm_ups, "WAIT_TIMEOUT_S", 0.0)
    monkeypatch.setattr(warm_ups, "BEGIN_TIMEOUT_S", 0.0)
    with caplog.at_level(logging.WARNING, warm_ups.logger.name):
        getattr(warm_up, stage)(*given)
        patient.result(LONG_S)
    assert [record.getMessage() for record in caplog.records] == [
        "The study starts without waiting for all of its processes: not within 0 s"
    ]


@cases("batch_size, epochs, steps, timing, seconds", tables(__file__, "study.yaml")["times of trials"])
def test_trial_costs_what_all_that_it_does_takes(batch_size, epochs, steps, timing, seconds):
    """On all folds: the steps, the validation at each report, and the evaluation at the end."""
    configuration = configured(batch_size=batch_size, length=Length(epochs, steps))
    costs = trial_costs(configuration, DATA, **NO_TIME | timing)
    assert costs["elapsed_s"] == pytest.approx(FOLDS * seconds + BETWEEN_TRIALS_S)
    fit_s = timing.get("fit_s", 0.0)
    assert costs["mean_step_time_ms"] == 1000 * fit_s
    assert costs["training_time_s"] == steps * fit_s


def test_trials_are_handed_out_in_order_to_the_first_free_core():
    """The search takes as long as its busiest core, which a long trial at the end makes idle others wait for."""
    assert search_seconds([10, 10, 10, 90], cpus=2) == 100
    assert search_seconds([90, 10, 10, 10], cpus=2) == 90


def test_trial_has_the_time_of_its_algorithm_and_batch_size():
    """The mean of what several processes have timed; a kind that none could time has the mean of the others."""
    trials = [configured(batch_size=size, learning_rate=rate) for size in (8, 64, 512) for rate in (0.1, 0.01)]
    kinds = representatives(trials)
    assert [each.batch_size for each in kinds] == [8, 64, 512]
    assert {each.hyperparameters["learning_rate"] for each in kinds} == {0.1}
    first = [{"elapsed_s": 1.0}, {"elapsed_s": 7.0}, None]
    second = [{"elapsed_s": 3.0}, {"elapsed_s": 5.0}, None]
    assert list(forecast(trials, [first, second]).values()) == [2.0, 2.0, 6.0, 6.0, 4.0, 4.0]


def test_larger_models_are_timed_as_such():
    """Real steps, on the real clock; what is between them is not training time."""
    layers = ([2], [800, 800])
    trials = [configured(MLP_CLASSIFIER, hidden_layer_sizes=each) for each in layers]
    small, large = time_kinds(trials, bundled("diabetes"))
    for name, cost in small.items():
        assert 0 < cost < large[name]
    for costs in (small, large):
        assert 3 * costs["training_time_s"] < costs["elapsed_s"]


def test_time_for_the_forecast_is_bounded(monkeypatch):
    """However many kinds there are."""
    monkeypatch.setattr(warm_ups, "ALL_WITHIN_S", 0.001)  # the first kind takes longer
    first, *others = time_kinds([configured(batch_size=size) for size in (8, 64, 512)], DATA)
    assert first
    assert others == [None, None]


@pytest.mark.filterwarnings("error")
@cases(
    "wrong, timed",
    {
        "overflows-after-some-steps": (configured(learning_rate=1e60), True),
        "raises": (configured("sklearn.naive_bayes.MultinomialNB"), False),
    },
)
def test_model_that_cannot_be_trained_does_not_end_the_forecast(wrong, timed):
    """What is wrong, its trial will say; steps before an overflow are like any other's."""
    (timing,) = time_kinds([wrong], bundled("red_wine" if wrong.algorithm == "linear" else "diabetes"))
    assert bool(timing) is timed


def _announced(capsys, trials, left, search_s, left_s=math.inf, **settings):
    study = study_of(settings=study_settings(**settings), configurations=[configured()] * trials)
    announce(study, left, 2, search_s, left_s)
    return capsys.readouterr().out


def test_long_study_is_told_how_to_shorten_it(capsys):
    """In hours, with each parameter that helps, and how many trials an hour holds, unless its time is limited."""
    said = _announced(capsys, 240, 200, 5 * 3600.0 + 120, folds=4)
    assert said.startswith("Search: 200 of 240 trials of 4 folds on 2 CPU cores, about 5 h 2 min\nThis study takes")
    assert "set search=tpe, max_trials (about 39 of the 200 take an hour)," in said
    assert "max_rows, folds (now 4), length, or" in said
    assert "max_trials (about 1 of the 3 take" in _announced(capsys, 3, 3, 40 * 3600.0)
    said = _announced(capsys, 3, 3, 40 * 3600.0, 30.0, time_limit_s=60.0)
    within = "at most 30 s (time_limit_s=60 is the whole command's)"
    assert said == f"Search: 3 trials of 10 folds on 2 CPU cores, about 40 h 0 min, {within}\n"


@pytest.mark.usefixtures("local_ray")
def test_forest_takes_about_a_tenth_of_the_search():
    """On fewer rows where the search is short, but not fewer than are timed; on all where it is long."""
    data = bundled("red_wine", 20)
    forest = configured("forest", batch_size=None)
    short = WarmUp(1, KINDS)
    short.tell_forecast(0.01)
    long = WarmUp(1, KINDS)
    long.tell_forecast(1e6)
    assert short.reference_rows(forest, data) == warm_ups.TIMED_ROWS
    assert long.reference_rows(forest, data) is None
