"""What each part of a study costs, in the study's run and on the terminal: the command and all processes below it."""

from __future__ import annotations

import contextlib
import time

import click
from mlflow.entities import Metric

from entrypoints.runs import RecordedRun
from mlflow_sysmetrics.delivery import now_ms
from mlflow_sysmetrics.measurement import Measurement

PREPARE, FORECAST, SEARCH, REFIT, SUMMARY = "prepare", "forecast", "search", "refit", "summary"


class Phases:
    """Measures the phases inside its context, and logs ``phase/<name>/..`` of each at its end."""

    def __init__(self, run: RecordedRun) -> None:
        self._run, self._phase = run, contextlib.ExitStack()
        self._measurement = Measurement(interval_s=0.5)  # Ray's processes are read, too, of which there are a dozen

    def __enter__(self) -> Phases:
        self._measurement.start()
        return self

    def begin(self, name: str) -> None:
        """A phase begins, and the one before has ended."""
        self._phase.close()
        self._phase.enter_context(self._measurement.phase(name))

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        summary, now = self._measurement.stop(), now_ms()
        if kind is not None and not issubclass(kind, Exception):  # Ctrl-C: time is short
            return
        costs = {name.removeprefix("phase/"): value for name, value in summary.items() if name.startswith("phase/")}
        try:
            points = [Metric(f"phase/{name}", value, now, 0) for name, value in costs.items()]
            self._run.client.log_batch(self._run.run_id, metrics=points)
        except Exception as error:  # the study is complete
            click.echo(f"The costs of the study's phases are not logged: {error}", err=True)
        if kind is None:
            took_s = {name.split("/")[0]: value for name, value in costs.items() if name.endswith("/elapsed_s")}
            before_s = time.time() - self._run.start - sum(took_s.values())
            said = (f"{name} {seconds:.1f} s" for name, seconds in {"start": before_s, **took_s}.items())
            click.echo(f"Time since the command's run was created: {', '.join(said)}")
