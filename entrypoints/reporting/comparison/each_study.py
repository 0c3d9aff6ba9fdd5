"""What each study says by itself: the shapes of its cost curves, and how right predictions of its costs are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlflow import MlflowClient

from entrypoints.reporting.comparison.compare import Comparison
from entrypoints.reporting.findings import records
from entrypoints.reporting.savings.calibration import calibration, predictions
from entrypoints.reporting.savings.rules import full_of
from entrypoints.reporting.studies import Study
from entrypoints.reporting.training import curves
from entrypoints.reporting.training.drift import COST_CURVES, drift
from entrypoints.reporting.words import listed

NO_CURVES = (
    "How costs change during training on {}: no trial that ran to its end has curves of CPU, memory or step time by "
    "training step."
)
NOT_PREDICTED = (
    "How right predictions of costs are on {}: no trial could be predicted; this takes the curves and costs of a study "
    "by tune, and trials that had ended before others began."
)
IN_UNITS = ("level", "start", "end", "change", "low", "high", "median_measured")


def add(client: MlflowClient, studies: Sequence[Study], comparison: Comparison) -> None:
    """Add the tables ``shapes`` and ``calibration``, with a sentence for the datasets that a table lacks.

    They are what the report on each study alone says: the rows of its table ``drift`` that are about a cost by training
    step, and of its table ``calibration``; each with its ``dataset``. Where hosts differ what is in a metric's own unit
    is NaN.

    Args:
        client: of the store that holds the studies.
        studies: those compared, in this order.
        comparison: of them.
    """
    found, names = comparison.found, [row["dataset"] for row in comparison.found.rows("datasets")]
    for table, rows_of, none in (("shapes", _shapes, NO_CURVES), ("calibration", _calibration, NOT_PREDICTED)):
        of_each = {name: rows_of(client, study) for name, study in zip(names, studies, strict=True)}
        rows = [{"dataset": name, **row} for name, own in of_each.items() for row in own]
        if comparison.hosts:
            rows = [row | {name: math.nan for name in IN_UNITS if name in row} for row in rows]
        found.add(table, rows)
        silent = [name for name, own in of_each.items() if not own]
        found.open_questions += [none.format(listed(silent))] if silent else []


def _shapes(client: MlflowClient, study: Study) -> list[dict[str, Any]]:
    rows = records(drift(curves.read(client, study), study.noises))
    return [row for row in rows if row["axis"] == curves.STEPS and row["metric"] in COST_CURVES]


def _calibration(client: MlflowClient, study: Study) -> list[dict[str, Any]]:
    full = full_of(client, study)
    return calibration(predictions(full.courses, full.rows)) if full else []
