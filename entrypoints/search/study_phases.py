"""What each part of a study costs, in the study's run: the command and all processes below it."""

from __future__ import annotations

import click
import mlflow
from mlflow.entities import Metric
from mlflow_sysmetrics.delivery.points import now_ms
from mlflow_sysmetrics.phases.course import Course, Moment
from mlflow_sysmetrics.phases.figure import log_figure

from entrypoints.runs import RecordedRun
from mlflow_sysmetrics.measurement import Measurement

PREPARE, FORECAST, SEARCH, REFIT, SUMMARY = "prepare", "forecast", "search", "refit", "summary"
_EVERY_S = 0.5  # of Ray's processes, too, of which there are a dozen


class StudyPhases:
    """Records from ``__enter__`` to ``__exit__``, which logs the figures ``phase/<name>/..`` and ``phases.png``."""

    def __init__(self, run: RecordedRun) -> None:
        self._run = run
        self._watch = Measurement(interval_s=_EVERY_S)
        self._course = Course()
        self._watch.tell(lambda figures: self._drain())

    def __enter__(self) -> StudyPhases:
        self._watch.start()
        return self

    def begin(self, name: str) -> None:
        """A phase begins, and the one before has ended."""
        self._watch.phases.switch(name)

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        self._watch.phases.switch(None)
        self._watch.stop()
        self._drain()
        if kind is not None and not issubclass(kind, Exception):  # Ctrl-C: time is short
            return
        try:
            now = now_ms()
            figures = [Metric(name, value, now, 0) for name, value in self._watch.phases.figures().items()]
            self._run.client.log_batch(self._run.run_id, metrics=figures)
            if self._watch.phases.is_used:
                log_figure(mlflow.get_tracking_uri(), self._run.run_id, self._course.moments, self._watch.phases)
        except Exception as error:  # the study is complete
            click.echo(f"The costs of the study's phases are not logged: {error}", err=True)

    def _drain(self) -> None:
        for window in self._watch.drain():
            if self._watch.phases.is_used:  # the figure begins with the first
                self._course.add(Moment.of(window))
