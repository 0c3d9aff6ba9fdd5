"""Report on finished studies: what training costs over time, what hyperparameters change, and what limits save.

It reads the newest `tune` and `early_stop` of a dataset, or the studies that are named, and trains nothing. Of full
studies of several datasets it says which hyperparameters change score and costs on all of them; of one dataset, with
several seeds or on several machines, what is stable. It leaves an MLflow run with figures, tables, tests, and a
description that reads as a page of answers.
"""

from __future__ import annotations

from entrypoints import environment, signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

from collections.abc import Sequence
from pathlib import Path

import click

from entrypoints.options import report_options
from entrypoints.reporting import selection
from entrypoints.reporting.report_kind import ReportKind, compared, kind_of
from entrypoints.reporting.studies import Study
from entrypoints.runs import RecordedCommand, RecordedRun, recorded_run
from entrypoints.settings import AUTO


@click.command(cls=RecordedCommand, help=__doc__)
@report_options
def report(dataset: str, study: tuple[str, ...] | None, metric: str, mode: str) -> None:
    which = {"study": ",".join(study)} if study else {"dataset": dataset, "study": AUTO}
    name = f"report study {study[0][:8]}" if study else f"report {Path(dataset).name}"
    with recorded_run("report", name, {**which, "metric": metric, "mode": mode}) as run:
        ranked_by = (None if metric == AUTO else metric, None if mode == AUTO else mode)
        if study:
            found = selection.by_ids(run.client, study, *ranked_by)
        else:
            found = selection.find(run.client, run.experiment_id, dataset, *ranked_by)
        kind = kind_of(found)
        if kind is not ReportKind.STUDY:
            run.rename(name, f"report {compared(found)}")
        _write(kind, run, found)


def _write(kind: ReportKind, run: RecordedRun, found: Sequence[Study]) -> None:
    """Write the report. What draws is imported here, so that a mistake need not wait for it."""
    if kind is ReportKind.DATASETS:
        from entrypoints.reporting.comparison.report import write_comparison as write
    elif kind is ReportKind.STABILITY:
        from entrypoints.reporting.stability.report import write_stability as write
    else:
        from entrypoints.reporting.one_study.report import write_report as write
    write(run, found)


if __name__ == "__main__":
    report()
