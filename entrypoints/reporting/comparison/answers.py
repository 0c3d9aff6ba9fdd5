"""The page of a report over datasets. Every number in it comes from the tables that are logged beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from entrypoints.links import run_view
from entrypoints.reporting import hosts
from entrypoints.reporting.comparison.compare import Comparison
from entrypoints.reporting.markdown import LAST, cell, code, is_p, last_sections, page, picture, table
from entrypoints.reporting.savings.answers import SAID, calibration_table
from entrypoints.reporting.savings.calibration import RIGHT, TOO_FEW
from entrypoints.reporting.statistics import LEVEL, smallest_p
from entrypoints.reporting.studies import Study
from entrypoints.reporting.training.answers import shape
from entrypoints.reporting.words import number, percent, unit

MAX_BLOCKS = 100
STEP_TIMES = "step_times"


def description(
    experiment_id: str, report_run_id: str, studies: Sequence[Study], comparison: Comparison, drawn: Collection[str]
) -> str:
    """The report's page in the UI, in Markdown: its first two lines hold the answer.

    Args:
        experiment_id: where the report is.
        report_run_id: its run, which holds the figures.
        studies: one of each dataset.
        comparison: of them.
        drawn: the names of the figures there are.
    """
    pictures = {name: picture(report_run_id, name) for name in drawn}
    compared = pictures.pop(STEP_TIMES, "")
    sections = {
        "What differs over datasets": [*_differences(comparison), *pictures.values()],
        "The datasets": [_datasets(studies, comparison), _hosts(comparison), compared],
        "What costs do during training": [_shapes(comparison)],
        "How right predictions are": [_calibration(comparison)],
        **last_sections(comparison.found.open_questions, HOW, run_view(experiment_id, report_run_id, "artifacts")),
    }
    return page(in_short(comparison, "## "), sections, kept=("The datasets", *LAST))


HOW = (
    "Each dataset is a block, each level of a hyperparameter one treatment: the median over its trials that ran to "
    "their end, of the configurations that did so at every level. Levels are ranked within a dataset (Friedman, "
    "Iman-Davenport, and by permutation: the larger p counts), pairs of them by Nemenyi's critical difference. A "
    "change is reported if it is significant at 5 % after Bonferroni's correction for all tests and, for a cost, "
    "larger than 5 % (for memory also than 0.1 MB) in the median dataset. W is Kendall's, from 0 (no agreement) to 1 "
    "(all datasets agree). Changes during training and predictions are those of the report on each study alone."
)


def in_short(comparison: Comparison, mark: str = "") -> str:
    """The answer in two lines: what changes what, and the clearest finding or why there is none."""
    tests, told = comparison.found.rows("tests"), told_tests(comparison)
    datasets = len(comparison.found.rows("datasets"))
    over = f"{mark}Over {datasets} datasets, "
    if tests and len(_lost(tests)) == len(tests):
        return f"{mark}{datasets} datasets are too few to tell what changes score or costs\n{out_of_reach(tests)}"
    if not told:
        nothing = f"None of {len(tests)} tests is significant after correction and larger than 5 %."
        nothing = nothing if tests else "Nothing could be tested; the reasons are below."
        return f"{over}nothing was found to change score or costs\n{out_of_reach(tests) or nothing}"
    by_name: dict[str, list[str]] = {}
    for row in told:
        by_name.setdefault(row["hyperparameter"], []).append(f"`{row['metric']}`")
    changes = "; ".join(f"`{name}` changes {', '.join(metrics)}" for name, metrics in by_name.items())
    return f"{over}{changes}\n{sentence(told[0], len(tests))}"


def told_tests(comparison: Comparison) -> list[dict[str, Any]]:
    """The findings: of the score first, then those on which the datasets agree most."""
    told = [row for row in comparison.found.rows("tests") if row["told"]]
    return sorted(told, key=lambda row: (not row["is_score"], -row["kendalls_w"]))


def sentence(row: dict[str, Any], tests: int) -> str:
    """A finding in words.

    Args:
        row: of the table ``tests``.
        tests: how many there are.
    """
    pairs = row["levels"] * (row["levels"] - 1) // 2
    best, worst = (f"{row[f'{end}_at']} (mean rank {row[f'{end}_rank']:.2f})" for end in ("best", "worst"))
    name, metric = f"`{row['hyperparameter']}`", f"`{row['metric']}`"
    what = f"{metric} is best at {name} {best}, worst at {worst}"
    if not row["is_score"]:
        what = f"{metric} is {_range(row)} at {name} {worst} than at {best}"
    return (
        f"{what}: {is_p(row['p_bonferroni'])} after correction for {tests} tests, W {row['kendalls_w']:.2f} over "
        f"{row['datasets']} datasets; {row['pairs_apart']} of {pairs} pairs of levels are more than Nemenyi's "
        f"{row['critical_difference']:.2f} ranks apart."
    )


def out_of_reach(tests: Sequence[dict[str, Any]]) -> str:
    """The effects that this number of datasets could never show, in a sentence; empty if there are none."""
    needed, lost = _needed(tests), _lost(tests)
    if not lost:
        return ""
    row = min(lost, key=lambda each: each["smallest_p"])
    names = ", ".join(f"`{name}`" for name in dict.fromkeys(each["hyperparameter"] for each in lost))
    what = "nothing could be significant" if len(lost) == len(tests) else f"nothing could be significant of {names}"
    enough = next((n for n in range(2, MAX_BLOCKS) if smallest_p(n, row["levels"]) <= needed), None)
    return (
        f"With {row['datasets']} datasets {what}: even if all ranked the {row['levels']} levels of "
        f"`{row['hyperparameter']}` alike, p would be {number(row['smallest_p'])}, and one of {len(tests)} tests needs "
        f"{number(needed)}" + (f"; {enough} datasets could show it." if enough else ".")
    )


def _needed(tests: Sequence[dict[str, Any]]) -> float:
    """The p-value that a test needs (Bonferroni)."""
    return LEVEL / max(len(tests), 1)


def _lost(tests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tests that could not have found anything."""
    return [row for row in tests if row["smallest_p"] > _needed(tests)]


def _differences(comparison: Comparison) -> list[str]:
    tests, told = comparison.found.rows("tests"), told_tests(comparison)
    missed: dict[str, list[str]] = {}
    lost = _lost(tests)
    for row in tests:
        if not row["told"] and row not in lost:
            small = " (significant, but small)" if row["p_bonferroni"] < LEVEL else ""
            missed.setdefault(row["hyperparameter"], []).append(f"`{row['metric']}`{small}")
    nothing = "; ".join(f"`{name}` on {', '.join(metrics)}" for name, metrics in missed.items())
    findings = "\n".join(f"- {sentence(row, len(tests))}" for row in told)
    missing = f"Tested and not found: {nothing}." if nothing else ""
    return [findings, missing, _left_out(comparison), out_of_reach(tests)]


def _left_out(comparison: Comparison) -> str:
    """The levels, or whole hyperparameters, without a median on a dataset, since no trial there has one."""
    lost: dict[str, None] = {}
    levels = comparison.found.tables.get("levels")
    if levels is not None:
        for (dataset, name), own in levels.groupby(["dataset", "hyperparameter"], sort=False):
            none = own.groupby("level", sort=False)["trials"].max() == 0
            lost |= dict.fromkeys(
                [f"`{name}` on {dataset}"]
                if none.all()
                else [f"`{name}` {level} on {dataset}" for level in none.index[none]]
            )
    return f"Left out, since too few trials came to their end: {', '.join(lost)}." if lost else ""


def _range(row: dict[str, Any]) -> str:
    """The range over the datasets of a cost's difference; if hosts differ, in percent of each dataset's own cost."""
    less, in_units = row["middle_percent"] < 0, row["low"] == row["low"]
    ends = [row[name] for name in (("low", "high") if in_units else ("low_percent", "high_percent"))]
    low, high = sorted(-end if less else end for end in ends)
    of = f" {unit(row['metric'])}" if in_units else " %"
    share = f" ({percent(abs(row['middle_percent']))} in the median dataset)"
    return f"{number(low)} to {number(high)}{of.rstrip()}{share} {'lower' if less else 'higher'}"


def _datasets(studies: Sequence[Study], comparison: Comparison) -> str:
    by_id = {study.run_id: study for study in studies}
    columns = {
        "dataset": cell("dataset"),
        "study": lambda row: f"[{row['study']}]({run_view(by_id[row['study_id']].experiment_id, row['study_id'])})",
        "its trials": lambda row: f"[by {row['score'] or 'name'}]({by_id[row['study_id']].page()})",
        "complete": lambda row: f"{row['complete']} of {row['trials']}",
        "training rows": cell("training_rows", _count),
        "features": cell("features", _count),
    }
    return table(columns, comparison.found.rows("datasets"))


def _hosts(comparison: Comparison) -> str:
    if not comparison.hosts:
        return ""
    which = hosts.kind(comparison.hosts)
    return (
        f"The {which} differ ({', '.join(comparison.hosts)}): costs are compared by ranks within each dataset, "
        f"differences are shares of each dataset's own, and no cost of two {which} is put side by side."
    )


def _shapes(comparison: Comparison) -> str:
    """A line for each dataset, a column for each cost; of several algorithms each is named."""
    rows = comparison.found.rows("shapes")
    several = len({row["group"] for row in rows}) > 1
    said: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        of = said.setdefault(row["dataset"], {}).setdefault(row["metric"], [])
        of.append(f"{shape(row)} ({row['group']})" if several else shape(row))
    costs = dict.fromkeys(row["metric"] for row in rows)
    lines = [
        {"dataset": name} | {cost: "; ".join(own.get(cost, ["-"])) for cost in costs} for name, own in said.items()
    ]
    return table({"dataset": cell("dataset")} | {code(cost): cell(cost) for cost in costs}, lines)


def _calibration(comparison: Comparison) -> str:
    """Predictions of the costs that limits are on by default, and all that are off."""
    rows = comparison.found.rows("calibration")
    told = [row for row in rows if row["metric"] in SAID or row["verdict"] not in (RIGHT, TOO_FEW)]
    return calibration_table(told, "dataset")


def _count(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.0f}"
