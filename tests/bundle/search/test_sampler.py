"""What a search that learns tries: by made-up scores and costs, without Ray and without training."""

import random
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from cases import cases
from optuna.trial import TrialState
from records import BY_TIME, TIME, study_of, study_settings, trial
from reference import bundled

from entrypoints.limits.cost_history import CostHistory
from entrypoints.limits.costs import metrics
from entrypoints.limits.grammar import Limits
from entrypoints.models.algorithms import find_all
from entrypoints.models.racing import Lost
from entrypoints.search import sampler
from entrypoints.search.grid import configurations
from entrypoints.search.sampler import START_UP, Cheap, Sampler, Tried, TuneSampler, first_allowed
from mlflow_sysmetrics.tags import BY_PERSON

RATES = [10.0**-each for each in range(8)]
ONE = [{"rate": rate, "size": 2**size, "word": word} for rate, size, word in product(RATES, range(8), ("a", "b"))]
SEVERAL = [{"algorithm": "sgd", "rate": rate, "size": 2**size} for rate, size in product(RATES, range(8))] + [
    {"algorithm": "forest", "trees": trees, "size": 2**size} for trees, size in product(range(10, 90, 10), range(8))
]
random.Random(0).shuffle(ONE)
random.Random(0).shuffle(SEVERAL)


def _score(choice):
    """Least at a rate of 1e-3 or 50 trees, and a size of 16."""
    away = abs(RATES.index(choice["rate"]) - 3) if "rate" in choice else 1 + abs(choice["trees"] - 50) / 10
    return away + abs(choice["size"].bit_length() - 5) + (choice.get("word") == "a")


def _search(
    candidates, trials=60, seed=0, excess=lambda choice: 0.0, stops=True, known=(), pick=first_allowed, **allowed
):
    """What a search with this budget tries, one after the other, after what it has tried before."""
    sampler, known = Sampler(candidates, seed, pick), list(known)
    while len(known) < trials and (i := sampler.next(known, **allowed)) is not None:
        too_much = excess(candidates[i])
        if too_much and stops:
            known.append(Tried(i, TrialState.PRUNED, excess=too_much))
        else:
            known.append(Tried(i, TrialState.COMPLETE, _score(candidates[i]), too_much))
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
    indices = [each.i for each in _search(ONE, trials=START_UP + 1)]
    assert indices[:-1] == list(range(START_UP))
    assert indices[-1] != START_UP


@cases("stops", {"stopped": True, "at its end": False})
def test_what_breaks_a_limit_is_avoided(stops):
    """However that became known, and although the best scores lie there; the best within the limit is found."""

    def excess(choice):
        return max(0.0, choice["size"] / 8 - 1)

    limited, free = (_search(ONE, trials=40, excess=of, stops=stops)[START_UP:] for of in (excess, lambda choice: 0.0))
    broken, usual = ([excess(ONE[each.i]) > 0 for each in tried].count(True) for tried in (limited, free))
    assert broken < 0.7 * usual
    best = min((each for each in limited if not each.excess), key=lambda each: each.score)
    assert ONE[best.i] == {"rate": RATES[3], "size": 8, "word": "b"}


def test_what_is_not_allowed_is_replaced_by_the_nearest_that_is():
    """Also among the first. Where nothing is allowed there is no suggestion."""

    def allowed(indices):
        return [ONE[i]["size"] != 16 for i in indices]

    tried = [ONE[each.i] for each in _search(ONE, allowed=allowed)]
    assert len(tried) == 60
    assert {choice["size"] for choice in tried} == {2**size for size in range(8)} - {16}
    assert min(map(_score, tried)) == 1
    assert _search(ONE, allowed=lambda indices: [False] * len(indices)) == []


def test_search_that_goes_on_suggests_what_it_would_have_suggested():
    """From what is known alone; another seed suggests others, and so does another score."""
    whole = _search(ONE)
    assert _search(ONE, known=whole[:25]) == whole
    assert _search(ONE, seed=1) != whole
    assert _search(ONE, known=[each._replace(score=-each.score) for each in whole[:25]])[25:] != whole[25:]


SPACE = {"batch_size": [8, 64], "learning_rate": [0.1, 0.01, 0.001], "alpha": [0.1, 0.01]}


def _study(trials=(), limits="", dataset="red_wine", **settings):
    """Of twelve configurations, if not of another space; some trials have been run."""
    asked = study_settings(search="tpe", **({"space": SPACE} | settings))
    data = bundled("red_wine", 3)
    tried = configurations(asked, data.split, find_all(data.task, "linear"), 0)
    return study_of(trials, limits, dataset=dataset, settings=asked, configurations=tried)


def _suggested(searcher):
    """The next configuration, where one more may run."""
    return searcher.suggest("any id")["configuration"]


def _end(study, configuration):
    ended = trial(configuration.number, configuration.searched["learning_rate"], configuration)
    study.trials[ended.trial_id] = ended


def test_as_many_run_as_may_and_each_number_is_taken_once():
    """The next begins when any has ended; what runs several times does so within the trials that there are."""
    study = _study(max_trials=8)
    repeated = study.configurations.pop()
    study.configurations += [replace(repeated, repeat=repeat, number=3 * repeat + 2) for repeat in range(3)]
    searcher = TuneSampler(study, None, at_once=2)
    handed_out = [_suggested(searcher), _suggested(searcher)]
    for _ in range(study.size - 2):
        assert searcher.suggest("any id") is None
        _end(study, handed_out[-2])
        handed_out.append(_suggested(searcher))
    assert [each.number for each in handed_out] == list(range(1, 11))
    assert len({each.id for each in handed_out}) == 10
    assert sorted(Counter(each.key for each in handed_out).values()) == [1] * 7 + [3]


def test_what_an_earlier_command_began_comes_first():
    """Then what was neither done nor begun; nothing is left when all was tried."""
    study = _study(max_trials=12)
    for number, each in zip((1, 3), study.configurations[:2], strict=True):
        study.trials[f"t{number}"] = trial(number, 0.5, each)
    begun = study.configurations[5]
    study.open_runs = {begun.id: "a run"}
    searcher = TuneSampler(study, None, at_once=99)
    handed_out = [_suggested(searcher) for _ in range(10)]
    assert [each.number for each in handed_out] == [2, *range(4, 13)]
    assert handed_out[0].id == begun.id
    assert {each.id for each in handed_out} == {each.id for each in study.configurations[2:]}
    assert searcher.suggest("any id") == TuneSampler.FINISHED


EXPECTED = {"training_time_s": 6.0}
RACED = {"ending": Lost(0.9, "why").tags, "expected": EXPECTED | {"val_rmse": 0.9, "val_accuracy": 0.9}}
ENDS = [
    ({}, TrialState.COMPLETE, 0.5, 0.5),
    ({"figures": {"training_time_s": 1.0}}, TrialState.PRUNED, None, 0.0),  # not defined for its predictions
    ({"ending": BY_TIME, "expected": EXPECTED}, TrialState.PRUNED, None, 2.0),
    ({"diverged": True}, TrialState.PRUNED, None, 0.5),
    ({"by": BY_PERSON}, TrialState.PRUNED, None, 0.5),
    (RACED, TrialState.COMPLETE, 0.9, 2.0),
    (RACED | {"diverged": True}, TrialState.PRUNED, None, 2.0),
]


@cases("dataset, metric, sign", [("red_wine", "val_rmse", 1), ("diabetes", "val_accuracy", -1)])
def test_search_is_told_how_each_trial_ended(monkeypatch, dataset, metric, sign):
    """A score, the less the better, of those that came to their end, or were predicted to; and by how much of a limit.

    One that was stopped counts with what it would have cost, not with its costs so far.
    """
    study, told = _study(limits=TIME, dataset=dataset, max_trials=12), []
    expected = []
    for i, (end, state, score, excess) in enumerate(ENDS):
        figures = {metric: 0.5, "training_time_s": 3.0}
        study.trials[f"t{i}"] = trial(i + 1, configuration=study.configurations[i], **{"figures": figures} | end)
        expected.append(Tried(i, state, score and sign * score, excess))
    searcher = TuneSampler(study, None, at_once=1)
    monkeypatch.setattr(Sampler, "next", lambda _, history, allowed: told.extend(history))
    assert searcher.suggest("any id") == TuneSampler.FINISHED
    assert told == expected


def test_cheap_candidates_are_asked_for_first():
    """Of the cheaper half of each algorithm, which take turns, in random order."""
    algorithms = [choice["algorithm"] for choice in SEVERAL]
    seconds = [float(choice["size"] + 1000 * (choice["algorithm"] == "forest")) for choice in SEVERAL]
    first = [each.i for each in _search(SEVERAL, trials=START_UP, pick=Cheap(algorithms, lambda: seconds))]
    cheap = {"sgd": [], "forest": []}
    for i, choice in enumerate(SEVERAL):
        if choice["size"] <= 8:
            cheap[choice["algorithm"]].append(i)
    one, other = sorted(cheap.values())
    assert first[:4] == [one[0], other[0], one[1], other[1]]


def test_cheapest_is_the_nearest_of_those_that_may_be_tried():
    """Before anything is known of their times, each is as cheap as any."""
    unknown = Cheap(["one"] * 128, lambda: [0.0] * 128)
    assert _search(ONE, trials=START_UP + 1, pick=unknown) == _search(ONE, trials=START_UP + 1)
    pick, nearest = Cheap(["one"] * 20, lambda: [9.0, *[0.0] * 19]), list(range(15))
    assert pick(nearest, lambda indices: [True] * len(indices)) == 0
    assert pick(nearest, lambda indices: [i != 0 for i in indices]) == 1


@cases("race", [True, False])
def test_search_knows_what_candidates_take_once_the_first_trial_has_begun(race):
    """Then the first ones are of the cheaper half; with race=off they are what a grid would begin with."""
    study = _study(max_trials=12, race=race)
    first = study.configurations[0]
    slow = {each.id: float(each.batch_size == first.batch_size) for each in study.configurations}
    searcher = TuneSampler(study, None, 9, lambda: slow)
    assert _suggested(searcher) == first
    study.first_start = 0.0
    suggested = [_suggested(searcher) for _ in range(4)]
    assert (suggested == study.configurations[1:5]) is not race
    assert (first.batch_size not in {each.batch_size for each in suggested}) is race


def _rival(study):
    """What the next trial of a study races against."""
    return TuneSampler(study, None, at_once=1).suggest("any id").get("rival")


@pytest.fixture
def raced():
    """A study of six complete trials: the later, the better and the dearer; the first has diverged."""
    study = _study(limits="training_time_s<=4.5", max_trials=12)
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
    *others, repeated = study.configurations
    study.configurations = [*others, replace(repeated, number=99), replace(repeated, repeat=1, number=7)]


def _is_off(study):
    study.settings = replace(study.settings, race=False)


def _is_served(study):
    study.limits = Limits.parse("served_p95_ms<=20", metrics("val_rmse", False))


@cases("change", [_shows_noise, _is_off, _is_served])
def test_trial_that_shows_the_noise_or_is_judged_as_served_does_not_race(raced, change):
    """Nor any where that is off."""
    change(raced)
    assert _rival(raced) is None


def test_what_is_predicted_to_break_a_limit_is_not_suggested(monkeypatch):
    """A batch of 64 takes 10 s, where 1 s is allowed: once that is known, those of 8 are suggested, and then none."""
    study = _study(limits="training_time_s<=1", max_trials=12)
    history = CostHistory(1000, study.limits)
    monkeypatch.setattr(sampler, "ask", lambda _, limits, configurations: history.outlooks(configurations))
    for configuration in study.configurations[:6] * 3:
        cost = {"training_time_s": 10.0 if configuration.batch_size == 64 else 0.1}
        history.record(trial(1, configuration=configuration, figures=cost))
    searcher = TuneSampler(study, None, at_once=99)
    assert [_suggested(searcher).batch_size for _ in range(6)] == [8] * 6
    assert searcher.suggest("any id") == TuneSampler.FINISHED
