"""What a trial's end leaves in tags of its run, and reads back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from entrypoints.limits.extrapolation import Prediction
from entrypoints.limits.stop_or_skip import DIVERGED, EarlyEnd
from entrypoints.search.trial_end import TrialEnd
from entrypoints.tags import END
from mlflow_sysmetrics.limits import Stop

MAX_TAG_LENGTH = 5000
FOLDS = [
    {"fold": number, "val_loss": 0.1 + number / 3, "val_rmse": 2 / 3, "test_loss": 1e-17, "training_time_s": 0.1}
    for number in range(3)
]
CROSSED = EarlyEnd(Stop("peak_memory_mb<=1.5x median", "peak_memory_mb", 312.3456789012345, 300 / 7, 121), "crossed")
PREDICTED = EarlyEnd(
    Stop("training_time_s<=0.3", "training_time_s", 1 / 3, 0.3, 71), "predicted", Prediction(0.4983, 1 / 3, 0.6016)
)
HOPELESS = EarlyEnd(Stop(DIVERGED, "val_loss", math.inf, 107.5, 100), "crossed")


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(TrialEnd(FOLDS), id="finished"),
        pytest.param(TrialEnd([], CROSSED, {"training_time_s": 1 / 3}), id="crossed"),
        pytest.param(TrialEnd([], PREDICTED, {}), id="predicted"),
        pytest.param(TrialEnd([], HOPELESS), id="infinite-loss"),
        pytest.param(TrialEnd(FOLDS * 30, PREDICTED), id="in-several-tags"),
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
