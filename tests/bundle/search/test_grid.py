"""The grid: which configurations a study tries, and in which order."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cases import cases, tables
from records import study_of, study_settings
from reference import MLP_CLASSIFIER, bundled
from scipy.stats import spearmanr

from entrypoints.models.algorithms import find_all
from entrypoints.search.grid import configurations
from entrypoints.search_space import parse

TABLES = tables(__file__, "search.yaml")
MIDDLE = "{batch_size: 16, alpha: 0.1, max_iter: [1, 2, 3, 4, 5, 6, 7, 8, 9]}"


def _tried(dataset="diabetes", space="", **settings):
    """The configurations of a study whose space is as the user writes it, each once."""
    return [each for each in _in_order(dataset, space, **settings) if not each.repeat]


def _in_order(dataset="diabetes", space="", **settings):
    """The same with repetitions."""
    data = bundled(dataset, 10)
    asked = study_settings(dataset=dataset, space=parse(space, Path()) if space else {}, **settings)
    return configurations(asked, data.split, find_all(data.task, asked.algorithm), data.n_classes)


def _searched(tried):
    """What is tried, in whatever order."""
    return {repr(configuration.searched) for configuration in tried}


@cases("name, values, trials", [("batch_size", [8, 64], 2 * 4 * 3), ("tol", [0, 0.01], 9 * 4 * 3 * 2)])
def test_name_that_is_left_out_of_the_space_keeps_its_defaults(name, values, trials):
    """Each by itself; without a tol there is none to be seen."""
    tried = _tried("red_wine", f"{{{name}: {values}}}")
    assert len(tried) == trials
    assert {each.searched[name] for each in tried} == set(values)
    assert {"tol" in each.searched for each in tried} == {name == "tol"}


def test_order_of_trials_has_nothing_to_do_with_their_hyperparameters():
    """No rank correlation of a number with a batch size, a rate or an algorithm is beyond chance; seeds differ."""
    tried = _tried(seed=3)
    assert [each.number for each in tried] == list(range(1, 193))
    other = _tried(seed=4)
    assert tried != other
    assert _searched(tried) == _searched(other)
    values = pd.DataFrame([each.searched for each in tried])
    values["algorithm"] = values["algorithm"] == "svm"
    for name in values:
        assert abs(spearmanr(values.index, values[name]).statistic) < 0.19, name  # 1 % of shuffled orders exceed it


@cases("algorithm", {"alone": MLP_CLASSIFIER, "beside a built-in one": f"svm,{MLP_CLASSIFIER}"})
def test_a_configuration_of_the_users_algorithm_runs_three_times(algorithm):
    """One from the middle, spread over the order, with numbers from 1 on."""
    tried = _in_order(space=MIDDLE, algorithm=algorithm)
    assert [each.number for each in tried] == list(range(1, len(tried) + 1))
    assert len(_searched(tried)) == len(tried) - 2
    (repeated,) = {each.key for each in tried if each.repeat}
    same = [each for each in tried if each.key == repeated]
    assert [each.repeat for each in same] == [0, 1, 2]
    assert same[0].searched["max_iter"] == 5
    gaps = np.diff([each.number for each in same])
    assert list(gaps) == pytest.approx([len(tried) / 3] * 2, abs=1)


def test_search_that_learns_repeats_one_within_the_trials_that_it_tries():
    """Thirty of a hundred, of which one runs twice more."""
    space = f"{{batch_size: 16, alpha: 0.1, max_iter: {[*range(1, 101)]}}}"
    tried = _in_order(space=space, algorithm=MLP_CLASSIFIER, search="tpe")
    (repeated,) = {each.key for each in tried if each.repeat}
    numbers = [each.number for each in tried if each.key == repeated]
    assert numbers == pytest.approx([5, 16, 27], abs=1)


@cases("algorithm, space, trials", TABLES["spaces of which nothing runs again"])
def test_few_configurations_and_those_of_built_in_algorithms_run_once(algorithm, space, trials):
    assert len(_in_order(space=space, algorithm=algorithm)) == trials


@cases("space, max_trials, candidates, size", TABLES["spaces of a search that learns"])
def test_search_that_learns_tries_some_of_many(space, max_trials, candidates, size):
    """Those that it chooses from are in random order."""
    tried = _tried(space=space, search="tpe", max_trials=max_trials)
    assert len(_searched(tried)) == len(tried) == candidates
    settings = study_settings(search="tpe", max_trials=max_trials)
    assert study_of(settings=settings, configurations=tried).size == size


def test_each_algorithm_has_values_of_its_own():
    """Those under its name go before those for all; of what it does not take nothing is tried; else its defaults."""
    tried = _tried(space=TABLES["a space of several algorithms"], algorithm="logistic,forest,boosting,mlp")
    found = {}
    for each in tried:
        for name, value in each.searched.items():
            found.setdefault(each.algorithm, {}).setdefault(name, []).append(value)
    rates = {algorithm: set(values.get("learning_rate", ())) for algorithm, values in found.items()}
    assert rates == {"logistic": {0.1}, "forest": set(), "boosting": {0.2}, "mlp": {"constant"}}
    assert set(found["forest"]["n_estimators"]) == {20, 30}
    assert set(found["forest"]["max_features"]) == {"sqrt", 0.5, 1.0}
    assert len(found["logistic"]["alpha"]) == 3  # the usual ones


@cases("algorithm, space, max_trials, trials, is_all", TABLES["spaces of a random search"])
def test_random_search_tries_distinct_configurations(algorithm, space, max_trials, trials, is_all):
    """As many as are asked for, as far as there are enough; the same for the same seed."""
    asked = {"space": space, "algorithm": algorithm, "search": "random", "max_trials": max_trials}
    first = _tried(seed=3, **asked)
    assert len(first) == len(_searched(first)) == trials
    assert _tried(seed=3, **asked) == first
    assert (_searched(_tried(seed=4, **asked)) == _searched(first)) is is_all
    # As MLflow and JSON write them.
    assert {type(value) for each in first for value in each.hyperparameters.values()} <= {float, int, list}


def test_some_of_a_grid_of_a_thousand_million_are_drawn_at_once():
    """Distinct ones, from all values of each hyperparameter."""
    values = list(range(1, 1001))
    space = f"{{batch_size: 8, learning_rate: {values}, alpha: {values}, tol: {values}}}"
    tried = _tried(space=space, algorithm="svm", max_trials=200)
    assert len(tried) == len(_searched(tried)) == 200
    for name in ("learning_rate", "alpha", "tol"):
        assert np.ptp([each.searched[name] for each in tried]) > 900
