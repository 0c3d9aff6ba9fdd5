"""What every report leaves in its run, and says on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click
import mlflow
from matplotlib.figure import Figure

from entrypoints.links import how_to_open, run_view
from entrypoints.reporting.findings import Findings
from entrypoints.runs import RecordedRun


def write(
    run: RecordedRun,
    found: Findings,
    figures: Mapping[str, Figure | None],
    metrics: Mapping[str, float],
    page: Callable[[list[str]], str],
    answers: str,
) -> None:
    """Leave tables, figures, metrics and a page in a report's run; echo the answers and where the page is.

    Args:
        run: the report's run.
        found: with the tables.
        figures: by name; those for which there was not enough are None.
        metrics: by name.
        page: makes the page, in Markdown, from the names of the figures that there are.
        answers: for the terminal.
    """
    for name, table in found.tables.items():
        mlflow.log_table(table, f"{name}.json")
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    for name, figure in drawn.items():
        mlflow.log_figure(figure, f"figures/{name}.png")
    mlflow.log_metrics(dict(metrics), step=0)
    mlflow.set_tag("mlflow.note.content", page(list(drawn)))
    address = how_to_open(run_view(run.experiment_id, run.run_id), mlflow.get_tracking_uri())
    click.echo(f"\n{answers}\n\nThe whole page in the MLflow UI:\n{address}")
