"""What one training step costs by the rows of its batch: a + b x rows, a for the call and b for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.optimize import nnls

from entrypoints.frame import Frame
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.drawing import LINES, MARKERS, PALETTE, scale_axis, sheet, styled
from entrypoints.reporting.statistics import is_number
from entrypoints.reporting.words import digits

STEP_TIME = "mean_step_time_ms"
MIN_SIZES = 3  # batch sizes: through two any line goes
MAX_ERROR = 0.3  # of the median of a batch size, from which on the law is not said


def laws(frame: Frame) -> pd.DataFrame:
    """Fit time = a + b x rows to the steps of each algorithm, over the trials that ran to their end.

    To the medians of the batch sizes by least squares of the relative errors, a and b at least 0 (Lawson and Hanson,
    Solving Least Squares Problems, 1974): step times span three orders of magnitude, and their errors are shares.

    Returns:
        A row per algorithm (empty text where the study has one): algorithm, trials, batch_sizes, smallest, largest,
        call_ms (a), per_1000_rows_ms (b of a thousand rows), at_smallest_ms, at_largest_ms (the medians there), error
        (the largest relative one of a batch size), fits (whether there are three batch sizes, and none is further off
        than 30 %). No rows where batch sizes do not differ.
    """
    rows = []
    for algorithm, own in _steps(frame).groupby("algorithm"):
        medians = own.groupby("batch_size")[STEP_TIME].median()
        sizes, times = medians.index.to_numpy(float), medians.to_numpy(float)
        (call, row), _ = nnls(np.column_stack([1 / times, sizes / times]), np.ones(len(times)))
        error = float(np.abs((call + row * sizes) / times - 1).max())
        rows.append(
            {
                "algorithm": algorithm,
                "trials": len(own),
                "batch_sizes": len(sizes),
                "smallest": int(sizes[0]),
                "largest": int(sizes[-1]),
                "call_ms": float(call),
                "per_1000_rows_ms": 1000 * float(row),
                "at_smallest_ms": times[0],
                "at_largest_ms": times[-1],
                "error": error,
                "fits": len(sizes) >= MIN_SIZES and error <= MAX_ERROR,
            }
        )
    table: pd.DataFrame = pd.DataFrame([row for row in rows if row["batch_sizes"] > 1])
    return table


def answer(frame: Frame) -> Answer:
    """The law of each algorithm; without one what a step takes at the smallest and the largest batch."""
    table = laws(frame)
    if table.empty:
        return Answer("step_cost")
    parts = [f"{_law(row)}{_of(row)}" for row in rows_of(table)]
    sentence = f"One training step takes {'; '.join(parts)}."
    return Answer("step_cost", (sentence,), table, lambda: _drawn(_steps(frame), table, sentence))


def _steps(frame: Frame) -> pd.DataFrame:
    """The trials with a step time, a batch size and an algorithm."""
    trials = frame.ended
    if not {"batch_size", STEP_TIME} <= set(trials) or not is_number(trials["batch_size"]):
        nothing: pd.DataFrame = pd.DataFrame(columns=["algorithm", "batch_size", STEP_TIME])
        return nothing
    algorithms = trials["algorithm"].astype(str) if "algorithm" in frame.hyperparameters else ""
    known: pd.DataFrame = trials.assign(algorithm=algorithms)
    kept: pd.DataFrame = known[(known[STEP_TIME] > 0) & np.isfinite(known[STEP_TIME]) & (known["batch_size"] > 0)]
    return kept


def _law(row: dict[Any, Any]) -> str:
    call, more = row["call_ms"], row["per_1000_rows_ms"]
    if row["error"] <= MAX_ERROR and more * row["largest"] / 1000 < 0.05 * call:
        return f"{digits(call, 2)} ms, with {row['largest']} rows as with {row['smallest']}"
    if not row["fits"]:
        ends = (row["at_smallest_ms"], row["smallest"]), (row["at_largest_ms"], row["largest"])
        return " and ".join(f"{digits(time, 2)} ms with {rows} rows" for time, rows in ends)
    by_row = f"{digits(more, 2)} ms per 1000 rows"
    return f"{digits(call, 2)} ms + {by_row}" if call else by_row


def _of(row: dict[Any, Any]) -> str:
    return f" ({row['algorithm']})" if row["algorithm"] else ""


@styled
def _drawn(steps: pd.DataFrame, table: pd.DataFrame, title: str) -> Figure:
    figure, (axes,) = sheet(1, title, "Dots: trials. Lines: the law, where it holds.")
    for place, row in enumerate(rows_of(table)):
        own, color = steps[steps["algorithm"] == row["algorithm"]], PALETTE[place % len(PALETTE)]
        axes.plot(own["batch_size"], own[STEP_TIME], MARKERS[place % len(MARKERS)], color=color, alpha=0.5)
        rows = np.geomspace(row["smallest"], row["largest"])
        law = row["call_ms"] + rows * row["per_1000_rows_ms"] / 1000
        if row["fits"]:
            axes.plot(rows, law, LINES[place % len(LINES)], color=color, label=row["algorithm"] or None)
    scale_axis(axes, "x", steps["batch_size"])
    scale_axis(axes, "y", steps[STEP_TIME])
    axes.set_xlabel("rows of a batch")
    axes.set_ylabel(STEP_TIME)
    if table["fits"].sum() > 1:
        axes.legend(title="algorithm")
    return figure
