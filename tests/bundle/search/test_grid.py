"""The grid: which configurations a study tries, and in which order."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cases import cases
from records import study_of
from reference import bundled
from scipy.stats import spearmanr
from study_settings import study_settings

from entrypoints.errors import UserError
from entrypoints.models.algorithms import find_all
from entrypoints.models.estimators import Estimator
from entrypoints.search.grid import MAX_CANDIDATES, configurations
from entrypoints.search_space import parse

MLP = "sklearn.neural_network.MLPClassifier"
ALPHAS = {"loguniform": [1e-5, 1e-1]}


def _tried(dataset="diabetes", space=None, **settings):
    """The configurations of a study whose space is as the user would write it, each once."""
    return [each for each in _in_order(dataset, space, **settings) if not each.repeat]


def _in_order(dataset="diabetes", space=None, **settings):
    """The same with repetitions."""
    data = bundled(dataset, 10)
    asked = study_settings(dataset=dataset, space=parse(json.dumps(space), Path()) if space else {}, **settings)
    return configurations(asked, data.split, find_all(data.task, asked.algorithm), data.n_classes)


def _searched(tried):
    """What is tried, in whatever order."""
    return {repr(configuration.searched) for configuration in tried}


@pytest.mark.parametrize(
    ("name", "values", "trials"), [("batch_size", [8, 64], 2 * 4 * 3), ("tol", [0, 0.01], 9 * 4 * 3 * 2)]
)
def test_name_that_is_left_out_of_the_space_keeps_its_defaults(name, values, trials):
    """Each by itself; without a tol there is none to be seen."""
    tried = _tried("red_wine", {name: values})
    assert len(tried) == trials
    assert {each.searched[name] for each in tried} == set(values)
    assert {(each.tol is None, "tol" in each.searched) for each in tried} == {(name != "tol", name == "tol")}


def test_order_of_trials_has_nothing_to_do_with_their_hyperparameters():
    """No rank correlation of a number with a batch size, a rate or an algorithm is beyond chance; seeds differ."""
    tried = _tried(seed=3)
    assert [each.number for each in tried] == list(range(1, 193))
    assert tried != _tried(seed=4)
    assert _searched(tried) == _searched(_tried(seed=4))
    names = {"algorithm": lambda each: each.algorithm == "svm", "batch size": lambda each: each.batch_size}
    names |= {name: lambda each, name=name: each.hyperparameters[name] for name in ("learning_rate", "alpha")}
    for name, value in names.items():
        correlation = spearmanr([each.number for each in tried], [value(each) for each in tried]).statistic
        assert abs(correlation) < 0.19, name  # 1 % of shuffled orders exceed it


@cases(
    "algorithm, widths, runs",
    {
        "own": (MLP, 9, 3),
        "own, few configurations": (MLP, 7, 1),
        "built-in": ("svm", 9, 1),
        "both: of the own one": (f"svm,{MLP}", 9, 3),
    },
)
def test_one_configuration_from_the_middle_runs_again(algorithm, widths, runs):
    """Spread over the order, with numbers from 1 on."""
    name = "max_iter" if MLP in algorithm else "learning_rate"
    values = list(range(1, widths + 1))
    tried = _in_order(space={"batch_size": 16, "alpha": 0.1, name: values}, algorithm=algorithm)
    assert [each.number for each in tried] == list(range(1, len(tried) + 1))
    assert len(tried) == len(_searched(tried)) + runs - 1
    (often, _), *_ = Counter(each.key for each in tried).most_common()
    same = [each for each in tried if each.key == often]
    assert [each.repeat for each in same] == list(range(runs))
    if runs > 1:
        assert same[0].searched[name] == values[widths // 2]
        gaps = np.diff([each.number for each in same])
        assert max(gaps) - min(gaps) <= 1
        assert min(gaps) > len(tried) / runs - 1


@cases(
    "space, max_trials, candidates, size",
    {
        "a quarter of the grid": (None, None, 192, 48),
        "of a small one thirty": ({"batch_size": [8, 64]}, None, 48, 30),
        "of a smaller one all": ({"batch_size": [8, 64], "alpha": 0.1}, None, 16, 16),
        "of distributions very many": ({"alpha": ALPHAS}, 20, MAX_CANDIDATES, 20),
    },
)
def test_search_that_learns_tries_some_of_many(space, max_trials, candidates, size):
    """Those that it chooses from are in random order."""
    tried = _tried(space=space, search="tpe", max_trials=max_trials)
    assert len(_searched(tried)) == len(tried) == candidates
    assert _planned(tried, max_trials).size == size


def _planned(tried, max_trials):
    return study_of(settings=study_settings(search="tpe", max_trials=max_trials), configurations=tried)


def test_each_algorithm_has_values_of_its_own():
    """Those under its name go before those for all; of what it does not take nothing is tried; else its defaults."""
    space = {"batch_size": [16], "learning_rate": [0.1], "forest": {"n_estimators": [20, 30], "max_depth": [None]}}
    space |= {"boosting": {"learning_rate": [0.2]}, "mlp": {"learning_rate": ["constant"]}}
    tried = _tried(space=space, algorithm="logistic,forest,boosting,mlp")
    grids = {
        "logistic": {"batch_size": {16}, "learning_rate": {0.1}, "alpha": {0.001, 0.01, 0.1}},
        "forest": {
            **{"n_estimators": {20, 30}, "max_depth": {None}, "max_features": {"sqrt", 0.5, 1.0}},
            "min_samples_leaf": {1, 5, 20},
        },
        "boosting": {"max_iter": {50, 200}, "learning_rate": {0.2}, "max_leaf_nodes": {7, 31}},
    }
    for name, grid in grids.items():
        own = [each.searched for each in tried if each.algorithm == name]
        assert {frozenset(each) for each in own} == {frozenset({"algorithm", *grid})}
        assert {key: {each[key] for each in own} for key in grid} == grid
        assert len(own) == np.prod([len(values) for values in grid.values()])
    steps = {each.algorithm: each.steps(1000) for each in tried}
    assert (steps["forest"], steps["boosting"], steps["mlp"]) == (1, 1, 630)


@cases(
    "algorithm, space, max_trials, trials",
    {
        "default number": ("svm", None, None, 20),
        "no more than the grid has": ("auto", None, 1000, 192),
        "distribution of few values": (MLP, {"n_iter_no_change": {"integers": [1, 3]}}, 30, 24),
        "built-in": ("svm", {"batch_size": {"integers": [2, 400]}, "learning_rate": ALPHAS}, 50, 50),
    },
)
def test_random_search_tries_distinct_configurations(algorithm, space, max_trials, trials):
    """As many as are asked for, as far as there are enough; the same for the same seed."""
    first, again, other = (
        _tried(space=space, algorithm=algorithm, search="random", max_trials=max_trials, seed=seed)
        for seed in (3, 3, 4)
    )
    assert len(first) == len(_searched(first)) == trials
    assert first == again
    # As MLflow and JSON write them.
    assert {type(value) for each in first for value in each.hyperparameters.values()} <= {float, int, list}
    assert (_searched(first) == _searched(other)) == (trials in (24, 192))


def test_some_of_a_grid_of_a_million_million_are_drawn_at_once(monkeypatch):
    """Distinct ones, from all values of each hyperparameter."""
    monkeypatch.setattr(Estimator, "check", lambda *_: None)
    names = ("alpha", "l1_ratio", "epsilon", "eta0", "power_t", "validation_fraction", "max_iter", "n_iter_no_change")
    space = {name: list(range(2, 12)) for name in ("batch_size", *names, "random_state", "average", "n_jobs")}
    tried = _tried(space=space, algorithm="sklearn.linear_model.SGDClassifier", max_trials=200)
    assert len(tried) == len(_searched(tried)) == 200
    assert {len({each.searched[name] for each in tried}) for name in space} == {10}


def _bad(name, says, space, **settings):
    return pytest.param(space, settings, says, id=name)


WHOLE = "whole numbers from 1 are allowed; give some of these"
TOO_MANY = (
    "search=grid: there are 120000 combinations, and at most 100000 are tried; list fewer values, set max_trials, or "
    "add search=tpe or search=random"
)


@pytest.mark.parametrize(
    ("space", "settings", "says"),
    [
        _bad(
            "no distribution", "x is neither a distribution (uniform, loguniform, integers) nor", {"x": {"normal": 1}}
        ),
        _bad(
            "not of that one",
            "alpha is not a hyperparameter of forest; use ccp_alpha",
            {"forest": {"alpha": 1}},
            algorithm="forest",
        ),
        _bad("option", "length is an option of its own; give it as -P length=", {"length": 3}),
        _bad("too many", TOO_MANY, {"batch_size": 16, "tol": 0, "alpha": list(range(30_000))}, algorithm="svm"),
        _bad(
            "drawn",
            "alpha is a distribution, which search=random and search=tpe draw from; add one of them, or list",
            {"alpha": ALPHAS},
        ),
        _bad("no row", f"space: batch_size 0: {WHOLE}", {"batch_size": [8, 0]}),
        _bad("no rate", "space: learning_rate 0: numbers above 0 are", {"learning_rate": [0.1, 0]}),
        _bad("no number", "space: tol none: numbers from 0 are allowed", {"tol": [0, "none"]}),
        _bad("no weight", "class_weight: null and balanced are", {"class_weight": ["heavy"]}, algorithm="svm"),
        _bad("second value", f"algorithm={MLP} with alpha=-1 does not train", {"alpha": [0.1, -1]}, algorithm=MLP),
    ],
)
def test_space_that_does_not_fit_is_refused_in_one_sentence(space, settings, says):
    """It says what was given, what is wrong with it, and what to do."""
    with pytest.raises(UserError) as raised:
        _tried(space=space, **settings)
    assert says in raised.value.message
    assert "; " in raised.value.message
    assert "\n" not in raised.value.message
