"""A report on repeated studies: full ones of one dataset -> tables -> figures and answers, all left in its run."""

from __future__ import annotations

from collections.abc import Sequence

import click
import mlflow

from entrypoints.errors import say
from entrypoints.links import how_to_open, run_view
from entrypoints.reporting import figures
from entrypoints.reporting.stability.answers import COSTS_FIGURE, RANKS_FIGURE, description, in_short
from entrypoints.reporting.stability.compare import Stability, compare
from entrypoints.reporting.studies import Study
from entrypoints.runs import RecordedRun


def write_stability(run: RecordedRun, studies: Sequence[Study]) -> None:
    """Say what is stable over these studies, and leave tables, figures and a page in the report's run.

    Args:
        run: the report's run.
        studies: full ones of one dataset that differ in seed or host, or in nothing; at least two.
    """
    say(f"Report over {', '.join(f'{each.name} ({len(each.trials)} trials, {each.run_id})' for each in studies)}")
    stability = compare(studies)
    found = stability.found
    for name, table in found.tables.items():
        mlflow.log_table(table, f"{name}.json")
    mlflow.log_metrics({"studies": float(len(studies)), "configurations": float(stability.shared)}, step=0)
    drawn = _draw(stability)
    mlflow.set_tag("mlflow.note.content", description(run.experiment_id, run.run_id, stability, drawn))
    page = how_to_open(run_view(run.experiment_id, run.run_id), mlflow.get_tracking_uri())
    say_all = [in_short(stability).replace("`", ""), *found.open_questions]
    click.echo("\n".join(["", *say_all, "", f"The whole page in the MLflow UI:\n{page}"]))


def _draw(stability: Stability) -> list[str]:
    """Log each figure for which there is enough, and return their names."""
    tables = stability.found.tables
    pictures = {}
    if "stability_ranks" in tables:
        pictures[RANKS_FIGURE] = figures.ranks_agree(tables["stability_configurations"], tables["stability_ranks"])
    if "stability_costs" in tables:
        pictures[COSTS_FIGURE] = figures.cost_ratios(tables["stability_costs"])
    drawn = {name: picture for name, picture in pictures.items() if picture is not None}
    for name, picture in drawn.items():
        mlflow.log_figure(picture, f"figures/{name}.png")
    return list(drawn)
