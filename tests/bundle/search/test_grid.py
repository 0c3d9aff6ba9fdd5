"""The grid: which configurations a study tries, and in which order."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import bundled
from scipy.stats import spearmanr
from study_settings import study_settings

from entrypoints.errors import UserError
from entrypoints.models.algorithms import find_all
from entrypoints.models.configuration import Configuration
from entrypoints.models.estimators import Estimator
from entrypoints.search.grid import configurations
from entrypoints.search_space import parse

MLP = "sklearn.neural_network.MLPClassifier"
NB = "sklearn.naive_bayes.GaussianNB"
ALPHAS = {"loguniform": [1e-5, 1e-1]}


def _tried(dataset: str = "diabetes", grid: Any = None, **settings: Any) -> list[Configuration]:
    """The configurations of a study whose grid is as the user would write it, each once unless it says otherwise."""
    settings = {"repeats": 1} | settings
    data = bundled(dataset, 10)
    space = None if grid is None else parse(json.dumps(grid), Path())
    asked = study_settings(dataset=dataset, grid=space, **settings)
    return configurations(asked, data.split, find_all(data.task, asked.algorithm), len(data.classes))


def _own(grid: Any = None, **settings: Any) -> list[Configuration]:
    """Of an MLP, with one batch size."""
    return _tried(grid=grid, **{"algorithm": MLP, "batch_sizes": (16,), **settings})


def _distinct(tried: list[Configuration]) -> int:
    return len(_searched(tried))


def _searched(tried: list[Configuration]) -> set[str]:
    """What is tried, in whatever order."""
    return {repr(configuration.searched) for configuration in tried}


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
    tried = _tried(dataset)
    assert len(tried) == _distinct(tried) == trials
    assert sorted({each.algorithm for each in tried}) == algorithms
    assert sorted({each.batch_size for each in tried}) == [
        2**power for power in range(1, 10) if 2**power <= largest_batch
    ]


def test_configuration_carries_what_a_trial_needs() -> None:
    """The searched values and the fixed ones, and nothing of the machine."""
    settings: dict[str, Any] = {"max_steps": 9, "max_epochs": 2, "report_every": 5}
    assert _tried("red_wine", batch_sizes=(16,), learning_rates=(0.1,), alphas=(0.0,), seed=3, **settings) == [
        Configuration(
            algorithm="linear", batch_size=16, hyperparameters={"learning_rate": 0.1, "alpha": 0.0}, seed=3, **settings
        )
    ]


def test_order_of_trials_has_nothing_to_do_with_their_hyperparameters() -> None:
    """No rank correlation of a place with a batch size, a rate or an algorithm is beyond chance; seeds differ."""
    tried = _tried(seed=3)
    assert [each.place for each in tried] == list(range(1, 193))
    assert tried != _tried(seed=4)
    assert _searched(tried) == _searched(_tried(seed=4))
    names = {"algorithm": lambda each: each.algorithm == "svm", "batch size": lambda each: each.batch_size}
    names |= {name: lambda each, name=name: each.hyperparameters[name] for name in ("learning_rate", "alpha")}
    for name, value in names.items():
        correlation = spearmanr([each.place for each in tried], [value(each) for each in tried]).statistic
        assert abs(correlation) < 0.19, name  # 1 % of shuffled orders exceed it


@pytest.mark.parametrize("search", ["grid", "random"])
def test_tols_are_searched_like_the_other_hyperparameters(search: str) -> None:
    """Of built-in and own algorithms; without one there is none to be seen."""
    settings: dict[str, Any] = {"batch_sizes": (16,), "learning_rates": (0.1,), "alphas": (0.1,), "search": search}
    tried = _tried(algorithm=f"svm,{MLP}", tols=(0.0, 0.01), **settings)
    assert sorted((each.algorithm, each.tol, each.searched["tol"]) for each in tried) == [
        (name, tol, tol) for name in (MLP, "svm") for tol in (0.0, 0.01)
    ]
    assert all("tol" not in each.hyperparameters for each in tried)
    assert [(each.tol, "tol" in each.searched) for each in _tried(algorithm="svm", **settings)] == [(None, False)]


@pytest.mark.parametrize(
    ("algorithm", "widths", "repeats", "runs"),
    [
        pytest.param(MLP, 9, 0, 3, id="own"),
        pytest.param(MLP, 7, 0, 1, id="own, few configurations"),
        pytest.param(MLP, 7, 4, 4, id="own, as asked for"),
        pytest.param("svm", 9, 0, 1, id="built-in"),
        pytest.param("svm", 9, 2, 2, id="built-in, as asked for"),
        pytest.param(f"svm,{MLP}", 9, 0, 3, id="both: of the own one"),
    ],
)
def test_one_configuration_from_the_middle_runs_again(algorithm: str, widths: int, repeats: int, runs: int) -> None:
    """Spread over the order, with places from 1 on; each run has a key of its own."""
    grid = {"max_iter": list(range(1, widths + 1))} if MLP in algorithm else None
    rates = tuple(0.1 * place for place in range(1, widths + 1))
    settings = {"learning_rates": rates, "alphas": (0.1,), "batch_sizes": (16,), "repeats": repeats}
    tried = _tried(algorithm=algorithm, grid=grid, **settings)
    assert [each.place for each in tried] == list(range(1, len(tried) + 1))
    assert len(tried) == _distinct(tried) + runs - 1
    (often, count), *_ = Counter(each.key for each in tried).most_common()
    assert count == runs
    assert len({each.trial_key for each in tried}) == len(tried)
    if runs > 1:
        same = [each for each in tried if each.key == often]
        assert [each.repeat for each in same] == list(range(runs))
        name, value = ("max_iter", (widths + 1) // 2) if MLP in algorithm else ("learning_rate", rates[widths // 2])
        assert same[0].searched[name] == value
        gaps = np.diff([each.place for each in same])
        assert max(gaps) - min(gaps) <= 1
        assert min(gaps) > len(tried) / runs - 1


def test_grid_takes_a_batch_of_all_rows_of_the_smallest_training_fold() -> None:
    """1119 training rows in ten folds leave at least 1007 to train on."""
    assert len(_tried("red_wine", batch_sizes=(1007,), learning_rates=(0.1,), alphas=(0.1,))) == 1


def test_grid_of_an_own_algorithm_is_every_combination_of_its_values() -> None:
    """Each once; learning_rates and alphas are not its own."""
    tried = _own({"hidden_layer_sizes": [[4], [8, 8]], "alpha": [0.1, 0.01]}, batch_sizes=(8, 16))
    assert sorted((each.batch_size, *each.hyperparameters.values()) for each in tried) == [
        (size, layers, alpha) for size in (8, 16) for layers in ([4], [8, 8]) for alpha in (0.01, 0.1)
    ]
    assert {each.algorithm for each in tried} == {MLP}


def test_own_algorithm_without_a_grid_has_its_own_defaults() -> None:
    """One trial per batch size."""
    tried = sorted(_own(batch_sizes=(8, 16)), key=lambda each: each.batch_size)
    assert [(each.batch_size, each.hyperparameters) for each in tried] == [(8, {}), (16, {})]


@pytest.mark.parametrize("search", ["grid", "random"])
def test_built_in_and_own_algorithms_are_searched_together(search: str) -> None:
    """Each with its own hyperparameters."""
    settings: dict[str, Any] = {"batch_sizes": (16,), "learning_rates": (0.1, 0.01), "alphas": (0.1,)}
    tried = _tried(algorithm=f"svm,{MLP}", grid={"alpha": [1, 2, 3]}, search=search, **settings)
    assert Counter((each.algorithm, *each.hyperparameters) for each in tried) == {
        ("svm", "learning_rate", "alpha"): 2,
        (MLP, "alpha"): 3,
    }


@pytest.mark.parametrize(
    ("algorithm", "grid", "samples", "trials"),
    [
        pytest.param("svm", None, 0, 20, id="default-number"),
        pytest.param("svm", None, 7, 7, id="number"),
        pytest.param("svm", None, 1000, 96, id="no-more-than-the-grid-has"),
        pytest.param("auto", None, 1000, 192, id="no-more-than-all-grids-have"),
        pytest.param(MLP, {"alpha": [0.1, 0.2]}, 0, 16, id="own-grid"),
        pytest.param(MLP, {"alpha": ALPHAS}, 0, 20, id="distribution"),
        pytest.param(MLP, {"n_iter_no_change": {"integers": [1, 3]}}, 30, 24, id="distribution-of-few-values"),
        pytest.param(f"svm,{MLP}", {"alpha": ALPHAS}, 50, 50, id="list-and-distribution"),
    ],
)
def test_random_search_tries_distinct_configurations(algorithm: str, grid: Any, samples: int, trials: int) -> None:
    """As many as are asked for, as far as there are enough."""
    tried = _tried(algorithm=algorithm, grid=grid, search="random", samples=samples)
    assert len(tried) == _distinct(tried) == trials


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"algorithm": "svm", "search": "random"}, id="lists"),
        pytest.param({"algorithm": MLP, "search": "random", "grid": {"alpha": ALPHAS}}, id="distribution"),
        pytest.param({"max_trials": 15}, id="max-trials"),
    ],
)
def test_seed_fixes_what_is_chosen_at_random(settings: dict[str, Any]) -> None:
    """The same seed chooses the same trials, another one chooses others."""
    first, again, other = (_tried(seed=seed, **settings) for seed in (3, 3, 4))
    assert first == again
    assert _searched(first) != _searched(other)


def test_drawn_values_are_plain_numbers_within_their_bounds() -> None:
    """As MLflow and JSON write them, beside values that are listed."""
    grid = {
        "alpha": ALPHAS,
        "momentum": {"uniform": [0.5, 0.9]},
        "n_iter_no_change": {"integers": [1, 50]},
        "hidden_layer_sizes": [[4]],
    }
    tried = _own(grid, search="random", samples=40)
    kinds = {tuple(map(type, each.hyperparameters.values())) for each in tried}
    assert kinds == {(float, float, int, list)}
    assert {tuple(each.hyperparameters) for each in tried} == {tuple(grid)}
    assert all(1e-5 <= each.hyperparameters["alpha"] <= 1e-1 for each in tried)
    assert all(0.5 <= each.hyperparameters["momentum"] <= 0.9 for each in tried)
    assert all(1 <= each.hyperparameters["n_iter_no_change"] <= 50 for each in tried)


def test_max_trials_keeps_some_of_the_grid() -> None:
    """Chosen from all of it, not from its start: both algorithms are there, and small and large batches."""
    whole, some = _tried(), _tried(max_trials=15)
    assert len(some) == 15
    assert all(each in whole for each in some)
    assert {each.algorithm for each in some} == {"logistic", "svm"}
    assert min(each.batch_size for each in some) < 16 < max(each.batch_size for each in some)


SGD = "sklearn.linear_model.SGDClassifier"
SHARES = ("alpha", "l1_ratio", "epsilon", "eta0", "power_t", "validation_fraction")
COUNTS = ("max_iter", "n_iter_no_change", "random_state", "average", "n_jobs")


def _values(number: int) -> dict[str, list[Any]]:
    """As many values of each of eleven hyperparameters."""
    shares, counts = [(place + 0.5) / number for place in range(number)], [*range(1, number + 1)]
    return dict.fromkeys(SHARES, shares) | dict.fromkeys(COUNTS, counts)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No value of a large grid is tried out, which takes a second."""
    monkeypatch.setattr(Estimator, "check", lambda *_: None)


TENS = _values(10)
TEN_SIZES = tuple(range(2, 12))


def _memory_of(make: Callable[[], list[Configuration]]) -> tuple[list[Configuration], float]:
    """What is made, and the most megabytes of Python's that this took beyond those before."""
    tracemalloc.start()
    try:
        return make(), tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("digits", [5, 12], ids=["hundred-thousand", "million-million"])
def test_max_trials_of_a_large_grid_takes_no_memory_for_the_rest(digits: int) -> None:
    """Only the chosen combinations are made."""
    space = dict([*TENS.items()][: digits - 1])
    tried, megabytes = _memory_of(lambda: _own(space, algorithm=SGD, batch_sizes=TEN_SIZES, max_trials=10))
    assert len(tried) == _distinct(tried) == 10
    assert all(value in space[name] for each in tried for name, value in each.hyperparameters.items())
    assert megabytes < 10


@pytest.mark.usefixtures("unchecked")
def test_chosen_trials_of_a_large_grid_take_all_values_of_each_hyperparameter() -> None:
    """The first as well as the last."""
    tried = _own(TENS, algorithm=SGD, batch_sizes=TEN_SIZES, max_trials=200)
    assert {len({each.hyperparameters[name] for each in tried}) for name in TENS} == {10}
    assert {each.batch_size for each in tried} == set(TEN_SIZES)


@pytest.mark.usefixtures("unchecked")
def test_random_search_of_more_combinations_than_an_integer_counts() -> None:
    """Distinct ones, the same for the same seed."""
    of: dict[str, Any] = {"algorithm": SGD, "search": "random", "samples": 7, "batch_sizes": tuple(range(2, 402))}
    first, again, other = (_own(_values(40), seed=seed, **of) for seed in (3, 3, 4))
    assert len(first) == _distinct(first) == 7
    assert first == again
    assert _searched(first) != _searched(other)


def test_grid_of_too_many_combinations_is_refused_in_one_sentence() -> None:
    """It says how many there are, how many may be, and what to do."""
    with pytest.raises(UserError) as raised:
        _tried(algorithm="svm", batch_sizes=(16,), learning_rates=(0.1,), alphas=tuple(map(float, range(100_001))))
    assert raised.value.message == (
        "search=grid: there are 100001 combinations, and at most 100000 are tried; list fewer values, set max_trials, "
        "or add search=random"
    )


@pytest.mark.parametrize("max_trials", [0, 192, 1000], ids=["no-limit", "exact", "above"])
def test_max_trials_leaves_a_smaller_grid_whole(max_trials: int) -> None:
    """It is a limit and no number."""
    assert _tried(max_trials=max_trials) == _tried()


@pytest.mark.parametrize(
    ("settings", "starts", "advice"),
    [
        pytest.param(
            {"batch_sizes": (16, 1008), "dataset": "red_wine"},
            "batch_sizes=16,1008: 1008 rows are more than the 1007 that a fold trains on",
            "; the largest batch can be 1007",
            id="large-batch",
        ),
        pytest.param(
            {"grid": {"alpha": [1], "depth": [2]}, "algorithm": "logistic,svm"},
            "grid: alpha, depth belong to an algorithm of your own",
            "the built-in ones take batch_sizes, learning_rates and alphas",
            id="built-in-only",
        ),
        pytest.param(
            {"grid": {"depth": [2]}, "algorithm": f"{MLP},{NB}"},
            f"grid: depth is not a hyperparameter of {MLP}, which has hidden_layer_sizes, activation, ",
            "; choose from these",
            id="unknown",
        ),
        pytest.param(
            {"grid": {"depth": {"uniform": [0, 1]}}, "algorithm": MLP, "search": "random"},
            f"grid: depth is not a hyperparameter of {MLP}, which has ",
            "; choose from these",
            id="unknown-distribution",
        ),
        pytest.param(
            {"grid": {"var_smoothing": [1e-9]}, "algorithm": f"{NB},{MLP}"},
            f"grid: var_smoothing is not a hyperparameter of {MLP}, which has ",
            "; choose from these",
            id="of-another-algorithm",
        ),
        pytest.param(
            {"grid": {"alpha": [0.1], "momentum": {"uniform": [0, 1]}}, "algorithm": MLP},
            "grid: momentum is a distribution, which search=random draws from",
            "; add it, or list values",
            id="distribution-in-a-grid-search",
        ),
        pytest.param(
            {"samples": 5, "algorithm": "svm"},
            "samples=5: search=grid tries everything",
            "; add search=random to draw samples",
            id="samples-of-a-grid-search",
        ),
        pytest.param(
            {"grid": {"alpha": [0.1, -1]}, "algorithm": MLP},
            f"algorithm={MLP} with alpha=-1 does not train on standardised features: ",
            "; choose other values in grid, or another algorithm",
            id="second-value",
        ),
        pytest.param(
            {"grid": {"alpha": {"uniform": [-2, -1]}}, "algorithm": MLP, "search": "random"},
            f"algorithm={MLP} with alpha=-1.",
            "; choose other values in grid, or another algorithm",
            id="drawn-values",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_sentence(
    settings: dict[str, Any], starts: str, advice: str
) -> None:
    """It says what was given, what is wrong with it, and what to do."""
    with pytest.raises(UserError) as raised:
        _tried(**settings)
    message = raised.value.message
    assert message.startswith(starts)
    assert message.endswith(advice)
    assert "\n" not in message


@pytest.mark.parametrize(
    "name",
    [
        "algorithm",
        "batch_size",
        "dataset",
        "target",
        "max_rows",
        "folds",
        "seed",
        "max_steps",
        "max_epochs",
        "report_every",
    ],
)
def test_name_of_a_parameter_of_the_run_is_refused_as_a_hyperparameter(name: str) -> None:
    """Its value would stand for the study's own in the trial's run."""
    with pytest.raises(
        UserError, match=rf"^grid: {name} is set by a parameter of its own, which docs/study\.md lists; [^\n]+$"
    ):
        _own({name: [1]})
