"""The forecast of a study's time: each kind of step is timed once, and all steps are counted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from entrypoints import datasets
from entrypoints.forecast import TIMED_STEPS, study_seconds
from entrypoints.prepared import Prepared, prepared
from entrypoints.splits import make_split


@cache
def _data() -> Prepared:
    table = datasets.load("red_wine")
    return prepared(table, make_split(table.y, stratify=False, folds=4, seed=0))


def _config(**values: Any) -> dict[str, Any]:
    return {
        "algorithm": "linear",
        "batch_size": 8,
        "learning_rate": 0.01,
        "alpha": 0.001,
        "seed": 0,
        "max_steps": 100,
        "max_epochs": 0,
        "report_every": 100,
        **values,
    }


class Clock:
    """The timed steps take the given seconds, one after the other; a kind of step has eight of them."""

    def __init__(self, *durations: float) -> None:
        self.looks = 0
        self._times = self._looks(durations)

    def _looks(self, durations: tuple[float, ...]) -> Iterator[float]:
        now = 0.0
        for duration in durations:
            yield now
            now += duration
            yield now

    def __call__(self) -> float:
        self.looks += 1
        return next(self._times)


@pytest.fixture
def clock_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(*durations: float) -> Clock:
        clock = Clock(*durations)
        monkeypatch.setattr("entrypoints.forecast.time", SimpleNamespace(perf_counter=clock))
        return clock

    return install


def test_forecast_counts_all_steps_of_all_folds_and_trials(clock_of: Any) -> None:
    """Three trials of 100 steps on four folds at 0.5 s a step, on two cores."""
    clock_of(*[0.5] * TIMED_STEPS)
    configs = [_config(learning_rate=rate) for rate in (0.1, 0.01, 0.001)]
    assert study_seconds(configs, _data(), cpus=2) == pytest.approx(3 * 100 * 4 * 0.5 / 2)


def test_forecast_times_each_algorithm_and_batch_size_once(clock_of: Any) -> None:
    """Learning rate and alpha do not change what a step costs; the batch size does."""
    clock = clock_of(*[1.0] * TIMED_STEPS, *[3.0] * TIMED_STEPS)
    configs = [_config(batch_size=size, learning_rate=rate) for size in (8, 64) for rate in (0.1, 0.01)]
    assert study_seconds(configs, _data(), cpus=1) == pytest.approx(2 * 100 * 4 * (1.0 + 3.0))
    assert clock.looks == 2 * 2 * TIMED_STEPS


def test_forecast_is_not_moved_by_one_slow_step(clock_of: Any) -> None:
    """The median is what counts."""
    clock_of(60.0, *[1.0] * (TIMED_STEPS - 1))
    assert study_seconds([_config()], _data(), cpus=1) == pytest.approx(100 * 4)


def test_forecast_follows_the_limit_that_is_reached_first(clock_of: Any) -> None:
    """Two epochs of 840 rows in batches of 100 are 18 steps."""
    clock_of(*[1.0] * TIMED_STEPS)
    config = _config(batch_size=100, max_steps=500, max_epochs=2)
    assert study_seconds([config], _data(), cpus=1) == pytest.approx(18 * 4)


def test_forecast_of_real_steps_is_a_positive_time() -> None:
    """With the real clock."""
    assert study_seconds([_config()], _data(), cpus=1) > 0
