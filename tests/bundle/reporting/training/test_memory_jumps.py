"""Where memory jumps to another level: jumps that are there, and none that are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from entrypoints.reporting.training.curves import STEPS
from entrypoints.reporting.training.memory_jumps import jumps, memory_jumps

PAGE_MB = 4096 / 1e6
Curve = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Curve]


def _level(count: int, *changes: tuple[int, float]) -> Curve:
    """A curve around 177 MB that changes by so much at these places."""
    return 177 + sum((np.where(np.arange(count) >= place, size, 0.0) for place, size in changes), np.zeros(count))


@pytest.mark.parametrize(
    ("curve", "places"),
    [
        pytest.param(_level(10, (4, 1.0)), [4], id="one"),
        pytest.param(_level(12, (3, 1.0), (6, 1.0), (9, 1.0)), [3, 6, 9], id="three steps of a stair"),
        pytest.param(_level(10, (3, 1.0), (7, -1.0)), [3, 7], id="taken and given back"),
        pytest.param(_level(10, (2, 1.0)), [2], id="after the second point"),
        pytest.param(_level(10, (8, 1.0)), [8], id="at the last but one"),
        pytest.param(_level(10, (4, 0.5)) + 0.02 * np.arange(10), [4], id="on a slow rise"),
        pytest.param(_level(10, (4, 0.09)), [], id="a few pages"),
        pytest.param(_level(10, (4, 1.0), (5, -1.0)), [], id="for one point"),
        pytest.param(_level(10, (9, 1.0)), [], id="the last point alone"),
        pytest.param(_level(10, (1, -1.0)), [], id="the first point alone"),
        pytest.param(_level(10), [], id="constant"),
        pytest.param(_level(10) + 0.3 * np.arange(10), [], id="a steady rise"),
        pytest.param(178 - np.exp(-np.arange(30) / 3), [], id="a rise that ends slowly"),
        pytest.param(_level(7, (4, 1.0)), [], id="seven points"),
        pytest.param(_level(0), [], id="no points"),
    ],
)
def test_jump_is_a_lasting_change_from_one_point_to_the_next(curve: Curve, places: list[int]) -> None:
    """By the place of the first point of the new level."""
    assert jumps(curve) == places


def _found(draw: Draw, count: int, curves: int) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [jumps(draw(random, count)) for _ in range(curves)]


@pytest.mark.parametrize("count", [8, 10, 20, 50])
@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda random, count: 177 + 0.05 * random.normal(size=count), id="little noise"),
        pytest.param(lambda random, count: 177 + 5 * random.normal(size=count), id="much noise"),
        pytest.param(
            lambda random, count: 177 + PAGE_MB * random.poisson(1, size=count).cumsum(), id="a page now and then"
        ),
        pytest.param(
            lambda random, count: 177 + 0.05 * np.arange(count) + 0.05 * random.normal(size=count), id="a noisy rise"
        ),
    ],
)
def test_curves_without_jumps_rarely_have_one(draw: Draw, count: int) -> None:
    """At most 4 of 1000, where 1 or 2 are expected."""
    assert sum(map(bool, _found(draw, count, 1000))) <= 4


@pytest.mark.parametrize(("count", "share"), [(10, 0.85), (20, 0.98), (50, 0.99)])
def test_jump_of_a_megabyte_is_found_in_noise(count: int, share: float) -> None:
    """Of 0.05 MB, where it is and nowhere else, with about its size."""
    places = np.random.default_rng(1).integers(2, count - 1, size=200).tolist()
    random = np.random.default_rng(0)
    found = [jumps(_level(count, (place, 1.0)) + 0.05 * random.normal(size=count)) for place in places]
    assert np.mean([each == [place] for each, place in zip(found, places, strict=True)]) >= share


def _curves(*trials: Curve, group: str = "linear") -> pd.DataFrame:
    parts = [
        pd.DataFrame({"at": 100.0 * np.arange(1, len(trial) + 1), "value": trial, "run_id": f"{group}{place}"})
        for place, trial in enumerate(trials)
    ]
    return pd.concat(parts).assign(axis=STEPS, metric="memory_mb", group=group)


def test_jumps_of_trials_are_summed_up_by_group() -> None:
    """Trials with any, how large they are, where in the training, and each of them in a table of its own."""
    stair, freed, flat = _level(10, (2, 1.0), (5, 0.5)), _level(10, (7, -2.0)), _level(10)
    short = _level(5, (2, 1.0))
    table, found = memory_jumps(pd.concat([_curves(stair, freed, flat, flat, short), _curves(flat, group="svm")]))
    linear, svm = table.to_dict("records")
    counts = {name: linear[name] for name in ("group", "trials", "with_jumps", "up", "down", "told")}
    assert counts == {"group": "linear", "trials": 4, "with_jumps": 2, "up": 2, "down": 1, "told": True}
    assert (linear["up_mb"], linear["down_mb"], linear["progress_percent"]) == pytest.approx((0.75, 2.0, 60))
    # None of four has one by mistake in 0.99^4, and exactly one in 4 * 0.01 * 0.99^3.
    assert linear["p_value"] == pytest.approx(1 - 0.99**4 - 4 * 0.01 * 0.99**3)
    assert linear["p_holm"] == pytest.approx(2 * linear["p_value"])
    assert (svm["trials"], svm["with_jumps"], svm["p_value"], svm["told"]) == (1, 0, 1, False)
    assert found["run_id"].tolist() == ["linear0", "linear0", "linear1"]
    assert found["at"].tolist() == [300, 600, 800]
    assert found["jump_mb"].tolist() == pytest.approx([1, 0.5, -2])
    assert found["before_mb"].tolist() == pytest.approx([177, 178, 177])


@pytest.mark.parametrize(
    ("with_jumps", "trials", "told"), [(1, 8, False), (2, 8, True), (5, 100, False), (6, 100, True)]
)
def test_jumps_are_told_where_they_are_more_than_mistakes(with_jumps: int, trials: int, told: bool) -> None:
    """One trial is not evidence, nor are 5 % of many."""
    jumping, flat = _level(10, (4, 1.0)), _level(10)
    table, _ = memory_jumps(_curves(*[jumping] * with_jumps, *[flat] * (trials - with_jumps)))
    assert table["told"].item() is told


def test_without_curves_of_memory_there_are_no_tables() -> None:
    """Neither of other metrics nor of too short trials."""
    for curves in (_curves(_level(7)), _curves(_level(10)).assign(metric="cpu_percent"), _curves(_level(10))[:0]):
        table, found = memory_jumps(curves)
        assert table.empty
        assert found.empty
