"""What studies of several datasets share, and the medians at the levels of a hyperparameter."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from mlflow.entities import Run, RunData, RunInfo

from entrypoints.reporting.comparison.levels import Size, factors, measures, medians
from entrypoints.reporting.studies import Study

RUN = Run(RunInfo("1" * 32, "0", "me", "FINISHED", 0, 1, "active", run_name="tune"), RunData())


def _study(hyperparameters: list[str], score: str = "val_rmse", **columns: list[Any]) -> Study:
    trials: pd.DataFrame = pd.DataFrame({"status": "FINISHED", "diverged": False} | columns)
    return Study(RUN, trials, pd.DataFrame(), hyperparameters, score, score == "val_accuracy")


@pytest.mark.parametrize(
    ("first", "second", "levels"),
    [
        pytest.param([2, 4, 8, 16], [4, 8, 16, 32], ["4", "8", "16"], id="sizes that both tried"),
        pytest.param([4, 2, 8], [2.0, 4.0, 8.0], ["2", "4", "8"], id="whole and other numbers"),
        pytest.param(
            [10, 20, 40], [100, 200, 400], ["1/8 of the rows", "1/4 of the rows", "1/2 of the rows"], id="shares"
        ),
        pytest.param([10, 20], [100, 200], ["1/8 of the rows", "1/4 of the rows"], id="two shares"),
        pytest.param([2, 4], [2, 4], ["2", "4"], id="two sizes"),
    ],
)
def test_levels_are_those_that_all_studies_tried(first: list[Any], second: list[Any], levels: list[str]) -> None:
    """Batch sizes that are not shared become shares of the rows that a fold trains on: 80 here, and 800."""
    studies = [_study(["batch_size", "x"], batch_size=first), _study(["batch_size"], batch_size=second)]
    (factor,) = factors(studies, [Size(80, 4), Size(800, 4)])
    assert (factor.name, factor.levels) == ("batch_size", levels)
    assert [each.dropna().isin(levels).sum() for each in factor.of_trials] == [len(levels)] * 2


def test_batch_sizes_of_unknown_datasets_have_no_shares() -> None:
    """Nor has another hyperparameter."""
    studies = [_study(["batch_size"], batch_size=[1, 2]), _study(["batch_size"], batch_size=[3, 4])]
    assert [factor.levels for factor in factors(studies, [Size(8, 4), None])] == [[]]
    studies = [_study(["depth"], depth=[1, 2]), _study(["depth"], depth=[3, 4])]
    assert [factor.levels for factor in factors(studies, [Size(8, 4)] * 2)] == [[]]


def test_score_and_the_system_figures_of_all_studies_are_compared() -> None:
    """Each in the direction that is better."""
    one = _study([], val_rmse=[1.0], elapsed_s=[1.0], rows_per_s=[1.0], peak_gpu_memory_mb=[1.0], steps=[1.0])
    other = _study([], "val_accuracy", val_accuracy=[1.0], elapsed_s=[1.0], rows_per_s=[1.0])
    found = measures([one, other])
    assert [(each.name, each.signs, each.is_score) for each in found] == [
        ("score", [1, -1], True),
        ("elapsed_s", [1, 1], False),
        ("rows_per_s", [-1, -1], False),
    ]
    assert found[0].columns == ["val_rmse", "val_accuracy"]
    assert measures([one, one])[0].name == "val_rmse"


@pytest.mark.parametrize(
    ("diverged", "expected", "trials"),
    [
        pytest.param([], [20.0, 20.0], [3, 3], id="all"),
        pytest.param([5], [15.0, 15.0], [2, 2], id="one"),
        pytest.param([4, 5], [10.0, 10.0], [1, 1], id="the dear ones of a level"),
        pytest.param([3, 4, 5], [20.0, math.nan], [3, 0], id="a level"),
        pytest.param([0, 1, 2, 3, 4, 5], [math.nan, math.nan], [0, 0], id="everything"),
        pytest.param([0, 4, 5], [math.nan, math.nan], [0, 0], id="no configuration at both"),
    ],
)
def test_medians_are_of_what_ended_at_every_level(
    diverged: list[int], expected: list[float], trials: list[int]
) -> None:
    """The cost hangs on the batch size alone: what diverged at one rate makes neither rate look cheap."""
    place = list(range(6))
    columns: dict[str, list[Any]] = {
        "rate": ["a"] * 3 + ["b"] * 3,
        "size": [1, 2, 3] * 2,
        "cost": [10.0, 20.0, 30.0] * 2,
    }
    study = _study(["rate", "size"], **columns, diverged=[each in diverged for each in place], val_rmse=[1.0] * 6)
    found = medians(study, "rate", study.trials["rate"], ["a", "b"], "cost")
    assert found["median"].tolist() == pytest.approx(expected, nan_ok=True)
    assert found["trials"].tolist() == trials
