"""The grid: which configurations a study tries, in which order, and what its trials are called."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from entrypoints import datasets
from entrypoints.errors import UserError
from entrypoints.grid import SEARCHED, algorithms_for, grid, run_name
from entrypoints.options import StudySettings
from entrypoints.prepared import Prepared, prepared
from entrypoints.splits import make_split


@cache
def _data(name: str, folds: int = 10) -> Prepared:
    table = datasets.load(name)
    return prepared(table, make_split(table.y, stratify=table.task == "classification", folds=folds, seed=0))


def _settings(dataset: str = "red_wine", **values: Any) -> StudySettings:
    defaults: dict[str, Any] = {
        "target": "auto",
        "algorithm": "auto",
        "batch_sizes": None,
        "learning_rates": (0.1, 0.01, 0.001, 0.0001),
        "alphas": (0.0001, 0.001, 0.01),
        "folds": 10,
        "seed": 0,
        "max_steps": 500,
        "max_epochs": 0,
        "report_every": 100,
        "cpus": 0,
    }
    return StudySettings(dataset=dataset, **{**defaults, **values})


@pytest.mark.parametrize(
    ("dataset", "trials", "algorithms", "largest_batch"),
    [
        pytest.param("red_wine", 108, ["linear"], 512, id="red_wine"),
        pytest.param("diabetes", 192, ["logistic", "svm"], 256, id="diabetes"),
    ],
)
def test_grid_by_default_is_the_documented_one(
    dataset: str, trials: int, algorithms: list[str], largest_batch: int
) -> None:
    """All that fit: batch sizes 2, 4, 8 .. up to the rows of a training fold, four rates, three alphas."""
    data = _data(dataset)
    configs = grid(_settings(dataset), data.split, algorithms_for(data.task, "auto"))
    assert len(configs) == trials
    assert len({tuple(config[key] for key in SEARCHED) for config in configs}) == trials
    assert list(dict.fromkeys(config["algorithm"] for config in configs)) == algorithms
    sizes = list(dict.fromkeys(config["batch_size"] for config in configs))
    assert sizes == [2**power for power in range(1, 10) if 2**power <= largest_batch]


def test_grid_configurations_carry_what_a_trial_needs() -> None:
    """The searched values and the fixed ones, and nothing of the machine."""
    settings = _settings(batch_sizes=(16,), learning_rates=(0.1,), alphas=(0.0,), seed=3, max_epochs=2)
    assert grid(settings, _data("red_wine").split, ("linear",)) == [
        {
            "algorithm": "linear",
            "batch_size": 16,
            "learning_rate": 0.1,
            "alpha": 0.0,
            "dataset": "red_wine",
            "target": "auto",
            "folds": 10,
            "seed": 3,
            "max_steps": 500,
            "max_epochs": 2,
            "report_every": 100,
        }
    ]


def test_grid_tries_small_learning_rates_first() -> None:
    """Trials that diverge come last among their batch size."""
    settings = _settings(batch_sizes=(16,), learning_rates=(0.1, 0.001, 10.0), alphas=(0.1,))
    configs = grid(settings, _data("red_wine").split, ("linear",))
    assert [config["learning_rate"] for config in configs] == [0.001, 0.1, 10.0]


def test_grid_takes_a_batch_of_all_rows_of_the_smallest_training_fold() -> None:
    """1119 training rows in ten folds leave at least 1007 to train on."""
    settings = _settings(batch_sizes=(1007,), learning_rates=(0.1,), alphas=(0.1,))
    assert len(grid(settings, _data("red_wine").split, ("linear",))) == 1


def test_grid_refuses_a_batch_larger_than_the_smallest_training_fold() -> None:
    """The sentence names what was given and the largest batch that is allowed."""
    with pytest.raises(UserError) as raised:
        grid(_settings(batch_sizes=(16, 1008)), _data("red_wine").split, ("linear",))
    assert raised.value.message.startswith("batch_sizes=16,1008: ")
    assert "1007" in raised.value.message


@pytest.mark.parametrize(
    ("task", "asked", "algorithms"),
    [
        pytest.param("regression", "auto", ("linear",), id="all-of-regression"),
        pytest.param("classification", "auto", ("logistic", "svm"), id="all-of-classification"),
        pytest.param("classification", "svm", ("svm",), id="one"),
        pytest.param("classification", "svm, logistic,svm", ("svm", "logistic"), id="several-without-repetition"),
    ],
)
def test_algorithms_are_those_asked_for_or_all_that_fit(task: Any, asked: str, algorithms: tuple[str, ...]) -> None:
    """In the order in which they were named."""
    assert algorithms_for(task, asked) == algorithms


@pytest.mark.parametrize(
    ("task", "asked", "words"),
    [
        pytest.param("regression", "svm", ["svm does not fit", "regression", "linear does"], id="other-task"),
        pytest.param(
            "classification",
            "svm,linear",
            ["linear does not fit", "classification", "logistic or svm does"],
            id="one-of-other-task",
        ),
        pytest.param(
            "regression",
            "forest",
            ["forest is not known", "linear, logistic, svm and auto", "linear fit"],
            id="unknown",
        ),
        pytest.param("regression", "", ["is not known", "linear"], id="empty"),
        pytest.param("classification", "auto,svm", ["auto is not known", "logistic and svm fit"], id="auto-in-a-list"),
    ],
)
def test_algorithms_that_cannot_be_are_refused_in_one_sentence(task: Any, asked: str, words: list[str]) -> None:
    """It says what was given, what is wrong with it and what fits."""
    with pytest.raises(UserError) as raised:
        algorithms_for(task, asked)
    message = raised.value.message
    assert message.startswith(f"algorithm={asked}: ")
    assert [word for word in words if word not in message] == []
    assert "\n" not in message


def test_run_name_holds_what_differs_between_the_trials() -> None:
    """A value that all trials share would only widen the UI's legends."""
    settings = _settings(batch_sizes=(16, 64), learning_rates=(0.1,), alphas=(0.001, 0.1))
    configs = grid(settings, _data("red_wine").split, ("linear",))
    assert [run_name(config, configs) for config in configs] == [
        "batch_size=16 alpha=0.001",
        "batch_size=16 alpha=0.1",
        "batch_size=64 alpha=0.001",
        "batch_size=64 alpha=0.1",
    ]


def test_run_name_of_a_single_trial_holds_all_that_is_searched() -> None:
    """A run has a name, also where nothing differs."""
    settings = _settings(batch_sizes=(16,), learning_rates=(0.1,), alphas=(0.001,))
    configs = grid(settings, _data("red_wine").split, ("linear",))
    assert run_name(configs[0], configs) == "algorithm=linear batch_size=16 learning_rate=0.1 alpha=0.001"


def test_run_names_of_a_default_study_are_distinct() -> None:
    """Runs are told apart by their names."""
    data = _data("diabetes")
    configs = grid(_settings("diabetes"), data.split, algorithms_for(data.task, "auto"))
    assert len({run_name(config, configs) for config in configs}) == len(configs)
