"""The law of a step's time: found where it holds, with intervals that hold, and not said where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_studies import made_study

from entrypoints.reporting.hyperparameters.cost_law import cost_law, step_times
from entrypoints.reporting.studies import Study

SIZES = (64, 256, 1024, 32768)


def _study(law: Any, sizes: Any = SIZES, trials: int = 9, noise: float = 0.05, seed: int = 0, **columns: Any) -> Study:
    """So many trials at each batch size, whose step times follow a law but for their noise."""
    random, rows = np.random.default_rng(seed), np.repeat(np.array(sizes, dtype=float), trials)
    times = law(rows) * np.exp(random.normal(scale=noise, size=len(rows)))
    return made_study(["batch_size"], batch_size=rows, mean_step_time_ms=times, **columns)


def test_law_is_found_over_three_orders_of_magnitude() -> None:
    """By relative errors: a call of 2.5 ms is found beside steps of 700 ms, and so is what follows for training."""
    steps = np.repeat([1000, 500, 100, 12], 9)
    study = _study(lambda rows: 2.5 + 0.0212 * rows, steps=steps)
    study.trials["training_time_s"] = steps * study.trials["mean_step_time_ms"] / 1e3
    (row,) = cost_law(study).to_dict("records")
    assert row["fits"]
    assert row["call_low_ms"] < 2.5 < row["call_high_ms"] < 2.9
    assert row["row_low_ms"] < 0.0212 < row["row_high_ms"] < 0.023
    assert row["per_1000_rows_ms"] == pytest.approx(1000 * row["row_ms"])
    assert row["r_squared"] > 0.99
    assert row["error"] == pytest.approx(0.035, abs=0.02)  # that of the noise
    assert row["training_error"] == pytest.approx(row["error"])
    assert (row["trials"], row["batch_sizes"], row["smallest"], row["largest"]) == (36, 4, 64, 32768)


def test_outliers_do_not_move_the_law() -> None:
    """Two of nine trials at each batch size took ten times as long."""
    study = _study(lambda rows: 2.5 + 0.0212 * rows)
    study.trials.loc[study.trials.index % 9 < 2, "mean_step_time_ms"] *= 10
    (row,) = cost_law(study).to_dict("records")
    assert (row["call_ms"], row["row_ms"]) == pytest.approx((2.5, 0.0212), rel=0.1)


@pytest.mark.parametrize(
    ("law", "fits"),
    [
        pytest.param(lambda rows: 0.31 + 0.00005 * rows, True, id="hardly any rise"),
        pytest.param(lambda rows: 0.02 * rows, True, id="no overhead"),
        pytest.param(lambda rows: 0.3 + 0 * rows, True, id="no rise"),
        pytest.param(lambda rows: 0.1 * np.sqrt(rows), False, id="a root"),
        pytest.param(lambda rows: np.where(rows < 1000, 1.0, 60.0), False, id="a jump"),
        pytest.param(lambda rows: 2 + 0.02 * rows * (1 + (rows == 256)), False, id="one batch size that is slow"),
    ],
)
def test_law_is_said_only_where_it_fits(law: Any, fits: bool) -> None:
    """With its error; neither part is ever below 0."""
    (row,) = cost_law(_study(law)).to_dict("records")
    assert row["fits"] == fits
    assert min(row["call_ms"], row["row_ms"]) >= 0


def test_noisy_steps_are_no_misfit_of_the_law_alone() -> None:
    """A median error beyond 15 % is not said, whatever its cause."""
    assert not cost_law(_study(lambda rows: 2.5 + 0.02 * rows, noise=0.4)).iloc[0]["fits"]


def test_intervals_hold_the_law_in_most_studies() -> None:
    """In at least 88 % of 60 studies, of each part."""
    held = np.zeros(2)
    for seed in range(60):
        row = cost_law(_study(lambda rows: 0.31 + 0.0002 * rows, (2, 64, 512, 1024), seed=seed, noise=0.1)).iloc[0]
        held += [
            row["call_low_ms"] <= 0.31 <= row["call_high_ms"],
            row["row_low_ms"] <= 0.0002 <= row["row_high_ms"],
        ]
    assert (held >= 53).all()


def test_single_trials_have_no_interval() -> None:
    """Nothing shows their noise."""
    (row,) = cost_law(_study(lambda rows: 1 + 0.01 * rows, trials=1)).to_dict("records")
    assert np.isnan([row["call_low_ms"], row["row_high_ms"]]).all()


def test_each_algorithm_has_its_own_law() -> None:
    """One with fewer than three batch sizes has none."""
    study = made_study(
        ["algorithm", "batch_size"],
        algorithm=["a"] * 8 + ["b"] * 4,
        batch_size=[2.0, 64.0, 512.0, 1024.0] * 2 + [2.0, 64.0] * 2,
        mean_step_time_ms=[1.0, 1.1, 1.4, 2.0] * 2 + [1.0, 2.0] * 2,
    )
    assert cost_law(study)["algorithm"].tolist() == ["a"]
    assert step_times(study)["algorithm"].tolist() == ["a"] * 4 + ["b"] * 2


def test_step_times_are_medians_and_the_middle_of_the_trials() -> None:
    """Of those that ran to their end."""
    study = made_study(
        ["batch_size"],
        batch_size=[2.0] * 11 + [4.0],
        mean_step_time_ms=[*range(1, 12), 99.0],
        diverged=[False] * 11 + [True],
    )
    (row,) = step_times(study).to_dict("records")
    assert (row["batch_size"], row["trials"], row["low"], row["median"], row["high"]) == (2, 11, 2, 6, 10)


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"batch_size": [2.0, 4.0, 8.0]}, id="no step times"),
        pytest.param({"batch_size": ["2", "4", "all"], "mean_step_time_ms": [1.0, 2.0, 3.0]}, id="words"),
        pytest.param({"batch_size": [2.0, 4.0, 8.0], "mean_step_time_ms": [np.nan] * 3}, id="unknown"),
    ],
)
def test_study_without_step_times_has_no_law(columns: dict[str, Any]) -> None:
    """And no table of them."""
    study = made_study(["batch_size"], **columns)
    assert cost_law(study).empty
    assert step_times(study).empty
