"""Report on finished studies: what training costs over time, what hyperparameters change, and what limits save.

It reads the newest `tune` and `early_stop` of a dataset, or the studies that are named, and trains nothing. Of full
studies of several datasets it says which hyperparameters change score and costs on all of them. It leaves an MLflow run
with figures, tables, tests, and a description that reads as a page of answers.
"""

from __future__ import annotations

from entrypoints import environment, signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

from pathlib import Path

import click

from entrypoints.options import report_options
from entrypoints.reporting import studies
from entrypoints.runs import RecordedCommand, recorded_run
from entrypoints.settings import AUTO


@click.command(cls=RecordedCommand, help=__doc__)
@report_options
def report(dataset: str, study: tuple[str, ...] | None, metric: str, mode: str) -> None:
    given: dict[str, object] = {"dataset": dataset, "study": ",".join(study or [AUTO]), "metric": metric, "mode": mode}
    name = f"study {study[0][:8]}" if study else Path(dataset).name
    with recorded_run("report", f"report {name}", given) as run:
        ranked_by = (None if metric == AUTO else metric, None if mode == AUTO else mode)
        if study:
            found = studies.by_ids(run.client, study, *ranked_by)
        else:
            found = studies.find(run.client, run.experiment_id, dataset, *ranked_by)
        # What draws is imported here, so that a mistake need not wait for it.
        if len({each.dataset for each in found}) > 1:
            from entrypoints.reporting.comparison_report import write_comparison

            write_comparison(run, found)
        else:
            from entrypoints.reporting.study_report import write_report

            write_report(run, found)


if __name__ == "__main__":
    report()
