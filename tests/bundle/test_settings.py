"""What a study searches: what is shared by its trials, and the limits that it needs."""

from __future__ import annotations

import pytest
from study_settings import study_settings

from entrypoints.errors import UserError


def test_trials_share_what_no_trial_chooses() -> None:
    """The run of every trial says of which study it is, under the names of the options."""
    settings = study_settings(dataset="diabetes", max_rows=100, max_epochs=2)
    assert settings.shared == {
        "dataset": "diabetes",
        "target": "auto",
        "max_rows": 100,
        "folds": 10,
        "seed": 0,
        "max_steps": 0,
        "max_epochs": 2,
        "report_every": 100,
    }


@pytest.mark.parametrize(
    ("length", "is_to_be"),
    [
        pytest.param({"max_steps": 1, "max_epochs": 0}, (1, 0), id="steps"),
        pytest.param({"max_steps": 0, "max_epochs": 1}, (0, 1), id="epochs"),
        pytest.param({"max_steps": 5, "max_epochs": 5}, (5, 5), id="both"),
        pytest.param({}, (1500, 10), id="the default length"),
        pytest.param({"max_steps": 500}, (500, 0), id="steps alone"),
        pytest.param({"max_epochs": 3}, (0, 3), id="epochs alone"),
    ],
)
def test_length_is_what_was_given_and_else_the_default(length: dict[str, int], is_to_be: tuple[int, int]) -> None:
    """A number that the user gives is not cut short by a default of the other."""
    settings = study_settings(**length)
    assert (settings.max_steps, settings.max_epochs) == is_to_be


def test_settings_without_any_limit_are_refused_in_one_sentence() -> None:
    """Such a trial would never end."""
    with pytest.raises(UserError) as raised:
        study_settings(max_steps=0, max_epochs=0)
    assert raised.value.message.startswith("max_steps=0 and max_epochs=0: ")
    assert "default length" in raised.value.message
