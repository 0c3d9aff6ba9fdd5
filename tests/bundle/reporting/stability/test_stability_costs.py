"""How costs of repeated studies are compared: by the ratios of their configurations, of one host each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from repeated_studies import GRID, SHARES, figures, study

from entrypoints.limits.noise import SHARE, Noise
from entrypoints.reporting.stability.compare import Stability, compare
from entrypoints.reporting.stability.costs import AGREES, LESS, MORE, TOO_FEW, UNCLEAR

MIXED = {"cpu_model": ("one", "two")}


def _row(stability: Stability, figure: str = "training_time_s") -> dict[str, Any]:
    rows = stability.found.rows("stability_costs")
    (row,) = (row for row in rows if (row["figure"], row["second"]) == (figure, "b"))
    return row


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        pytest.param(1.8, MORE, id="more"),
        pytest.param(1 / 1.8, LESS, id="less"),
        pytest.param(1.0, AGREES, id="equal but for noise"),
        pytest.param(1.02, AGREES, id="small"),
    ],
)
def test_cost_differs_beyond_noise_and_five_percent(times: float, verdict: str) -> None:
    """By the median ratio over configurations; memory is the same on both."""
    stability = compare([study(), study("b", figures(times, seed=1))])
    row = _row(stability)
    assert row["ratio"] == pytest.approx(times, rel=0.03)
    assert row["low_90"] <= row["low"] <= row["ratio"] <= row["high"] <= row["high_90"]
    assert (row["verdict"], row["noise_percent"]) == (verdict, pytest.approx(100 * SHARES["training_time_s"]))
    assert _row(stability, "peak_memory_mb")["verdict"] == AGREES


def test_difference_within_the_noise_of_one_configuration_is_not_told() -> None:
    """However many configurations say the same."""
    loud = Noise("training_time_s", 0.2, SHARE, 0.5, 20, "kinds")
    noisy = study("b", figures(1.15, seed=1), known={"training_time_s": loud})
    assert _row(compare([study(), noisy]))["verdict"] == UNCLEAR
    assert _row(compare([study(), study("b", figures(1.15, seed=1))]))["verdict"] == MORE


def test_limit_of_the_first_study_decides_otherwise_in_the_second() -> None:
    """Counted by hand: 1.5 times the first's median, met in one of the two alone."""
    first, second = figures(), figures(1.8, seed=1)
    row = _row(compare([study(), study("b", second)]))
    limit = 1.5 * float(np.median(first["training_time_s"]))
    assert row["limit"] == pytest.approx(limit)
    pairs = zip(first["training_time_s"], second["training_time_s"], strict=True)
    changed = sum((one <= limit) != (two <= limit) for one, two in pairs)
    assert row["limit_changes"] == changed > 0


def test_only_configurations_that_both_completed_are_compared() -> None:
    """Six are needed to say anything."""
    row = _row(compare([study(diverged=[0, 1]), study("b", diverged=[1, 2])]))
    assert row["configurations"] == len(GRID) - 3
    few = _row(compare([study(diverged=range(7)), study("b")]))
    assert (few["verdict"], few["configurations"]) == (TOO_FEW, 5)


def test_figure_that_is_zero_has_no_ratio() -> None:
    """It is named, and not compared."""
    columns = figures() | {"memory_growth_mb": [0.0, *[1.0] * (len(GRID) - 1)]}
    found = compare([study(columns=columns), study("b", columns)]).found
    assert "memory_growth_mb" not in set(found.tables["stability_costs"]["figure"])
    assert "`memory_growth_mb`: 0 in some trials, so that studies have no ratio." in found.open_questions


def test_study_whose_trials_ran_on_several_hosts_has_no_cost_to_compare() -> None:
    """It is said, and the others are compared with the first of one host."""
    stability = compare([study(host=MIXED), study("b"), study("c", figures(1.8, seed=1))])
    assert {(row["first"], row["second"]) for row in stability.found.rows("stability_costs")} == {("b", "c")}
    assert (
        "Costs of a: its trials ran on hosts that differ (one or two), so they are not those of one host."
        in stability.found.open_questions
    )
    alone = compare([study(host=MIXED), study("b")]).found
    assert "stability_costs" not in alone.tables
    assert alone.open_questions[-1].startswith("Costs: there is no system figure that two studies of one host")
