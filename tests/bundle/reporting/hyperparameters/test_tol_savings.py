"""What a tol saves, and what it does to the score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_studies import made_study

from entrypoints.limits.noise import Noise
from entrypoints.reporting.hyperparameters.tol_savings import tol_savings
from entrypoints.reporting.studies import Study


def _study(score: float = 0.0) -> Study:
    """Twelve configurations at each of three tols, which save nothing and two thirds, and change the score."""
    tol, seed = (axis.ravel() for axis in np.meshgrid([0.0, 1e-6, 0.001], range(12), indexing="ij"))
    steps = np.where(tol > 1e-5, 300, 900) + seed
    columns = {
        "steps": steps,
        "training_time_s": steps * (1 + seed) / 1e3,
        "val_rmse": 0.7 + seed + score * (tol > 1e-5),
    }
    study = made_study(["tol", "seed"], "val_rmse", tol=tol, seed=seed, **columns)
    return replace(study, noises={"val_rmse": Noise("val_rmse", 0.01, "val_rmse", 0.03, 9, "folds")})


def test_each_tol_is_compared_with_the_smallest() -> None:
    """Each configuration with itself: training times of a configuration differ by more than what is saved."""
    table = tol_savings(_study()).set_index(["tol", "metric"])
    assert list(table.index.get_level_values("metric")) == [
        each for each in ("steps", "training_time_s", "val_rmse") for _ in range(2)
    ]
    row = table.loc[("0.001", "training_time_s")]
    assert (row["against"], row["matched"], row["change_in"]) == ("0", 12, "times less")
    assert row["change_low"] <= row["change"] <= row["change_high"]
    assert row["change"] == pytest.approx(905.5 / 305.5, rel=0.01)
    assert table["beyond_noise"].to_dict() == {
        ("1e-06", "steps"): False,
        ("0.001", "steps"): True,
        ("1e-06", "training_time_s"): False,
        ("0.001", "training_time_s"): True,
        ("1e-06", "val_rmse"): False,
        ("0.001", "val_rmse"): False,
    }


@pytest.mark.parametrize(("score", "beyond"), [(0.005, False), (0.02, True)], ids=["within noise", "beyond"])
def test_score_changes_only_beyond_its_noise(score: float, beyond: bool) -> None:
    """Which is 0.01 here."""
    table = tol_savings(_study(score)).set_index(["tol", "metric"])
    row = table.loc[("0.001", "val_rmse")]
    assert row["beyond_noise"] == beyond
    assert row["noise"] == 0.01
    assert row["change"] == pytest.approx(score)


def test_study_without_tols_saves_nothing_by_them() -> None:
    """Nor does one whose tol has two trials."""
    assert tol_savings(made_study(["size"], size=[1, 2], steps=[1.0, 2.0])).empty
    few = made_study(["tol"], tol=[0.0, 0.0, 0.0, 0.1, 0.1], steps=[9.0, 9.0, 9.0, 3.0, 3.0])
    assert tol_savings(few).empty
