"""What a trial's end leaves in tags of its run, and reads back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from entrypoints.search.trial_end import TrialEnd
from entrypoints.tags import END

MAX_TAG_LENGTH = 5000
FOLDS = [
    {"fold": number, "val_loss": 0.1 + number / 3, "val_rmse": 2 / 3, "test_loss": 1e-17, "training_time_s": 0.1}
    for number in range(3)
]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(TrialEnd(FOLDS), id="finished"),
        pytest.param(TrialEnd([], {"training_time_s": 1 / 3, "val_loss": math.inf}), id="stopped"),
        pytest.param(TrialEnd(FOLDS * 30, {}), id="in-several-tags"),
    ],
)
def test_end_comes_back_to_the_last_digit(end: TrialEnd) -> None:
    """From texts that MLflow takes, among other tags."""
    assert all(len(text) < MAX_TAG_LENGTH for text in end.tags.values())
    assert TrialEnd.read({"sysmetrics.kind": "trial", **end.tags}) == end


def test_numbers_of_numpy_are_written_as_they_are() -> None:
    """A figure may come from numpy, which JSON does not know."""
    end = TrialEnd([{"fold": 0, "val_loss": np.float32(0.5)}], expected={"elapsed_s": np.float64(1.5)})
    assert TrialEnd.read(end.tags) == TrialEnd([{"fold": 0, "val_loss": 0.5}], expected={"elapsed_s": 1.5})


def test_run_that_has_not_ended_has_no_end() -> None:
    """Nor has one of which a part is missing."""
    tags = TrialEnd(FOLDS * 30).tags
    assert len(tags) > 1
    assert TrialEnd.read({"sysmetrics.kind": "trial"}) is None
    assert TrialEnd.read({END: tags[END]}) is None
