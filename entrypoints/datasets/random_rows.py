"""Fewer rows of a table, spread over the values of its target: each class keeps its share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.datasets.sysmetrics_rows import texts


def evenly(rows: NDArray[np.intp], most: int, offset: float = 0.5) -> NDArray[np.intp]:
    """``most`` of these rows, which are at least as many: one at equal distances, the first by ``offset`` of that."""
    places = (np.arange(most) + offset) * (len(rows) / most)
    return rows[places.astype(np.intp)]


def drawn(target: pd.Series[Any], rows: int, seed: int) -> NDArray[np.intp]:
    """The positions, in order, of at most so many random rows that have a target; equal seeds draw equal rows.

    Each is as likely as another, and each value of the target has its share of them, to within one row.
    """
    try:
        codes, _ = pd.factorize(target)
    except TypeError:  # lists have no hash
        codes, _ = pd.factorize(texts(target))
    random = np.random.default_rng(seed)
    shuffled = random.permutation(np.flatnonzero(codes >= 0))
    by_value = shuffled[np.argsort(codes[shuffled], kind="stable")]
    return np.sort(evenly(by_value, min(rows, len(by_value)), random.random()))


def sampled(frame: pd.DataFrame, target: str | None, rows: int | None, seed: int) -> pd.DataFrame:
    """At most ``rows`` rows of a frame, see ``drawn``; all without a number, or such a target."""
    names = [str(name).strip() for name in frame.columns]
    if rows is None or rows >= len(frame) or target not in names:
        return frame
    positions = drawn(frame.iloc[:, names.index(target)], rows, seed)
    sample: pd.DataFrame = frame.iloc[positions].reset_index(drop=True)
    return sample
