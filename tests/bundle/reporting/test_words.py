"""What figures call metrics, and how they write numbers."""

from __future__ import annotations

import pytest

from entrypoints.limits.costs import SYSTEM_FIGURES
from entrypoints.reporting.words import (
    between,
    broken,
    label,
    law,
    listed,
    number,
    percent,
    plain,
    share,
    short_unit,
    signed,
    span,
)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        pytest.param("peak_memory_mb", "peak memory (MB, RSS - SHR)", id="known"),
        pytest.param("mean_step_time_ms", "mean step time (ms)", id="time"),
        pytest.param("val_loss", "validation loss", id="without a unit"),
        pytest.param("system/process_cpu_percent", "CPU use (% of a core)", id="sampled"),
        pytest.param("system/process_read_mb_per_s", "read (MB/s)", id="sampled, by its ending"),
        pytest.param("my_queue_time_s", "my queue time (s)", id="of someone else"),
        pytest.param("f1", "f1", id="of someone else without a unit"),
    ],
)
def test_labels_name_a_metric_with_its_unit(metric: str, words: str) -> None:
    """Without it, where a sentence names it; in two lines, where it is long."""
    assert label(metric) == words
    assert plain(metric) == words.partition(" (")[0]
    assert broken(metric).replace("\n", " ") == words
    assert ("\n" in broken(metric)) == (len(words) > 22 and "(" in words)


@pytest.mark.parametrize("metric", SYSTEM_FIGURES)
def test_every_cost_has_a_unit(metric: str) -> None:
    """In brackets, and behind a number."""
    assert label(metric).endswith(")")
    assert short_unit(metric)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("peak_memory_mb", "MB"),
        ("memory_growth_mb", "MB"),
        ("mean_cpu_percent", "points"),
        ("val_rmse", ""),
        ("val_accuracy", ""),
        ("my_queue_time_s", "s"),
    ],
)
def test_unit_behind_a_number_is_short(metric: str, expected: str) -> None:
    """A score has none."""
    assert short_unit(metric) == expected


@pytest.mark.parametrize(
    ("call_ms", "row_ms", "expected"),
    [
        pytest.param(0.31, 0.021, "0.31 ms + 0.021 ms a row", id="both"),
        pytest.param(0.31, 0.00005, "0.31 ms + 0.05 ms per 1000 rows", id="little for a row"),
        pytest.param(0.31, 0.0, "0.31 ms, whatever its rows", id="nothing for a row"),
        pytest.param(0.0, 0.021, "0.021 ms a row", id="nothing for the call"),
    ],
)
def test_law_of_a_step_is_said_in_its_parts(call_ms: float, row_ms: float, expected: str) -> None:
    """In the unit in which its numbers are short."""
    assert law({"call_ms": call_ms, "row_ms": row_ms, "per_1000_rows_ms": 1000 * row_ms}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(number(0.0123456), "0.0123", id="three digits"),
        pytest.param(number(12345.6), "12346", id="not shortened to powers"),
        pytest.param(percent(41.4), "41 %", id="whole percent"),
        pytest.param(percent(0.44), "0.4 %", id="less than one"),
        pytest.param(percent(0.0), "0 %", id="nothing"),
        pytest.param(share(0.625), "62 %", id="share"),
        pytest.param(signed(12.3), "+12", id="rise"),
        pytest.param(signed(-0.44), "-0.4", id="small fall"),
        pytest.param(signed(-0.01), "0", id="no minus zero"),
        pytest.param(between(3.2, 41.0), "3 to 41 %", id="range"),
        pytest.param(between(41.0, 41.2), "41 %", id="range that reads as one"),
        pytest.param(span([12, 10, 11]), "10 to 12", id="least and most"),
        pytest.param(span([12, 12]), "12", id="least and most are one"),
        pytest.param(listed(["a"]), "a", id="one"),
        pytest.param(listed(["a", "b", "c"]), "a, b and c", id="three"),
    ],
)
def test_numbers_and_lists_read_as_in_a_sentence(text: str, expected: str) -> None:
    """Without digits that say nothing."""
    assert text == expected
