"""The leak in wave_energy: dropped where it is what it is known to be, refused where it is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from entrypoints.datasets.wave_energy import without_converters

ROWS = 200


def _wave(power: str = "power{}") -> pd.DataFrame:
    """Made up: 16 coordinate pairs, 16 powers and nearly their sum, in the structure of wave_energy."""
    rng = np.random.default_rng(0)
    places = {f"{axis}{number}": rng.uniform(0, 566, ROWS) for axis in "xy" for number in range(1, 17)}
    powers = {power.format(number): rng.normal(2.4e5, 1e4, ROWS) for number in range(1, 17)}
    return pd.DataFrame({**places, **powers, "energy_total": sum(powers.values()) + rng.normal(0, 1e3, ROWS)})


@pytest.mark.parametrize("power", ["power{}", "P{}", "energy_{}", "Power.{}", "converter_power{}"])
def test_power_columns_are_found_by_pattern(power: str) -> None:
    """However the sixteen are spelt, 33 columns remain, and their order."""
    kept = without_converters(_wave(power), "energy_total")
    assert kept.shape == (ROWS, 33)
    places = [f"{axis}{number}" for axis in "xy" for number in range(1, 17)]
    assert list(kept.columns) == [*places, "energy_total"]


def _unrelated(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(energy_total=np.random.default_rng(1).normal(3.8e6, 1e4, ROWS))


def _scaled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(energy_total=frame["energy_total"] * 1.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda frame: frame.drop(columns="x1"), "48 columns found, 49 expected", id="a column less"),
        pytest.param(lambda frame: frame.assign(more=1), "50 columns found, 49 expected", id="a column more"),
        pytest.param(
            lambda frame: frame.rename(columns={"power3": "third"}),
            r"15 columns with the power of one converter found \(power1, power2, power4.*\), 16 expected",
            id="a power column less",
        ),
        pytest.param(
            lambda frame: frame.rename(columns={"x1": "power17"}),
            r"17 columns with the power of one converter found \(power17.*\), 16 expected",
            id="a power column more",
        ),
        pytest.param(
            lambda frame: frame.rename(columns=lambda name: name.replace("power", "w")),
            r"0 columns with the power of one converter found \(none\), 16 expected",
            id="no power column",
        ),
        pytest.param(_unrelated, r"should track the target energy_total, but .* correlation -?0\.", id="unrelated"),
        pytest.param(_scaled, r"but differs by 16\.7% in the median and has correlation 1\.00", id="scaled"),
        pytest.param(
            lambda frame: frame.assign(power1=np.nan), "but differs by nan% in the median", id="missing values"
        ),
        pytest.param(
            lambda frame: frame.rename(columns={"energy_total": "y"}),
            "the target energy_total is not among the columns x1, x2",
            id="no target",
        ),
    ],
)
def test_other_structure_is_refused_with_what_differs(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    """A table whose leak is not the known one must not be trained on as if it were."""
    with pytest.raises(ValueError, match=message):
        without_converters(change(_wave()), "energy_total")


def test_table_without_a_target_is_refused() -> None:
    """OpenML may name no target."""
    with pytest.raises(ValueError, match="the target None is not among the columns"):
        without_converters(_wave(), None)
