"""Names of algorithms: which ones are known, which fit a task, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from entrypoints.errors import UserError
from entrypoints.models.algorithms import find, find_all
from entrypoints.models.estimators import Estimator
from entrypoints.models.learners import ALGORITHMS

MLP_CLASSIFIER = "sklearn.neural_network.MLPClassifier"
MLP_REGRESSOR = "sklearn.neural_network.MLPRegressor"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_built_in_algorithm_is_found_by_its_name(name: str) -> None:
    """It needs no import path."""
    assert find(name) is ALGORITHMS[name]


def test_other_algorithm_is_found_by_its_import_path() -> None:
    """Anything with a dot is one."""
    found = find(MLP_CLASSIFIER)
    assert isinstance(found, Estimator)
    assert found.name == MLP_CLASSIFIER


@pytest.mark.parametrize(
    ("task", "asked", "names"),
    [
        pytest.param("regression", "auto", ["linear"], id="all-of-regression"),
        pytest.param("classification", "auto", ["logistic", "svm"], id="all-of-classification"),
        pytest.param("classification", "svm", ["svm"], id="one"),
        pytest.param("classification", "svm, logistic,svm", ["svm", "logistic"], id="several-without-repetition"),
        pytest.param("regression", MLP_REGRESSOR, [MLP_REGRESSOR], id="own"),
        pytest.param("classification", f"logistic,{MLP_CLASSIFIER}", ["logistic", MLP_CLASSIFIER], id="mixed"),
    ],
)
def test_algorithms_are_those_asked_for_or_all_built_in_ones_that_fit(task: Any, asked: str, names: list[str]) -> None:
    """In the order in which they were named."""
    assert [algorithm.name for algorithm in find_all(task, asked)] == names


@pytest.mark.parametrize(
    ("task", "asked", "named", "says"),
    [
        pytest.param("regression", "svm", "svm", ["svm does not fit a regression", "linear does"], id="other-task"),
        pytest.param(
            "classification",
            "svm,linear",
            "svm,linear",
            ["linear does not fit a classification", "logistic or svm does"],
            id="one-of-other-task",
        ),
        pytest.param(
            "classification",
            MLP_REGRESSOR,
            MLP_REGRESSOR,
            [f"{MLP_REGRESSOR} does not fit a classification", "logistic or svm does", "auto"],
            id="own-of-other-task",
        ),
        pytest.param("regression", "forest", "forest", ["linear, logistic, svm", "import path", "auto"], id="unknown"),
        pytest.param("regression", "", "", ["linear, logistic, svm"], id="empty"),
        pytest.param("regression", "linear,,", "", ["linear, logistic, svm"], id="gap-in-a-list"),
        pytest.param("classification", "auto,svm", "auto", ["auto alone"], id="auto-in-a-list"),
        pytest.param("classification", "svm,no.Where", "no.Where", ["cannot be imported"], id="one-not-importable"),
    ],
)
def test_algorithm_that_cannot_be_is_refused_in_one_sentence(
    task: Any, asked: str, named: str, says: list[str]
) -> None:
    """It says what was given, what is wrong with it and what fits."""
    with pytest.raises(UserError) as raised:
        find_all(task, asked)
    message = raised.value.message
    assert message.startswith(f"algorithm={named}: ")
    assert [text for text in says if text not in message] == []
    assert "\n" not in message
