"""The course of a process: bounded, over all of its time."""

from __future__ import annotations

from itertools import pairwise

from mlflow_sysmetrics.phases.course import Course, Moment


def test_course_of_a_long_time_is_thinned_evenly() -> None:
    """A day of seconds stays below a thousand moments, from the first minutes to the last."""
    course = Course()
    for second in range(86_400):
        course.add(Moment(float(second), 50.0, 100.0))
    times = [moment.unix_s for moment in course.moments]
    steps = {later - earlier for earlier, later in pairwise(times)}
    assert 400 < len(times) < 1000
    assert times[0] < 200
    assert times[-1] == 86_399
    assert len(steps) == 1


def test_moments_of_a_long_time_are_means_of_all_in_it() -> None:
    """Each counts for its own time; the last ones, too, that are not yet as many as the others are of."""
    course = Course()
    for second in range(1001):
        course.add(Moment(float(second), 90.0 if second % 2 else 10.0, None, seconds=3.0 if second % 2 else 1.0))
    assert course.moments == [*(Moment(1.0 + 2 * place, 70.0, None, 4.0) for place in range(500)), (1000, 10, None, 1)]
    assert Moment(1.0, None, 5.0).then(Moment(2.0, 8.0, None)) == (2.0, 8.0, 5.0, 2.0)


def test_course_of_a_short_time_is_whole() -> None:
    """Each moment as it was."""
    course = Course()
    moments = [Moment(1.0, None, 5.0), Moment(2.0, 99.0, None)]
    for moment in moments:
        course.add(moment)
    assert course.moments == moments
