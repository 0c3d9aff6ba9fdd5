"""What a search that learns tries: by made-up scores and costs, without Ray and without training."""

import random
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from cases import cases, tables
from optuna.trial import TrialState
from records import TIME, limits_of, study_of, study_settings, trial
from reference import bundled

from entrypoints.limits.cost_history import CostHistory
from entrypoints.models.algorithms import find_all
from entrypoints.search import sampler
from entrypoints.search.grid import configurations
from entrypoints.search.sampler import START_UP, Cheap, Sampler, Tried, TuneSampler, first_allowed

TABLES = tables(__file__, "search.yaml")
LEVELS = [2**level for level in range(8)]
ONE = [{"rate": rate, "size": size, "word": word} for rate, size, word in product(LEVELS, LEVELS, "ab")]
SEVERAL = [{"algorithm": "sgd", "rate": rate, "size": size} for rate, size in product(LEVELS, LEVELS)]
SEVERAL += [{"algorithm": "forest", "trees": trees, "size": size} for trees, size in product(LEVELS, LEVELS)]
random.Random(0).shuffle(ONE)
random.Random(0).shuffle(SEVERAL)


def _score(choice):
    """Least at a rate of 8, a size of 16 and the word b; a forest has trees in place of a rate."""
    rate = choice.get("rate") or choice["trees"]
    away = abs(rate.bit_length() - 4) + abs(choice["size"].bit_length() - 5)
    return away + (choice.get("word") == "a") + ("trees" in choice)


def _search(candidates=ONE, trials=60, *, seed=0, known=(), pick=first_allowed, largest=128, stops=False, **allowed):
    """What a search with this budget tries, one after the other, after what it has tried before.

    Larger sizes than the ``largest`` break a limit, which stops them or does not.
    """
    known = list(known)
    sampler = Sampler(candidates, seed, pick)
    while len(known) < trials:
        i = sampler.next(known, **allowed)
        if i is None:
            break
        excess = max(0.0, candidates[i]["size"] / largest - 1)
        if excess and stops:
            known.append(Tried(i, TrialState.PRUNED, excess=excess))
        else:
            known.append(Tried(i, TrialState.COMPLETE, _score(candidates[i]), excess))
    return known


@cases("candidates", {"one algorithm": ONE, "several": SEVERAL})
def test_best_candidate_is_found_long_before_all_are_tried(candidates):
    """Among 128 within 60; none is suggested twice, and in the end all are."""
    indices = [each.i for each in _search(candidates)]
    assert min(_score(candidates[i]) for i in indices) == min(map(_score, candidates))
    assert len(set(indices)) == len(indices) == 60
    assert {each.i for each in _search(candidates[:40], trials=99)} == set(range(40))


def test_first_suggestions_are_the_first_candidates():
    """In whose random order a grid would begin: there is nothing to learn from yet."""
    indices = [each.i for each in _search(trials=START_UP + 1)]
    assert indices[:-1] == list(range(START_UP))
    assert indices[-1] != START_UP


@cases("stops", {"stopped": True, "at its end": False})
def test_what_breaks_a_limit_is_avoided(stops):
    """However that became known, and although the best scores lie there; the best within the limit is found."""
    tried = _search(trials=40, largest=8, stops=stops)[START_UP:]
    within = [each for each in tried if not each.excess]
    assert len(within) > 0.7 * len(tried)  # half of the candidates are
    best = min(within, key=lambda each: each.score)
    assert ONE[best.i] == {"rate": 8, "size": 8, "word": "b"}


def test_what_is_not_allowed_is_replaced_by_the_nearest_that_is():
    """Also among the first. Where nothing is allowed there is no suggestion."""

    def allowed(indices):
        return [ONE[i]["size"] != 16 for i in indices]

    tried = [ONE[each.i] for each in _search(allowed=allowed)]
    assert len(tried) == 60
    assert 16 not in {choice["size"] for choice in tried}
    assert min(map(_score, tried)) == 1
    assert _search(allowed=lambda indices: [False] * len(indices)) == []


def test_no_value_is_taken_over_from_another_algorithm():
    """Where the best one is used up, the other follows in its random order, not near the values of the best."""
    candidates = [{"algorithm": name, "size": size} for name in ("forest", "sgd") for size in range(16)]
    known = [Tried(i, TrialState.COMPLETE, 100 - i if i < 16 else 1000) for i in range(24)]
    assert Sampler(candidates, 0).next(known) == 24


def test_search_that_goes_on_suggests_what_it_would_have_suggested():
    """From what is known alone; another seed suggests others, and so does another score."""
    whole = _search()
    begun = whole[:25]
    assert _search(known=begun) == whole
    assert _search(seed=1) != whole
    others = [each._replace(score=-each.score) for each in begun]
    assert _search(known=others)[25:] != whole[25:]


SPACE = {"batch_size": [8, 64], "learning_rate": [0.1, 0.01, 0.001], "alpha": [0.1, 0.01]}


def _study(limits="", dataset="red_wine", **settings):
    """Of twelve configurations, all of which it tries if the settings do not say otherwise."""
    asked = study_settings(search="tpe", **({"space": SPACE, "max_trials": 12} | settings))
    data = bundled("red_wine", 3)
    tried = configurations(asked, data.split, find_all(data.task, "linear"))
    return study_of((), limits, dataset=dataset, settings=asked, configurations=tried)


def _searcher(study, at_once=99, forecasts=dict):
    return TuneSampler(study, None, at_once, forecasts)


def _suggested(searcher):
    """The next configuration, where one more may run."""
    return searcher.suggest("any id")["configuration"]


def test_as_many_run_as_may_and_each_number_is_taken_once():
    """The next begins when any has ended; what runs several times does so within the trials that there are."""
    study = _study(max_trials=8)
    repeated = study.configurations.pop()
    study.configurations += [replace(repeated, repeat=repeat, number=3 * repeat + 2) for repeat in range(3)]
    searcher = _searcher(study, at_once=2)
    handed_out = [_suggested(searcher), _suggested(searcher)]
    for _ in range(study.size - 2):
        assert searcher.suggest("any id") is None
        done = handed_out[-2]
        study.trials[done.id] = trial(done.number, done.searched["learning_rate"], done)
        handed_out.append(_suggested(searcher))
    assert [each.number for each in handed_out] == list(range(1, 11))
    assert len({each.id for each in handed_out}) == 10
    assert sorted(Counter(each.key for each in handed_out).values()) == [1] * 7 + [3]


def test_what_an_earlier_command_began_comes_first():
    """Then what was neither done nor begun; nothing is left when all was tried."""
    study = _study()
    first, second, *others = study.configurations
    study.trials = {"t1": trial(1, 0.5, first), "t3": trial(3, 0.5, second)}
    begun = others[3]
    study.open_runs = {begun.id: "a run"}
    searcher = _searcher(study)
    handed_out = [_suggested(searcher) for _ in range(10)]
    assert [each.number for each in handed_out] == [2, *range(4, 13)]
    assert handed_out[0].id == begun.id
    assert {each.id for each in handed_out} == {each.id for each in others}
    assert searcher.suggest("any id") == TuneSampler.FINISHED


@cases("dataset, metric, sign", [("red_wine", "val_rmse", 1), ("diabetes", "val_accuracy", -1)])
def test_search_is_told_how_each_trial_ended(monkeypatch, dataset, metric, sign):
    """A score, the less the better, of those that came to their end, or were predicted to; and by how much of a limit.

    One that was stopped counts with what it would have cost, not with its costs so far.
    """
    study = _study(limits=TIME, dataset=dataset)
    expected = []
    for i, (end, score, excess) in enumerate(TABLES["ends of trials"].values()):
        values = {"figures": {metric: 0.5, "training_time_s": 3.0}} | end
        study.trials[f"t{i}"] = trial(i + 1, configuration=study.configurations[i], **values)
        if score is None:
            expected.append(Tried(i, TrialState.PRUNED, excess=excess))
        else:
            expected.append(Tried(i, TrialState.COMPLETE, sign * score, excess))
    told = []
    monkeypatch.setattr(Sampler, "next", lambda _, history, allowed: told.extend(history))
    assert _searcher(study).suggest("any id") == TuneSampler.FINISHED
    assert told == expected


def test_cheap_candidates_are_asked_for_first():
    """Of the cheaper half of each algorithm, which take turns, in random order."""
    algorithms = [choice["algorithm"] for choice in SEVERAL]
    seconds = [float(choice["size"] + 1000 * ("trees" in choice)) for choice in SEVERAL]
    tried = _search(SEVERAL, 4, pick=Cheap(algorithms, lambda: seconds))
    first = [SEVERAL[each.i] for each in tried]
    assert first[0]["algorithm"] != first[1]["algorithm"]
    cheap = [choice for choice in SEVERAL if choice["size"] <= 8]
    for own in ("rate", "trees"):
        assert [choice for choice in first if own in choice] == [choice for choice in cheap if own in choice][:2]


def test_later_candidates_are_taken_whatever_they_take():
    pick = Cheap(["one"] * 20, lambda: [9.0, *[0.0] * 19])
    assert pick(range(15), lambda indices: [True] * len(indices)) == 0


@cases("race", [True, False])
def test_search_knows_what_candidates_take_once_the_first_trial_has_begun(race):
    """Then the first ones are of the cheaper half; with race=off they are what a grid would begin with."""
    study = _study(race=race)
    first = study.configurations[0]
    slow = {each.id: float(each.batch_size == first.batch_size) for each in study.configurations}
    searcher = _searcher(study, forecasts=lambda: slow)
    assert _suggested(searcher) == first
    study.first_start = 0.0
    suggested = [_suggested(searcher) for _ in range(4)]
    assert (suggested == study.configurations[1:5]) is not race
    assert (first.batch_size not in {each.batch_size for each in suggested}) is race


def _rival(study):
    """What the next trial of a study races against."""
    return _searcher(study).suggest("any id").get("rival")


@pytest.fixture
def raced():
    """A study of six complete trials: the later, the better and the dearer; the first has diverged."""
    study = _study(limits="training_time_s<=4.5")
    for number, each in enumerate(study.configurations[:6], 1):
        folds = [{"fold": fold, "val_rmse": 1 - number / 10 + fold * number / 1000} for fold in range(3)]
        study.trials[f"t{number}"] = trial(number, 1 - number / 10, each, folds=folds, diverged=number == 1)
    return study


def test_trials_race_against_the_best_that_meets_the_limits_once_five_are_complete(raced):
    """With its cost, where the cheapest that is as good is chosen."""
    rival = _rival(raced)
    assert (rival.score, rival.higher_is_better, rival.cost) == ("val_rmse", False, None)
    assert rival.mean == pytest.approx(1 - 4 / 10 + 4 / 1000)
    raced.settings = replace(raced.settings, choose="cheapest")
    assert _rival(raced).cost == ("training_time_s", 4.0)
    raced.trials.pop("t6")
    assert _rival(raced) is None


def _shows_noise(study):
    repeated = study.configurations.pop()
    study.configurations += [replace(repeated, number=99), replace(repeated, repeat=1, number=7)]


def _is_off(study):
    study.settings = replace(study.settings, race=False)


def _is_served(study):
    study.limits = limits_of("served_p95_ms<=20")


@cases("change", [_shows_noise, _is_off, _is_served])
def test_trial_that_shows_the_noise_or_is_judged_as_served_does_not_race(raced, change):
    """Nor any where that is off."""
    change(raced)
    assert _rival(raced) is None


def test_what_is_predicted_to_break_a_limit_is_not_suggested(monkeypatch):
    """A batch of 64 takes 10 s, where 1 s is allowed: once that is known, those of 8 are suggested, and then none."""
    study = _study(limits="training_time_s<=1")
    history = CostHistory(1000, study.limits)
    monkeypatch.setattr(sampler, "ask", lambda _, limits, configurations: history.outlooks(configurations))
    for configuration in study.configurations[:6] * 3:
        cost = {"training_time_s": 10.0 if configuration.batch_size == 64 else 0.1}
        history.record(trial(1, configuration=configuration, figures=cost))
    searcher = _searcher(study)
    assert [_suggested(searcher).batch_size for _ in range(6)] == [8] * 6
    assert searcher.suggest("any id") == TuneSampler.FINISHED
