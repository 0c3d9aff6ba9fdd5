"""The grid: which configurations a study tries, and in which order."""

from pathlib import Path

import numpy as np
import pandas as pd
from cases import cases, tables
from records import study_settings
from reference import bundled
from scipy.stats import spearmanr

from entrypoints.models.algorithms import find_all
from entrypoints.options.search_space import parse
from entrypoints.search.grid import grid
from entrypoints.search.spaces import spaces_of

TABLES = tables(__file__, "search.yaml")


def _tried(dataset="diabetes", space="", **settings):
    """What a study tries whose space is as the user writes it."""
    data = bundled(dataset, 10)
    asked = study_settings(dataset=dataset, space=parse(space, Path()) if space else {}, **settings)
    algorithms = find_all(data.task, asked.algorithm)
    spaces = spaces_of(asked, algorithms, data.split.max_batch_size, data.n_classes)
    return grid(spaces, asked.max_trials, asked.seed)


def _texts(tried):
    """What is tried, in whatever order."""
    return {repr(choice) for choice in tried}


@cases("name, values, trials", [("batch_size", [8, 64], 2 * 4 * 3), ("alpha", [0, 0.01], 9 * 4 * 2)])
def test_name_that_is_left_out_of_the_space_keeps_its_defaults(name, values, trials):
    """Each by itself."""
    tried = _tried("red_wine", f"{{{name}: {values}}}")
    assert len(tried) == trials
    assert {choice[name] for choice in tried} == set(values)


def test_order_of_trials_has_nothing_to_do_with_their_hyperparameters():
    """No rank correlation of a number with a batch size, a rate or an algorithm is beyond chance; seeds differ."""
    tried = _tried(seed=3)
    other = _tried(seed=4)
    assert tried != other
    assert _texts(tried) == _texts(other)
    values = pd.DataFrame(tried)
    values["algorithm"] = values["algorithm"] == "svm"
    for name in values:
        assert abs(spearmanr(values.index, values[name]).statistic) < 0.19, name  # 1 % of shuffled orders exceed it


def test_each_algorithm_has_values_of_its_own():
    """Those under its name go before those for all; of what it does not take nothing is tried; else its defaults."""
    tried = _tried(space=TABLES["a space of several algorithms"], algorithm="logistic,forest,boosting,mlp")
    found = {}
    for choice in tried:
        for name, value in choice.items():
            found.setdefault(choice["algorithm"], {}).setdefault(name, []).append(value)
    rates = {algorithm: set(values.get("learning_rate", ())) for algorithm, values in found.items()}
    assert rates == {"logistic": {0.1}, "forest": set(), "boosting": {0.2}, "mlp": {"constant"}}
    assert set(found["forest"]["n_estimators"]) == {20, 30}
    assert set(found["forest"]["max_features"]) == {"sqrt", 0.5, 1.0}
    assert len(found["logistic"]["alpha"]) == 3  # the usual ones


def test_some_of_a_grid_of_millions_are_drawn_at_once():
    """Distinct ones, from all values of each hyperparameter."""
    values = list(range(1, 1001))
    space = f"{{batch_size: {values[:400]}, learning_rate: {values}, alpha: {values}}}"
    tried = _tried(space=space, algorithm="svm", max_trials=200)
    assert len(tried) == len(_texts(tried)) == 200
    for name, span in (("batch_size", 350), ("learning_rate", 900), ("alpha", 900)):
        assert np.ptp([choice[name] for choice in tried]) > span
