"""A report on repeated studies: full ones of one dataset -> tables -> figures and answers, all left in its run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from entrypoints.errors import say
from entrypoints.reporting import figures
from entrypoints.reporting.stability.answers import COSTS_FIGURE, RANKS_FIGURE, description, in_short
from entrypoints.reporting.stability.compare import Stability, compare
from entrypoints.reporting.studies import Study
from entrypoints.reporting.writing import write
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
    metrics = {"studies": float(len(studies)), "configurations": float(stability.shared)}
    page = partial(description, run.experiment_id, run.run_id, stability)
    answers = "\n".join([in_short(stability).replace("`", ""), *found.open_questions])
    write(run, found, _figures(stability), metrics, page, answers)


def _figures(stability: Stability) -> dict[str, Figure | None]:
    """Those for which there is enough."""
    tables = stability.found.tables
    pictures: dict[str, Figure | None] = {}
    if "stability_ranks" in tables:
        pictures[RANKS_FIGURE] = figures.ranks_agree(tables["stability_configurations"], tables["stability_ranks"])
    if "stability_costs" in tables:
        pictures[COSTS_FIGURE] = figures.cost_ratios(tables["stability_costs"])
    return pictures
