"""What one trial trains: how long it is, what is told of it, and which models it makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from reference import MLP_CLASSIFIER, configured


@pytest.mark.parametrize(
    ("batch_size", "max_steps", "max_epochs", "steps"),
    [
        pytest.param(8, 500, 0, 500, id="steps"),
        pytest.param(8, 0, 2, 26, id="epochs-with-a-smaller-last-batch"),
        pytest.param(100, 0, 2, 2, id="epochs-of-one-batch"),
        pytest.param(8, 20, 2, 20, id="steps-first"),
        pytest.param(8, 30, 2, 26, id="epochs-first"),
    ],
)
def test_limit_that_is_reached_first_ends_the_trial(
    batch_size: int, max_steps: int, max_epochs: int, steps: int
) -> None:
    """Of 100 rows; 0 means no limit."""
    assert configured(batch_size=batch_size, max_steps=max_steps, max_epochs=max_epochs).steps(100) == steps


@pytest.mark.parametrize(
    ("steps", "every", "reports"),
    [
        pytest.param(1500, None, 20, id="long"),
        pytest.param(90, None, 22, id="short"),
        pytest.param(12, None, 12, id="shorter"),
        pytest.param(1500, 100, 15, id="given"),
    ],
)
def test_reports_are_spread_over_the_training(steps: int, every: int | None, reports: int) -> None:
    """About 20, unless the user says how many steps lie between them."""
    assert steps // configured(max_steps=steps, report_every=every).report_steps(100) == reports


@pytest.mark.parametrize(
    ("changes", "equal"),
    [
        pytest.param({"seed": 7}, True, id="what is not searched"),
        pytest.param({"hidden_layer_sizes": [4, 8]}, False, id="lists"),
        pytest.param({"alpha": 1.0000000000000002e-12}, False, id="last digit"),
        pytest.param({"alpha": "1e-12"}, False, id="word and number"),
        pytest.param({"tol": 0.1}, False, id="tol"),
    ],
)
def test_key_tells_configurations_apart(changes: dict[str, Any], equal: bool) -> None:
    """By what is searched."""
    usual: dict[str, Any] = {"hidden_layer_sizes": [8, 4], "alpha": 1e-12}
    one, other = (configured(MLP_CLASSIFIER, **values) for values in (usual, usual | changes))
    assert (one.key == replace(other, place=9, repeat=1).key) is equal
