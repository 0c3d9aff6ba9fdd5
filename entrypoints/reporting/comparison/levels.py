"""What studies of several datasets can be compared by: hyperparameters with levels that all tried, medians at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from entrypoints.limits.costs import COSTS, SYSTEM_FIGURES
from entrypoints.mlflow_io import find_run
from entrypoints.reporting.studies import Study
from entrypoints.tags import PREPARE_RUN_ID

MIN_LEVELS = 3  # that a rank test compares
SCORE = "score"  # the metric that ranks trials, where studies call it differently


@dataclass(frozen=True)
class Size:
    """Of a dataset: the rows that a fold trains on, and the features before preprocessing."""

    rows: int
    features: int


@dataclass(frozen=True, eq=False)
class Factor:
    """A hyperparameter that varies in all studies.

    Attributes:
        name: its name.
        levels: those that all studies tried, in order, as they are written.
        of_trials: for each study the level of each of its trials, by the index of ``Study.trials``; None: none.
    """

    name: str
    levels: list[str]
    of_trials: list[pd.Series[Any]]


@dataclass(frozen=True)
class Measure:
    """A metric: its column in each study's trials, and there 1 where less is better, -1 where more is."""

    name: str
    columns: list[str]
    signs: list[float]
    is_score: bool = False


def size(client: MlflowClient, study: Study) -> Size | None:
    """The size of a study's dataset, from the run that prepared it; None where that does not say."""
    run_id = study.run.data.tags.get(PREPARE_RUN_ID)
    prepare = find_run(client, run_id) if run_id else None
    if prepare is None or not {"train_rows", "features"} <= set(prepare.data.metrics):
        return None
    rows = int(prepare.data.metrics["train_rows"])
    return Size(rows - rows // int(prepare.data.params["folds"]), int(prepare.data.metrics["features"]))


def factors(studies: Sequence[Study], sizes: Sequence[Size | None]) -> list[Factor]:
    """The hyperparameters that vary in all studies, with the levels that all of them tried.

    Where studies share fewer than three batch sizes, these are levels by their share of the rows that a fold trains on,
    to the nearest power of two.
    """
    shared = [name for name in studies[0].hyperparameters if all(name in study.hyperparameters for study in studies)]
    return [_factor(name, studies, sizes) for name in shared]


def measures(studies: Sequence[Study]) -> list[Measure]:
    """What is compared: the score, then the system figures that all studies have."""
    count, scores = len(studies), [study.score for study in studies if study.score is not None]
    found = []
    if len(scores) == count:
        name = scores[0] if len(set(scores)) == 1 else SCORE
        found = [Measure(name, scores, [-1.0 if study.higher_is_better else 1.0 for study in studies], is_score=True)]
    shared = [name for name in SYSTEM_FIGURES if all(name in study.figures for study in studies)]
    return found + [Measure(name, [name] * count, [1.0 if name in COSTS else -1.0] * count) for name in shared]


def medians(study: Study, factor: str, level: pd.Series[Any], levels: Sequence[str], metric: str) -> pd.DataFrame:
    """The median of a metric at each level, over trials that ran to their end and did not diverge.

    Where some did not, or lack the metric, only the configurations count that did so at each level which any trial
    reached: else a rate at which all but the cheapest batch sizes diverge would look cheap.

    Args:
        study: of one dataset.
        factor: the hyperparameter.
        level: of each of its trials.
        levels: those to compare.
        metric: the column of a figure.

    Returns:
        A row per level with ``median``, and the number of ``trials`` it is of: NaN and 0 where there are none.
    """
    trials, tried = study.trials, level.isin(levels)
    known = tried & trials.index.isin(study.complete.index) & np.isfinite(trials[metric])
    if known.any() and (tried & ~known).any():
        others = [trials.loc[known, name] for name in study.hyperparameters if name != factor]
        reached = level[known].groupby(others or [0] * int(known.sum()), dropna=False).transform("nunique")
        known = known & (reached == level[known].nunique()).reindex(known.index, fill_value=False)
    by_level = trials.loc[known, metric].groupby(level[known]).agg(median="median", trials="count")
    found: pd.DataFrame = by_level.reindex(levels)
    found["trials"] = found["trials"].fillna(0)
    return found


def _factor(name: str, studies: Sequence[Study], sizes: Sequence[Size | None]) -> Factor:
    columns = [study.trials[name] for study in studies]
    found = _of(name, columns, lambda value: value if isinstance(value, str) else f"{value:.12g}")
    known = [each.rows for each in sizes if each is not None]
    if name != "batch_size" or len(found.levels) >= MIN_LEVELS or len(known) < len(studies):
        return found
    shares = [2 ** np.log2(column / rows).round() for column, rows in zip(columns, known, strict=True)]
    return max(
        found, _of(name, shares, lambda share: f"1/{1 / share:g} of the rows"), key=lambda each: len(each.levels)
    )


def _of(name: str, columns: Sequence[pd.Series[Any]], text: Callable[[Any], str]) -> Factor:
    of_trials = [column.map(text, na_action="ignore") for column in columns]
    common = set.intersection(*(set(each.dropna()) for each in of_trials))
    in_order = dict.fromkeys(text(value) for value in sorted(columns[0].dropna().unique()))
    return Factor(name, [level for level in in_order if level in common], of_trials)
