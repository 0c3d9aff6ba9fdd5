"""Random rows of a table of any length: its target is looked through batch by batch, and no row number is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MAX_VALUES = 1000  # of a target that are kept in share
# Attributes of a sample: how many rows it is of, and what to say if the target is of classes, of which one is lost.
OF_ROWS, LOST = "of_rows", "lost"


class RandomRows:
    """Random rows of those with a target, each as likely as another; equal seeds draw equal ones.

    Each value of a target with at most 1000 different ones keeps its share, to within one row.

    Args:
        targets: the target of all rows, batch by batch.
        rows: how many to draw.
        seed: any whole number from 0.

    Attributes:
        rows: how many there are to draw.
        lost: what to say if the target is of classes, of which one has no row among them; empty if all have.
    """

    def __init__(self, targets: Iterable[pa.Array], rows: int, seed: int) -> None:
        self._values, counts = _counted(targets)
        self._random = np.random.default_rng(seed)
        self._to_come = np.array(counts, dtype=np.int64)
        total = sum(counts)
        # One random offset for all values: each gets its share, rounded up or down, so that rows stay equally likely.
        self.rows = min(rows, total)
        shares = np.cumsum(self._to_come) / max(1, total) * self.rows
        self._wanted = np.diff(np.floor(shares + self._random.random()), prepend=0).astype(np.int64)
        self.lost = ""
        if self._values and not self._wanted.all():
            i = int(np.argmin(self._wanted))
            self.lost = (
                f"max_rows={rows}: class {self._values[i]} has only {counts[i]} of the {total} rows, and none would be "
                f"among {rows}; raise max_rows, or merge or drop the class"
            )

    def positions(self, target: pa.Array) -> NDArray[np.int64]:
        """Which of the next rows are drawn.

        How many of a value is hypergeometric, so that each set of its rows is as likely as another.
        """
        codes = self._codes(_decoded(target))
        drawn = [np.zeros(0, np.int64)]
        for value in np.unique(codes[codes >= 0]):
            positions = np.flatnonzero(codes == value)
            others = self._to_come[value] - self._wanted[value]
            number = self._random.hypergeometric(self._wanted[value], others, len(positions))
            drawn.append(self._random.choice(positions, number, replace=False))
            self._to_come[value] -= len(positions)
            self._wanted[value] -= number
        return np.sort(np.concatenate(drawn))

    def _codes(self, target: pa.Array) -> NDArray[np.int64]:
        """The number of each row's value, -1 where it has none."""
        if self._values is None:
            return np.where(pc.is_null(target, nan_is_null=True), -1, 0)
        codes = pc.index_in(target, value_set=pa.array(self._values, target.type)).fill_null(-1)
        found: NDArray[np.int64] = codes.to_numpy(zero_copy_only=False)
        return found


def sampled(frame: pd.DataFrame, target: str | None, rows: int | None, seed: int) -> pd.DataFrame:
    """At most ``rows`` rows of a frame, in their order, see ``RandomRows``; all without a number, or such a target."""
    names = [str(name).strip() for name in frame.columns]
    if rows is None or rows >= len(frame) or target not in names:
        return frame
    column = pa.array(frame.iloc[:, names.index(target)].to_numpy(dtype=object), from_pandas=True)
    draw = RandomRows([column], rows, seed)
    sample: pd.DataFrame = frame.iloc[draw.positions(column)].reset_index(drop=True)
    sample.attrs = frame.attrs | {OF_ROWS: len(frame), LOST: draw.lost}
    return sample


def _counted(targets: Iterable[pa.Array]) -> tuple[list[Any] | None, list[int]]:
    """The values of a target, and how many rows have each; of too many None, and how many rows have any."""
    counts: Counter[Any] = Counter()
    more = 0
    for target in targets:
        present = _decoded(target)
        present = present.filter(pc.invert(pc.is_null(present, nan_is_null=True)))
        if len(counts) > MAX_VALUES:
            more += len(present)
            continue
        for found in pc.value_counts(present).to_pylist():
            counts[found["values"]] += found["counts"]
    if len(counts) > MAX_VALUES:
        return None, [counts.total() + more]
    return list(counts), list(counts.values())


def _decoded(target: pa.Array) -> pa.Array:
    return target.dictionary_decode() if pa.types.is_dictionary(target.type) else target
