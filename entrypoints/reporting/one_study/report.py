"""A report: finished studies -> findings -> figures and answers, all of it left in the report's run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import click
import mlflow
import pandas as pd
from matplotlib.figure import Figure

from entrypoints.errors import say
from entrypoints.progress import Stages
from entrypoints.reporting import figures
from entrypoints.reporting.findings import Findings
from entrypoints.reporting.one_study.answers import description, in_short, shown
from entrypoints.reporting.one_study.decision import CHOSEN, upper_limits
from entrypoints.reporting.one_study.questions import findings
from entrypoints.reporting.studies import Study
from entrypoints.reporting.writing import write
from entrypoints.runs import RecordedRun

FACTS_OF_A_RULE = ("saved_cpu_percent", "saved_wall_percent", "val_regret", "test_regret")
HTML = {"include_plotlyjs": True}  # whole, so that it opens without the internet


def write_report(run: RecordedRun, studies: Sequence[Study]) -> None:
    """Answer the questions with these studies, and leave tables, figures and a description in the report's run.

    Args:
        run: the report's run.
        studies: the one that the report is about, then those with limits that it is compared with.
    """
    stages = Stages(run.start)
    say(f"Report on {', '.join(f'{each.name} ({len(each.trials)} trials, {each.run_id})' for each in studies)}")
    stages.end("studies")
    found = findings(run.client, studies)
    stages.end("answers")
    rule = next(iter(found.rows("rules")), {})
    known = {name: rule[name] for name in FACTS_OF_A_RULE if name in rule and math.isfinite(rule[name])}
    page = partial(description, run.experiment_id, run.run_id, studies, found)
    metrics = {"trials": float(len(studies[0].trials)), **known}
    write(run, found, _figures(studies, found), metrics, page, in_short(studies[0], found))
    stages.end("figures")
    click.echo(f"Time: {stages}")


def _figures(studies: Sequence[Study], found: Findings) -> dict[str, Figure | None]:
    """Those for which there may be enough. The interactive one is logged here."""
    study, tables = studies[0], found.tables
    pictures: dict[str, Figure | None] = {}
    if "drift" in tables:
        jumps = tables.get("memory_jumps"), tables.get("memory_jumps_of_trials")
        pictures["during_training"] = figures.during_training(found.curves, tables["drift"], *jumps)
        pictures["over_time"] = figures.over_time(found.curves, tables["drift"])
    if "effects" in tables:
        pictures["effect_sizes"] = figures.effect_sizes(tables["effects"])
        for name in study.hyperparameters:
            pictures[f"by_{name}"] = figures.by_hyperparameter(study.complete, tables["effects"], name, shown(study))
    if "interactions" in tables:
        pictures["interaction"] = figures.interaction(study.complete, tables["interactions"].iloc[0])
    if "cost_law" in tables:
        pictures["step_law"] = figures.step_law(tables["step_times"], tables["cost_law"])
    if "rules" in tables:
        parts = tables.get("savings_by_criterion", pd.DataFrame())
        pictures["savings"] = figures.savings(tables["rules"], parts, study.score)
    if "tradeoff" in tables:
        pictures["tradeoff"] = figures.tradeoff(tables["tradeoff"], study.score)
    if "calibration" in tables:
        pictures["predicted"] = figures.predicted(tables["predictions"], tables["calibration"])
    if "pareto" in tables and study.score:
        limits = upper_limits(studies)
        chosen = next((row["run_id"] for row in found.rows("decision") if row["role"] == CHOSEN and row["meets"]), None)
        what = (study.complete, tables["pareto"], study.score, study.higher_is_better, limits, chosen)
        pictures["pareto"] = figures.pareto(*what)
        hover = figures.pareto_hover(*what)
        if hover is not None:
            mlflow.log_figure(hover, "figures/pareto.html", save_kwargs=HTML)
    return pictures
