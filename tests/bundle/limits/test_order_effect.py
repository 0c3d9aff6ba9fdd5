"""What the order of the trials does to their figures: drifts that are there, and none that are not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reference import MLP_REGRESSOR, configured
from scipy import stats

from entrypoints.limits.order_effect import Order, of_order, told
from entrypoints.models.configuration import Configuration
from mlflow_sysmetrics.limits import Values

MEMORY = "peak_memory_mb"
Trials = list[tuple[Configuration, Values]]


def _trials(
    drift: float = 0.0, effect: float = 0.0, seed: int = 0, own: bool = False, more: int = 0, spread: float = 1.0
) -> Trials:
    """48 trials around 100 MB, of which ``spread`` is noise, and what order and a hyperparameter change in all."""
    random = np.random.default_rng(seed)
    made = []
    for place, number in enumerate(random.permutation(48)):
        level = number % 4
        free = {"learning_rate": 0.1 + number, "alpha": 0.1}
        one = configured(MLP_REGRESSOR, units=int(level)) if own else configured(batch_size=int(2**level), **free)
        value = 100 + drift * place / 47 + effect * level / 3 + spread * random.normal()
        figures = {MEMORY: value} | {f"other{each}_mb": random.normal(100) for each in range(more)}
        made.append((replace(one, place=place + 1), figures))
    return made


def _found(trials: Trials) -> dict[str, Order]:
    return of_order(trials, list(trials[0][1]))


@pytest.mark.parametrize("own", [False, True], ids=["built-in", "own"])
@pytest.mark.parametrize(
    ("drift", "told"),
    [
        pytest.param(0.0, False, id="none"),
        pytest.param(4.0, False, id="4 %"),
        pytest.param(12.0, True, id="rises"),
        pytest.param(-12.0, True, id="falls"),
    ],
)
def test_drift_is_told_where_it_matters(drift: float, told: bool, own: bool) -> None:
    """Whatever a hyperparameter does beside it, which is taken out first; 4 % are significant and not told."""
    found = _found(_trials(drift, effect=20.0, own=own))[MEMORY]
    assert found.told is told
    assert (found.p_holm < 0.001) is bool(drift)
    assert found.correlation * drift >= 0
    if drift:
        assert found.drift == pytest.approx(drift, abs=2.5)
        assert found.drift_share == pytest.approx(
            found.drift / np.median([each[MEMORY] for _, each in _trials(drift, 20.0, own=own)])
        )


@pytest.mark.parametrize(
    ("figure", "of", "told"),
    [
        pytest.param("memory_growth_mb", 0.3, False, id="some pages"),
        pytest.param("memory_growth_mb", 3.0, True, id="memory"),
        pytest.param("training_time_s", 0.3, True, id="no memory"),
    ],
)
def test_drift_of_a_few_pages_of_memory_is_no_news(figure: str, of: float, told: bool) -> None:
    """A fifth of 0.3 MB, however certain; of seconds it is."""
    trials = [(each, {figure: figures[MEMORY] * of / 100}) for each, figures in _trials(drift=20.0)]
    found = _found(trials)[figure]
    assert found.p_holm < 0.001
    assert found.told is told


def test_correlation_is_that_of_what_the_groups_leave() -> None:
    """By hand: figures as shares of their group's mean, places less theirs, and a degree of freedom less for each."""
    trials = _trials(drift=5.0, effect=60.0)
    table = pd.DataFrame([(each.batch_size, each.place, figures[MEMORY]) for each, figures in trials])
    place = table[1] - table.groupby(0)[1].transform("mean")
    share = table[2] / table.groupby(0)[2].transform("mean") - 1
    correlation = stats.spearmanr(place, share).statistic
    freedom = len(trials) - 4 - 1
    found = _found(trials)[MEMORY]
    assert found.correlation == pytest.approx(correlation)
    t = correlation * math.sqrt(freedom / (1 - correlation**2))
    assert found.p == pytest.approx(2 * stats.t.sf(t, freedom))
    assert found.drift_share == pytest.approx(stats.theilslopes(share, place).slope * 47)


@pytest.mark.parametrize(
    ("drift", "spread", "count", "others", "told"),
    [
        pytest.param(12.0, 1.0, 48, 0, True, id="most of what trials differ by"),
        pytest.param(12.0, 4.0, 48, 0, False, id="trials differ by more"),
        pytest.param(-12.0, 4.0, 48, 0, False, id="also where it falls"),
        pytest.param(36.0, 1.5, 14, 0, True, id="few trials"),
        pytest.param(36.0, 1.5, 14, 99, False, id="one of many figures"),
    ],
)
def test_drift_is_told_beyond_noise_and_after_the_correction(
    drift: float, spread: float, count: int, others: int, told: bool
) -> None:
    """It is significant on its own in each case."""
    found = _found(_trials(drift=drift, spread=spread, more=others)[:count])[MEMORY]
    assert found.p < 0.01
    assert abs(found.drift_share) > 0.05
    assert found.told is told


def test_sentence_says_how_much_in_units() -> None:
    """And by which tag to compare."""
    orders = [Order(MEMORY, 0.9, 0.0, 0.0, -12.3, -0.1, told=True), Order("elapsed_s", 0.1, 0.9, 1.0, 1.0, 0.1)]
    (said,) = told([*orders, Order("cpu_seconds", 0.9, 0.0, 0.0, 2.0, 0.25, told=True)])
    changes = "`peak_memory_mb` falls by 12.3 (10 %), `cpu_seconds` rises by 2 (25 %)"
    assert said.startswith(f"Over the order of the trials, whatever their hyperparameters, {changes}: compare")
    assert told(orders[1:]) == []


def test_equal_trials_are_rarely_said_to_drift() -> None:
    """Seven figures of 20 studies: the adjusted p-value is below 5 % in one of them, the raw one in eight."""
    studies = [_found(_trials(seed=seed, effect=50.0, more=6)) for seed in range(20)]
    assert sum(any(each.p_holm < 0.05 for each in study.values()) for study in studies) <= 3
    assert not any(each.told for study in studies for each in study.values())


@pytest.mark.parametrize(
    "trials",
    [
        pytest.param([], id="none"),
        pytest.param(_trials()[:8], id="too few"),
        pytest.param([(each, {MEMORY: 5.0}) for each, _ in _trials()], id="constant"),
        pytest.param([(each, {MEMORY: float(each.batch_size)}) for each, _ in _trials()], id="explained"),
    ],
)
def test_order_of_little_is_unknown(trials: Any) -> None:
    """No number, and nothing is told; a row of noise.json gives the same back."""
    found = of_order(trials, [MEMORY])[MEMORY]
    assert np.isnan([found.correlation, found.p, found.p_holm, found.drift]).all()
    assert not found.told
    again = Order.read(
        {"figure": MEMORY, **{name: None if value != value else value for name, value in found.row.items()}}
    )
    assert again.row.keys() == found.row.keys()
    assert np.isnan(again.p)
    assert not again.told
