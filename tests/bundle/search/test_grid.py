"""The grid: which configurations a study tries, and in which order."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cases import cases
from records import study_of, study_settings
from reference import bundled
from scipy.stats import spearmanr

from entrypoints.models.algorithms import find_all
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


@cases("name, values, trials", [("batch_size", [8, 64], 2 * 4 * 3), ("tol", [0, 0.01], 9 * 4 * 3 * 2)])
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
    values = pd.DataFrame([each.searched for each in tried])
    values["algorithm"] = values["algorithm"] == "svm"
    for name in values:
        assert abs(spearmanr(values.index, values[name]).statistic) < 0.19, name  # 1 % of shuffled orders exceed it


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
    assert len(_searched(tried)) == len(tried) - runs + 1
    repeats = [each for each in tried if each.repeat]
    same = [each for each in tried if each.key in {each.key for each in repeats}]
    assert [each.repeat for each in same] == list(range(runs))[: len(same)]
    assert {each.searched[name] for each in same} == ({values[widths // 2]} if runs > 1 else set())
    gaps = np.diff([each.number for each in same])
    assert list(gaps) == pytest.approx([len(tried) / runs] * (runs - 1), abs=1)


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
    settings = study_settings(search="tpe", max_trials=max_trials)
    assert study_of(settings=settings, configurations=tried).size == size


def test_each_algorithm_has_values_of_its_own():
    """Those under its name go before those for all; of what it does not take nothing is tried; else its defaults."""
    space = {"batch_size": [16], "learning_rate": [0.1], "forest": {"n_estimators": [20, 30], "max_depth": [None]}}
    space |= {"boosting": {"learning_rate": [0.2]}, "mlp": {"learning_rate": ["constant"]}}
    found = {}
    for each in _tried(space=space, algorithm="logistic,forest,boosting,mlp"):
        found.setdefault(each.algorithm, []).append(each)
    rates = {name: {each.searched.get("learning_rate") for each in found[name]} for name in found}
    assert rates == {"logistic": {0.1}, "forest": {None}, "boosting": {0.2}, "mlp": {"constant"}}
    forests = [each.searched for each in found["forest"]]
    assert {each["n_estimators"] for each in forests} == {20, 30}
    assert {each["max_features"] for each in forests} == {"sqrt", 0.5, 1.0}
    assert len(found["logistic"]) == 3  # the usual values of alpha
    assert {name: found[name][0].steps(1000) for name in found} == {
        "logistic": 630,
        "forest": 1,
        "boosting": 1,
        "mlp": 630,
    }


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


def test_some_of_a_grid_of_a_thousand_million_are_drawn_at_once():
    """Distinct ones, from all values of each hyperparameter."""
    space = {name: list(range(1, 1001)) for name in ("learning_rate", "alpha", "tol")}
    tried = _tried(space={"batch_size": 8, **space}, algorithm="svm", max_trials=200)
    assert len(tried) == len(_searched(tried)) == 200
    for name in space:
        assert np.ptp([each.searched[name] for each in tried]) > 900
