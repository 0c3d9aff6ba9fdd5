"""A report over datasets: a full study of each -> tests -> figures and answers, all of it left in the report's run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import mlflow

from entrypoints.errors import say
from entrypoints.links import how_to_open, run_view
from entrypoints.reporting import figures
from entrypoints.reporting.comparison.answers import STEP_TIMES, description, in_short, told_tests
from entrypoints.reporting.comparison.compare import Comparison, compare
from entrypoints.reporting.studies import Study
from entrypoints.runs import RecordedRun


def write_comparison(run: RecordedRun, studies: Sequence[Study]) -> None:
    """Compare levels of hyperparameters over datasets, and leave tables, figures and a page in the report's run.

    Args:
        run: the report's run.
        studies: a full one of each dataset, at least two.
    """
    say(f"Report over {', '.join(f'{each.dataset} ({len(each.trials)} trials, {each.run_id})' for each in studies)}")
    comparison = compare(run.client, studies)
    for name, table in comparison.found.tables.items():
        mlflow.log_table(table, f"{name}.json")
    told = told_tests(comparison)
    counts = {"datasets": len(studies), "tests": len(comparison.found.rows("tests")), "findings": len(told)}
    mlflow.log_metrics({name: float(count) for name, count in counts.items()}, step=0)
    drawn = _draw(comparison)
    mlflow.set_tag("mlflow.note.content", description(run.experiment_id, run.run_id, studies, comparison, drawn))
    say_all = [in_short(comparison).replace("`", ""), *comparison.found.open_questions]
    page = how_to_open(run_view(run.experiment_id, run.run_id), mlflow.get_tracking_uri())
    click.echo("\n".join(["", *say_all, "", f"The whole page in the MLflow UI:\n{page}"]))


def _draw(comparison: Comparison) -> list[str]:
    """Log a diagram of each finding, and how datasets compare, and return their names."""
    pictures: dict[str, Any] = {}
    for row in told_tests(comparison):
        metric, name = row["metric"], row["hyperparameter"]
        title = f"{figures.label(metric)} by {name}: {row['best_at']} ranks best, {row['worst_at']} worst"
        ranks = comparison.ranks[metric, name]
        pictures[f"ranks_{metric}_by_{name}"] = figures.critical_difference(ranks, title)
    steps = comparison.found.tables.get("steps")
    if steps is not None:
        pictures[STEP_TIMES] = figures.step_times(steps)
    for name, picture in pictures.items():
        mlflow.log_figure(picture, f"figures/{name}.png")
    return list(pictures)
