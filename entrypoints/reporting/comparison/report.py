"""A report over datasets: a full study of each -> tests -> figures and answers, all of it left in the report's run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from entrypoints.errors import say
from entrypoints.reporting import figures
from entrypoints.reporting.comparison import each_study
from entrypoints.reporting.comparison.answers import STEP_TIMES, description, in_short, told_tests
from entrypoints.reporting.comparison.compare import Comparison, compare
from entrypoints.reporting.studies import Study
from entrypoints.reporting.writing import write
from entrypoints.runs import RecordedRun


def write_comparison(run: RecordedRun, studies: Sequence[Study]) -> None:
    """Compare levels of hyperparameters over datasets, and leave tables, figures and a page in the report's run.

    Args:
        run: the report's run.
        studies: a full one of each dataset, at least two.
    """
    say(f"Report over {', '.join(f'{each.dataset} ({len(each.trials)} trials, {each.run_id})' for each in studies)}")
    comparison = compare(run.client, studies)
    each_study.add(run.client, studies, comparison)
    found, told = comparison.found, told_tests(comparison)
    counts = {"datasets": len(studies), "tests": len(found.rows("tests")), "findings": len(told)}
    metrics = {name: float(count) for name, count in counts.items()}
    page = partial(description, run.experiment_id, run.run_id, studies, comparison)
    answers = "\n".join([in_short(comparison).replace("`", ""), *found.open_questions])
    write(run, found, _figures(comparison), metrics, page, answers)


def _figures(comparison: Comparison) -> dict[str, Figure | None]:
    """A diagram of each finding, and how datasets compare."""
    pictures: dict[str, Figure | None] = {}
    for row in told_tests(comparison):
        metric, name = row["metric"], row["hyperparameter"]
        title = f"{figures.label(metric)} by {name}: {row['best_at']} ranks best, {row['worst_at']} worst"
        ranks = comparison.ranks[metric, name]
        pictures[f"ranks_{metric}_by_{name}"] = figures.critical_difference(ranks, title)
    steps = comparison.found.tables.get("steps")
    if steps is not None:
        pictures[STEP_TIMES] = figures.step_times(steps)
    return pictures
