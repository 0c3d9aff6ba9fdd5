"""The places of a run's points, where several processes write one run after the other."""

from __future__ import annotations

import pytest

from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.steps import Steps


def series(name: str, *steps: int) -> list[Point]:
    """A point per step, whose value tells it from all others."""
    return [Point(name, float(index), 1000 + index, step) for index, step in enumerate(steps)]


def placed(steps: Steps, points: list[Point]) -> list[int]:
    """The steps that these points get."""
    return [point.step for point in steps.place(points)]


def test_one_stretch_is_left_as_it_is() -> None:
    """Also where a step comes twice, as under a scheduler that sets a trial back: then both are results."""
    steps = Steps()
    assert placed(steps, series("loss", 1, 2, 2, 1)) == [1, 2, 2, 1]
    assert placed(steps, series("system/cpu", 5, 10, 15)) == [5, 10, 15]


def test_samples_of_another_process_go_on_counting() -> None:
    """Each process counts from 1, in any series of the same prefix."""
    steps = Steps()
    steps.place(series("system/cpu", 5, 10))
    first, last = series("system/cpu", 4, 9)
    assert placed(steps, [first, last, last._replace(name="system/memory_mb")]) == [14, 19, 19]
    assert placed(steps, series("system/cpu", 3)) == [22]


def test_samples_of_another_process_go_on_from_the_number_where_the_last_ended() -> None:
    """Its first window ends with the sample of the same number, at another time."""
    steps = Steps()
    before = [Point("system/cpu", 1.0, 1000, 10), Point("system/cpu_max", 2.0, 1000, 10)]
    after = [Point("system/cpu", 3.0, 3000, 10), Point("system/cpu_max", 4.0, 3000, 10)]
    assert placed(steps, [*before, *after, Point("system/cpu", 5.0, 4000, 20)]) == [10, 10, 20, 20, 30]


def test_repeated_work_is_written_from_where_it_ended() -> None:
    """Metric by metric; what is new in it is written, and the samples are all new."""
    steps = Steps()
    steps.place([*series("loss", 100, 200, 300), *series("accuracy", 100)])
    steps.repeat()
    again = [*series("loss", 100, 200, 300, 400), *series("accuracy", 100, 200), *series("other", 0)]
    assert [(point.name, point.step) for point in steps.place(again)] == [
        ("loss", 400),
        ("accuracy", 200),
        ("other", 0),
    ]


def test_figures_of_repeated_work_take_the_place_of_earlier_ones() -> None:
    """They are at step 0, too, as is the first point of a curve, which stays."""
    steps, figure = Steps(), series("elapsed_s", 0)
    steps.place(series("loss", 0))
    steps.place_figures(figure)
    steps.repeat()
    assert steps.place_figures(figure) == figure
    assert steps.follow({"elapsed_s": 0, "loss": 0}, [*figure, *series("loss", 0)]) == figure
    assert steps.place(series("loss", 0, 1)) == series("loss", 0, 1)[1:]


@pytest.mark.parametrize("known_first", [True, False], ids=["known-first", "known-later"])
def test_run_of_another_process_goes_on(known_first: bool) -> None:
    """It makes no difference whether what the run has is known before or after the first points come."""
    steps, had = Steps(), {"loss": 200, "system/cpu": 30, "system/memory_mb": 35}
    new = [*series("loss", 100, 200, 300), *series("system/cpu", 5, 10)]
    if known_first:
        assert steps.follow(had, []) == []
        result = steps.place(new)
    else:
        result = steps.follow(had, steps.place(new))
    assert [(point.name, point.step) for point in result] == [("loss", 300), ("system/cpu", 40), ("system/cpu", 45)]
    assert placed(steps, series("system/cpu", 15)) == [50]
    assert placed(steps, series("loss", 200, 400)) == [400]


def test_work_that_is_repeated_before_it_is_known_what_the_run_had() -> None:
    """What came before the repetition counts, too, where it is further than what the run had."""
    steps = Steps()
    before = steps.place(series("loss", 100, 300))
    steps.repeat()
    assert [point.step for point in steps.follow({"loss": 200}, before)] == [300]
    assert placed(steps, series("loss", 250, 300, 400)) == [400]
