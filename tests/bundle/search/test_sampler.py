"""What a search that learns tries: by made-up scores and costs, without Ray and without training."""

import math
from dataclasses import replace
from statistics import fmean

import pytest
from cases import cases, tables
from optuna.trial import TrialState
from records import TIME, limits_of, study_of, study_settings, trial
from reference import configured

from entrypoints.search.grid import grid
from entrypoints.search.sampler import START_UP, Sampler, Tried
from entrypoints.study.study import ENOUGH
from entrypoints.study.tune_sampler import TuneSampler

TABLES = tables(__file__, "search.yaml")
LEVELS = [2**level for level in range(8)]
ONE = [{"algorithm": ["sgd"], "rate": LEVELS, "size": LEVELS, "word": ["a", "b"]}]
SEVERAL = [
    {"algorithm": ["sgd"], "rate": LEVELS, "size": LEVELS},
    {"algorithm": ["forest"], "trees": LEVELS, "size": LEVELS},
]
DRAWN = [
    {
        "algorithm": ["boosting"],
        "rate": {"loguniform": [1e-4, 1.0]},
        "depth": {"integers": [1, 20]},
        "share": {"uniform": [0.5, 1.5]},
    }
]


def _score(choice):
    """Least at a rate of 8, a size of 16 and the word b; a forest has trees in place of a rate."""
    rate = choice.get("rate") or choice["trees"]
    away = abs(rate.bit_length() - 4) + abs(choice["size"].bit_length() - 5)
    return away + (choice.get("word") == "a") + ("trees" in choice)


def _score_of_drawn(choice):
    """Least at a rate of 0.01, a depth of 4 and a share of 1."""
    return abs(math.log10(choice["rate"]) + 2) + abs(choice["depth"] - 4) / 4 + abs(choice["share"] - 1)


def _search(spaces=ONE, trials=60, *, seed=0, known=(), score=_score, largest=math.inf, stops=False):
    """What a search of this many trials tries, one after the other, after what it has tried before.

    Larger sizes than the ``largest`` break a limit, which stops them or does not.
    """
    known = list(known)
    sampler = Sampler(spaces, seed)
    while len(known) < trials:
        choice = sampler.next(known)
        if choice is None:
            break
        excess = max(0.0, choice.get("size", 0) / largest - 1)
        if excess and stops:
            known.append(Tried(choice, TrialState.PRUNED, excess=excess))
        else:
            known.append(Tried(choice, TrialState.COMPLETE, score(choice), excess))
    return known


@cases("spaces", {"one algorithm": ONE, "several": SEVERAL})
def test_best_combination_is_found_long_before_all_are_tried(spaces):
    """Among 128 within 60; none is suggested twice, and in the end all are."""
    tried = [each.choice for each in _search(spaces)]
    assert min(map(_score, tried)) == 0
    assert len({repr(choice) for choice in tried}) == 60
    few = [{**space, "size": [8, 16]} for space in spaces]
    assert len(_search(few, trials=99)) == 32


def test_first_suggestions_take_each_algorithm_by_turns():
    """There is nothing to learn from yet."""
    assert [each.choice["algorithm"] for each in _search(SEVERAL, START_UP)] == [
        "sgd",
        "forest",
        "sgd",
        "forest",
        "sgd",
    ]


def test_numbers_are_drawn_between_their_ends_and_what_was_good_is_learned():
    """As MLflow and JSON write them, in a few digits. What is beyond the ends is ignored."""
    far = Tried({"algorithm": "boosting", "rate": 5.0, "depth": 90, "share": 9.0}, TrialState.COMPLETE, -99.0)
    tried = [each.choice for each in _search(DRAWN, 50, known=[far], score=_score_of_drawn)][1:]
    for name, values in list(DRAWN[0].items())[1:]:
        ((kind, (low, high)),) = values.items()
        assert all(low <= choice[name] <= high for choice in tried)
        assert {type(choice[name]) for choice in tried} == {int if kind == "integers" else float}
        assert all(float(f"{choice[name]:.3g}") == choice[name] for choice in tried)
    scores = [_score_of_drawn(choice) for choice in tried]
    assert fmean(scores[-20:]) < 0.5 * fmean(scores[: START_UP - 1])


@cases("stops", {"stopped": True, "at its end": False})
def test_what_breaks_a_limit_is_avoided(stops):
    """However that became known, and although the best scores lie there; the best within the limit is found."""
    tried = _search(trials=40, largest=8, stops=stops)[START_UP:]
    within = [each for each in tried if not each.excess]
    assert len(within) > 0.7 * len(tried)  # half of the combinations are
    best = min(within, key=lambda each: each.score)
    assert best.choice == {"algorithm": "sgd", "rate": 8, "size": 8, "word": "b"}


def test_search_that_goes_on_suggests_what_it_would_have_suggested():
    """From what is known alone; another seed suggests others, and so does another score."""
    whole = _search()
    begun = whole[:25]
    assert _search(known=begun) == whole
    assert _search(seed=1) != whole
    others = [each._replace(score=-each.score) for each in begun]
    assert _search(known=others)[25:] != whole[25:]


SPACE = [{"algorithm": ["linear"], "batch_size": [8, 64], "learning_rate": [0.1, 0.01, 0.001], "alpha": [0.1, 0.01]}]
LOGISTIC = [{**SPACE[0], "algorithm": ["logistic"]}]
FORESTS = [{"algorithm": ["forest"], "max_features": {"uniform": [0.2, 1.0]}}]


def _study(limits="", dataset="red_wine", spaces=SPACE, first=0, **settings):
    """A search of these spaces, of which some combinations are tried in any case."""
    asked = study_settings(search="tpe", **settings)
    study = study_of((), limits, dataset=dataset, settings=asked, spaces=spaces)
    choices = grid(spaces, None, 0)[:first] if first else []
    study.configurations = [study.configuration(choice, number) for number, choice in enumerate(choices, 1)]
    return study


def _suggested(searcher):
    """The next configuration, where one more may run."""
    return searcher.suggest("any id")["configuration"]


def test_as_many_run_as_may_and_each_number_is_taken_once():
    """The next begins when any has ended: first what is tried in any case, in its order, then what is left."""
    study = _study(first=3)
    searcher = TuneSampler(study, at_once=2)
    handed_out = [_suggested(searcher), _suggested(searcher)]
    for _ in range(study.size - 2):
        assert searcher.suggest("any id") is None
        done = handed_out[-2]
        study.trials[done.id] = trial(done.number, done.searched["learning_rate"], done)
        handed_out.append(_suggested(searcher))
    assert handed_out[:3] == study.configurations
    assert [each.number for each in handed_out] == list(range(1, 13))
    assert len({each.id for each in handed_out}) == 12


def test_what_an_earlier_command_began_comes_first():
    """Then what was neither done nor begun; nothing is left when all was tried."""
    study = _study(first=12)
    first, second, *others = study.configurations
    study.trials = {"t1": trial(1, 0.5, first), "t2": trial(2, 0.5, second)}
    study.begun = [others[3]]
    searcher = TuneSampler(study, at_once=99)
    handed_out = [_suggested(searcher) for _ in range(10)]
    assert handed_out == [others[3], *others[:3], *others[4:]]
    assert searcher.suggest("any id") == TuneSampler.FINISHED


def test_search_ends_once_thirty_trials_were_no_better_than_the_best():
    """One that is better lets it go on. Trials of the list that comes first do not count."""
    study = _study(spaces=FORESTS)

    def ended(number, score):
        each = study.configuration({"algorithm": "forest", "max_features": number / 100}, number)
        study.trials[each.id] = trial(number, score, each)

    for number in range(1, ENOUGH + 2):
        ended(number, 0.5 if number == 2 else 0.6)
    assert _suggested(TuneSampler(study, at_once=1)).number == ENOUGH + 2
    ended(ENOUGH + 2, 0.6)
    assert TuneSampler(study, at_once=1).suggest("any id") == TuneSampler.FINISHED
    study.first = [{"algorithm": "forest", "max_features": number / 100} for number in (1, 2, 3)]
    assert _suggested(TuneSampler(study, at_once=1)).number == ENOUGH + 3
    ended(ENOUGH + 3, 0.4)
    assert _suggested(TuneSampler(study, at_once=1)).number == ENOUGH + 4


@cases(
    "dataset, spaces, metric, sign",
    [("red_wine", SPACE, "val_rmse", 1), ("diabetes", LOGISTIC, "val_accuracy", -1)],
)
def test_search_is_told_how_each_trial_ended(monkeypatch, dataset, spaces, metric, sign):
    """A score, the less the better, of those that came to their end, or were predicted to; and by how much of a limit.

    One that was stopped counts with what it would have cost, not with its costs so far.
    """
    study = _study(TIME, dataset, spaces, first=7)
    first = study.configurations
    study.configurations = []
    expected = []
    for each, (end, score, excess) in zip(first, TABLES["ends of trials"].values(), strict=True):
        values = {"figures": {metric: 0.5, "training_time_s": 3.0}} | end
        study.trials[each.id] = trial(each.number, configuration=each, **values)
        if score is None:
            expected.append(Tried(each.searched, TrialState.PRUNED, excess=excess))
        else:
            expected.append(Tried(each.searched, TrialState.COMPLETE, sign * score, excess))
    told = []
    monkeypatch.setattr(Sampler, "next", lambda _, history: told.extend(history))
    assert TuneSampler(study, at_once=99).suggest("any id") == TuneSampler.FINISHED
    assert told == expected


def _rival(study):
    """What the next trial of a study races against."""
    return TuneSampler(study, at_once=99).suggest("any id").get("rival")


@pytest.fixture
def raced():
    """A study of six complete trials: the later, the better and the dearer; the first has diverged."""
    study = _study("training_time_s<=4.5", spaces=FORESTS)
    for number in range(1, 7):
        each = study.configuration({"algorithm": "forest", "max_features": number / 10}, number)
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


def _is_on_batches(study):
    study.begun = [configured()]


def _is_off(study):
    study.settings = replace(study.settings, race=False)


def _is_served(study):
    study.limits = limits_of("served_p95_ms<=20")


@cases("change", [_is_on_batches, _is_off, _is_served])
def test_trial_on_batches_or_one_that_is_judged_as_served_does_not_race(raced, change):
    """Nor any where that is off."""
    change(raced)
    assert _rival(raced) is None
