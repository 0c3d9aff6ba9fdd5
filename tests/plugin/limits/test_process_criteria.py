"""Limits on one process: what may be said, and what each mistake is answered."""

from __future__ import annotations

import pytest

from mlflow_sysmetrics.limits import CriteriaError, check_readable, process_criteria


@pytest.mark.parametrize(
    ("text", "figures", "broken"),
    [
        ("peak_memory_mb<=8000", {"peak_memory_mb": 8001.0}, "peak_memory_mb"),
        ("peak_memory_mb<=8000", {"peak_memory_mb": 8000.0}, None),
        ("elapsed_s<=2, cpu_seconds<=1", {"elapsed_s": 1.0, "cpu_seconds": 1.5}, "cpu_seconds"),
        ("mean_cpu_percent>=5 after 10m", {"mean_cpu_percent": 1.0, "elapsed_s": 599.0}, None),
        ("mean_cpu_percent>=5 after 10m", {"mean_cpu_percent": 1.0, "elapsed_s": 600.0}, "mean_cpu_percent"),
        ("mean_cpu_percent>=5 after 10m", {"mean_cpu_percent": 5.0, "elapsed_s": 700.0}, None),
        ("cpu_seconds>=60 after 2h", {"cpu_seconds": 10.0, "elapsed_s": 7200.0}, "cpu_seconds"),
        ("peak_memory_mb<=100 after 1.5s", {"peak_memory_mb": 200.0, "elapsed_s": 1.0}, None),
        ("peak_memory_mb<=100", {"elapsed_s": 5.0}, None),
    ],
)
def test_limit_is_judged_at_each_reading(text: str, figures: dict[str, float], broken: str | None) -> None:
    """At once, or from the time on that it names; what cannot be read breaks nothing."""
    stop = process_criteria(text).judge().crossed(figures)
    assert (stop and stop.metric) == broken


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peak_memory<=8000", "the closest is peak_memory_mb"),
        ("training_time_s<=2x median", "is not a known metric"),
        ("elapsed_s<=2x median", "of which a single process has none; write a number"),
        ("mean_cpu_percent>=5", "mean_cpu_percent>=5 after 10m"),
        ("mean_cpu_percent<=90", "mean_cpu_percent<=90 after 10m"),
        ("cpu_seconds>=60", "cpu_seconds>=60 after 10m"),
        ("peak_memory_mb<=8000 after 10", "such as after 90s, 10m or 2h"),
        ("peak_memory_mb<=8000 after 10d", "such as after 90s, 10m or 2h"),
        ("elapsed_s patience 3", "is for a curve"),
    ],
)
def test_mistake_says_what_to_write(text: str, said: str) -> None:
    """In one line that points at it."""
    with pytest.raises(CriteriaError, match="criteria=") as caught:
        process_criteria(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "mean_cpu_percent>=5 after 10m",
        "elapsed_s<=7200",
        "cpu_seconds>=60 after 2h",
        "elapsed_s<=1 after 1.5s",
        "elapsed_s<=1 after 100s",
    ],
)
def test_limits_are_written_as_they_are_read(text: str) -> None:
    """Their normalised text parses back to the same."""
    assert str(process_criteria(text)) == text
    assert process_criteria(str(process_criteria(text))) == process_criteria(text)


def test_limit_on_a_figure_that_is_not_read_is_refused() -> None:
    """It would never end anything."""
    with pytest.raises(ValueError, match="peak_memory_mb needs the group process"):
        check_readable(process_criteria("peak_memory_mb<=1"), ("container",))
    with pytest.raises(ValueError, match="peak_gpu_memory_mb needs the group gpu"):
        check_readable(process_criteria("peak_gpu_memory_mb<=1"), ("process",))
    check_readable(process_criteria("elapsed_s<=1"), ("container",))
    check_readable(None, ("container",))
