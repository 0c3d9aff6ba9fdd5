"""What a study searches: what is shared by its trials, and the limits that it needs."""

from __future__ import annotations

from typing import Any

import pytest
from study_settings import study_settings

from entrypoints.errors import UserError


def test_trials_share_what_no_trial_chooses() -> None:
    """The run of every trial says of which study it is, under the names of the options and as they are typed."""
    assert study_settings(dataset="diabetes", max_epochs=2).shared == {
        "dataset": "diabetes",
        "target": "auto",
        "max_rows": "all",
        "folds": "10",
        "seed": "0",
        "max_steps": "none",
        "max_epochs": "2",
        "report_every": "auto",
    }


@pytest.mark.parametrize(
    ("length", "is_to_be"),
    [
        pytest.param({"max_steps": 1, "max_epochs": None}, (1, None), id="steps, no epochs"),
        pytest.param({"max_steps": None}, (None, None), id="no steps"),
        pytest.param({"max_steps": 5, "max_epochs": 5}, (5, 5), id="both"),
        pytest.param({}, (1500, 10), id="the default length"),
        pytest.param({"max_steps": 500}, (500, None), id="steps alone"),
        pytest.param({"max_epochs": 3}, (None, 3), id="epochs alone"),
    ],
)
def test_length_is_what_was_given_and_else_the_default(
    length: dict[str, Any], is_to_be: tuple[int | None, int | None]
) -> None:
    """A number that the user gives is not cut short by a default of the other. A trial has an end."""
    if is_to_be == (None, None):
        with pytest.raises(UserError, match=r"^max_steps=none and max_epochs=none: .*; give one of them a number, "):
            study_settings(**length)
    else:
        settings = study_settings(**length)
        assert (settings.max_steps, settings.max_epochs) == is_to_be
