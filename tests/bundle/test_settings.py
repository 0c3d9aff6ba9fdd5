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
        "max_steps": 500,
        "max_epochs": 2,
        "report_every": 100,
    }


@pytest.mark.parametrize(
    ("max_steps", "max_epochs"),
    [pytest.param(1, 0, id="steps"), pytest.param(0, 1, id="epochs"), pytest.param(5, 5, id="both")],
)
def test_settings_take_one_limit_or_both(max_steps: int, max_epochs: int) -> None:
    """One limit ends a trial."""
    settings = study_settings(max_steps=max_steps, max_epochs=max_epochs)
    assert (settings.max_steps, settings.max_epochs) == (max_steps, max_epochs)


def test_settings_without_any_limit_are_refused_in_one_sentence() -> None:
    """Such a trial would never end."""
    with pytest.raises(UserError) as raised:
        study_settings(max_steps=0, max_epochs=0)
    assert raised.value.message.startswith("max_steps=0 and max_epochs=0: ")
    assert "max_steps=500" in raised.value.message
