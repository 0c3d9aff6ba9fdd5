"""What trials are called in the UI's lists and legends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from reference import bundled
from study_settings import study_settings

from entrypoints.models.algorithms import find_all
from entrypoints.models.configuration import Configuration
from entrypoints.search.grid import configurations
from entrypoints.search.run_names import run_names

MLP = "sklearn.neural_network.MLPClassifier"


def _named(algorithm: str = "linear", **hyperparameters: Any) -> Configuration:
    tol = hyperparameters.pop("tol", None)
    return Configuration(algorithm, 16, hyperparameters, seed=0, max_steps=1, max_epochs=0, report_every=1, tol=tol)


def _own(**values: tuple[Any, Any]) -> list[Configuration]:
    """Two trials of an algorithm of the user's own, which differ in each of these hyperparameters."""
    return [_named(MLP, **{name: pair[number] for name, pair in values.items()}) for number in (0, 1)]


SOME = [_named(learning_rate=rate, alpha=alpha) for rate in (0.1, 0.2) for alpha in (1e-5, 0.01)]


@pytest.mark.parametrize(
    ("trials", "names"),
    [
        pytest.param(SOME, ["lr0.1 a1e-05", "lr0.1 a0.01", "lr0.2 a1e-05", "lr0.2 a0.01"], id="varied"),
        pytest.param(SOME[:1], ["linear b16 lr0.1 a1e-05"], id="only-trial"),
        pytest.param([SOME[0], replace(SOME[0], batch_size=2)], ["b16", "b2"], id="batch-sizes"),
        pytest.param([SOME[0], SOME[1], replace(SOME[1], repeat=1)], ["a1e-05", "a0.01", "#2 a0.01"], id="repeated"),
        pytest.param([_named(tol=0.0), _named(tol=0.01)], ["tol0", "tol0.01"], id="tol"),
        pytest.param(
            [_named("svm", alpha=0.1), _named(MLP, alpha=1)], ["svm a0.1", "MLPClassifier a1"], id="class-of-a-path"
        ),
        pytest.param(
            _own(learning_rate_init=(0.000123456, 123456.789)), ["lri0.0001235", "lri1.235e+05"], id="four-digits"
        ),
        pytest.param(_own(hidden_layer_sizes=([4], [8, 8])), ["hls[4]", "hls[8,8]"], id="initials-and-lists"),
        pytest.param(
            _own(solver=("sgd", "adam"), max_iter=(-1, None)), ["s=sgd mi=-1", "s=adam mi=None"], id="words-and-signs"
        ),
        pytest.param(
            _own(activation=("relu", "tanh"), l1_ratio=(0.1, 0.2)),
            ["activation=relu l1_ratio=0.1", "activation=tanh l1_ratio=0.2"],
            id="initials-that-mean-something-else-elsewhere",
        ),
        pytest.param(_own(beta_1=(0.9, 1), momentum=(0, 1)), ["beta_1=0.9 m0", "beta_1=1 m1"], id="digit-at-the-end"),
        pytest.param(
            [_named(MLP, power_t=1, penalty_type=3), _named(MLP, power_t=2, penalty_type=3)],
            ["power_t=1", "power_t=2"],
            id="initials-of-one-that-is-not-shown",
        ),
    ],
)
def test_name_holds_what_differs_and_little_else(trials: list[Configuration], names: list[str]) -> None:
    """A value that all trials share, or a word that all repeat, would only widen the UI's legends."""
    assert list(run_names(trials).values()) == names


@pytest.mark.parametrize(("dataset", "longest"), [("red_wine", 20), ("diabetes", 29)])
def test_names_of_a_default_study_are_distinct_and_short(dataset: str, longest: int) -> None:
    """Runs are told apart by their names, the repetitions among them too."""
    data, settings = bundled(dataset, 10), study_settings(dataset=dataset, repeats=3)
    tried = configurations(settings, data.split, find_all(data.task, settings.algorithm), data.n_classes)
    names = run_names(tried).values()
    assert len(set(names)) == len(tried)
    assert max(map(len, names)) <= longest
