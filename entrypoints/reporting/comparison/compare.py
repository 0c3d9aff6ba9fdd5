"""What differs over datasets: rank tests in which each dataset is a block, and the levels of a hyperparameter compete.

Datasets are independent of each other, as folds of one are not: what is significant here is so beyond these datasets,
as far as they were drawn from those that a reader has in mind (Demsar, JMLR 7, 2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from entrypoints.limits.noise import small
from entrypoints.reporting import hosts, statistics
from entrypoints.reporting.comparison import levels
from entrypoints.reporting.findings import Findings
from entrypoints.reporting.studies import Study
from entrypoints.reporting.words import STEP_TIME

NOWHERE_ALIKE = (
    "some trials did not come to their end, and no configuration did so at each level that any reached, as is usual in "
    "a random search."
)
DIFFERENCES = ("low", "high", "low_percent", "middle_percent", "high_percent", "small_percent")


@dataclass
class Comparison:
    """What was found.

    Attributes:
        found: the tables ``datasets``, ``tests``, ``levels`` and, unless hosts differ, ``steps``; and a sentence for
            what was not tested.
        ranks: of the levels, by metric and hyperparameter.
        hosts: the facts in which the machines of the studies differ.
    """

    hosts: list[str]
    found: Findings = field(default_factory=Findings)
    ranks: dict[tuple[str, str], statistics.Ranks] = field(default_factory=dict)


def compare(client: MlflowClient, studies: Sequence[Study]) -> Comparison:
    """Test each hyperparameter that all studies share on the score and on each cost that all have.

    Args:
        client: of the store that holds them.
        studies: a full one of each dataset, at least two.

    Returns:
        Of its tables, ``tests`` has a row per metric and hyperparameter:

        - datasets, levels, left_out: those compared; levels without a complete trial on some dataset are left out
        - best_at, best_rank, worst_at, worst_rank: the ends of the mean ranks
        - friedman_chi2, friedman_p, iman_davenport_f, iman_davenport_p, permutation_p, and p_value: the larger of the
          last two; p_bonferroni: adjusted over all rows
        - smallest_p: the p-value if all datasets ranked the levels alike
        - kendalls_w: an effect size, from 0 to 1; critical_difference: Nemenyi's; pairs_apart: the pairs beyond it
        - low, high: of a cost by how much it is more at worst_at than at best_at, the range over the datasets, in its
          own unit; NaN where hosts differ
        - low_percent, middle_percent, high_percent: the same as a share of each dataset's median
        - small_percent: what is not worth a sentence of it, 5 %, and of memory 0.1 MB
        - told: p_bonferroni is below 0.05 and middle_percent, but for the score, beyond small_percent
    """
    names, sizes = _names(studies), [levels.size(client, study) for study in studies]
    comparison, rows, untested = Comparison(hosts.differing(studies)), [], dict[str, list[str]]()
    medians: list[pd.DataFrame] = []
    factors = levels.factors(studies, sizes)
    testable = [factor for factor in factors if len(factor.levels) >= levels.MIN_LEVELS]
    for factor, measure in product(testable, levels.measures(studies)):
        table = _medians(studies, names, factor, measure)
        medians.append(table)
        values = table.pivot(index="dataset", columns="level", values="median").loc[names]
        losses = values.mul(measure.signs, axis=0)
        if losses.isna().all(axis=None):
            untested.setdefault(NOWHERE_ALIKE, []).append(f"`{measure.name}` by `{factor.name}`")
            continue
        try:
            ranks = statistics.ranks(losses, higher_is_better=False)
        except statistics.NotTestableError as reason:
            untested.setdefault(str(reason), []).append(f"`{measure.name}` by `{factor.name}`")
            continue
        comparison.ranks[measure.name, factor.name] = ranks
        what = {"metric": measure.name, "hyperparameter": factor.name, "is_score": measure.is_score}
        rows.append(what | _tested(losses, ranks) | _difference(values, measure, ranks))
    found = comparison.found
    found.add("datasets", [_about(*each) for each in zip(names, studies, sizes, strict=True)])
    found.add("tests", _judged(rows, in_units=not comparison.hosts))
    found.add("levels", pd.concat(medians) if medians else [])
    found.add("steps", [] if comparison.hosts else _steps(names, studies, sizes))
    if not factors:
        found.open_questions.append("What hyperparameters change: there is none that varies in all of these studies.")
    found.open_questions += [
        f"`{factor.name}`: a rank test needs {levels.MIN_LEVELS} levels that all studies tried, and there are "
        f"{len(factor.levels)}."
        for factor in factors
        if factor not in testable
    ]
    found.open_questions += [f"{', '.join(what)}: {reason}" for reason, what in untested.items()]
    return comparison


def _names(studies: Sequence[Study]) -> list[str]:
    """What to call each dataset: a file by its name, unless two have the same."""
    names = [str(study.dataset) for study in studies]
    short = [Path(name).name for name in names]
    return short if len(set(short)) == len(short) else names


def _medians(
    studies: Sequence[Study], names: Sequence[str], factor: levels.Factor, measure: levels.Measure
) -> pd.DataFrame:
    """A row per dataset and level."""
    tables = [
        levels.medians(study, factor.name, level, factor.levels, column).assign(dataset=name)
        for study, name, level, column in zip(studies, names, factor.of_trials, measure.columns, strict=True)
    ]
    by_level = pd.concat(tables).rename_axis("level").reset_index()
    rows: pd.DataFrame = by_level.assign(metric=measure.name, hyperparameter=factor.name)
    return rows


def _tested(losses: pd.DataFrame, ranks: statistics.Ranks) -> dict[str, Any]:
    blocks, count = ranks.blocks, len(ranks.mean_rank)
    by_chance = statistics.by_chance(losses)
    apart = np.triu(np.abs(np.subtract.outer(*[ranks.mean_rank.to_numpy()] * 2)) > ranks.critical_difference)
    return {
        "datasets": blocks,
        "levels": count,
        "left_out": ranks.left_out,
        "best_at": ranks.mean_rank.index[0],
        "best_rank": ranks.mean_rank.iloc[0],
        "worst_at": ranks.mean_rank.index[-1],
        "worst_rank": ranks.mean_rank.iloc[-1],
        "friedman_chi2": ranks.friedman_chi2,
        "friedman_p": ranks.friedman_p,
        "iman_davenport_f": ranks.iman_davenport_f,
        "iman_davenport_p": ranks.iman_davenport_p,
        "permutation_p": by_chance,
        "p_value": max(ranks.iman_davenport_p, by_chance),
        "smallest_p": statistics.smallest_p(blocks, count),
        "kendalls_w": statistics.kendalls_w(ranks.friedman_chi2, blocks, count),
        "critical_difference": ranks.critical_difference,
        "pairs_apart": int(apart.sum()),
    }


def _difference(values: pd.DataFrame, measure: levels.Measure, ranks: statistics.Ranks) -> dict[str, float]:
    """By how much a cost is more where it ranks worst than where it ranks best; scores have no unit in common."""
    if measure.is_score:
        return dict.fromkeys(DIFFERENCES, math.nan)
    known = values[ranks.mean_rank.index].dropna()
    more, sizes = known.iloc[:, -1] - known.iloc[:, 0], known.median(axis=1).abs().replace(0, math.nan)
    percent = 100 * more / sizes
    ends = (more.min(), more.max(), percent.min(), percent.median(), percent.max())
    return dict(zip(DIFFERENCES, (*ends, 100 * small(measure.name, float(sizes.median()))), strict=True))


def _judged(rows: list[dict[str, Any]], *, in_units: bool) -> pd.DataFrame:
    """The tests as one family."""
    tests: pd.DataFrame = pd.DataFrame(rows)
    if rows:
        tests["p_bonferroni"] = statistics.bonferroni(tests["p_value"])
        large = tests["is_score"] | (tests["middle_percent"].abs() > tests["small_percent"])
        tests["told"] = (tests["p_bonferroni"] < statistics.LEVEL) & large
        if not in_units:
            tests[["low", "high"]] = math.nan
    return tests


def _about(name: str, study: Study, size: levels.Size | None) -> dict[str, Any]:
    return {
        "dataset": name,
        "study": study.name,
        "study_id": study.run_id,
        "score": study.score,
        "trials": len(study.trials),
        "complete": len(study.complete),
        "training_rows": size.rows if size else None,
        "features": size.features if size else None,
        "host": "; ".join(f"{fact} {' or '.join(values)}" for fact, values in study.hosts.items()),
    }


def _steps(names: Sequence[str], studies: Sequence[Study], sizes: Sequence[levels.Size | None]) -> list[dict[str, Any]]:
    """The median time of a step at each batch size of each dataset, by the numbers that a batch holds."""
    rows = []
    for name, study, size in zip(names, studies, sizes, strict=True):
        if size is None or not {"batch_size", STEP_TIME} <= set(study.trials):
            continue
        for batch_size, times in study.complete.dropna(subset=STEP_TIME).groupby("batch_size")[STEP_TIME]:
            shape = {"dataset": name, "batch_size": batch_size, "features": size.features}
            numbers = float(batch_size) * size.features
            rows.append({**shape, "numbers": numbers, STEP_TIME: times.median(), "trials": len(times)})
    return rows
