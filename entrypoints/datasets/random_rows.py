"""Random rows of a table, by its target: each row as likely as another, and each class in its share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.datasets.sysmetrics_rows import texts

MAX_VALUES = 1000  # of a target that are kept in share
LOST = "lost"  # an attribute of a sample: what to say if the target is of classes, of which one has no row there


def drawn(target: Iterable[pd.Series[Any]], rows: int, seed: int) -> tuple[NDArray[np.int32], str]:
    """The positions, in order, of random rows that have a target, and what to say if one of its values is not there.

    Each value of a target with at most 1000 different ones keeps its share, to within one row. Equal seeds draw equal
    rows. At most 14 bytes are held for each row of the table.

    Args:
        target: the column, in parts.
        rows: how many to draw.
        seed: of the random order.
    """
    codes, values = _coded(target)
    random = np.random.default_rng(seed)
    order = np.arange(len(codes), dtype=np.int32)
    random.shuffle(order)
    counts = np.bincount(codes, minlength=len(values))
    counts[0] = 0
    known = int(counts.sum())
    # One random offset for all values: each gets its share, rounded up or down, so that rows stay equally likely.
    shares = np.cumsum(counts) / max(1, known) * min(rows, known)
    wanted = np.diff(np.floor(shares + random.random()), prepend=0).astype(int)
    shuffled = codes[order]
    found = [order[shuffled == code][:number] for code, number in enumerate(wanted)]
    positions = np.sort(np.concatenate(found))
    lost = np.flatnonzero((counts > 0) & (wanted == 0))
    if not len(lost):
        return positions, ""
    return positions, (
        f"max_rows={rows}: class {values[lost[0]]} has only {counts[lost[0]]} of the {known} rows, and none would "
        f"be among {rows}; raise max_rows, or merge or drop the class"
    )


def _coded(target: Iterable[pd.Series[Any]]) -> tuple[NDArray[np.int16], list[Any]]:
    """The code of each row's value, 0 where it is missing, and the values by their codes.

    More than MAX_VALUES values all count as one.
    """
    codes_of: dict[Any, int] = {}
    parts: list[NDArray[np.int16]] = []
    for part in target:
        if len(codes_of) <= MAX_VALUES:
            try:
                places, values = pd.factorize(part)
            except TypeError:  # lists have no hash
                places, values = pd.factorize(pd.Series(texts(part)))
            codes = [codes_of.setdefault(value, len(codes_of) + 1) for value in values]
        if len(codes_of) <= MAX_VALUES:
            parts.append(np.array([*codes, 0], dtype=np.int16)[places])
        else:
            parts.append(part.notna().to_numpy().astype(np.int16))
    all_codes = np.concatenate(parts)
    if len(codes_of) <= MAX_VALUES:
        return all_codes, [None, *codes_of]
    return np.minimum(all_codes, 1, out=all_codes), [None, "any"]


def sampled(frame: pd.DataFrame, target: str | None, rows: int | None, seed: int) -> pd.DataFrame:
    """At most ``rows`` rows of a frame, see ``drawn``; all without a number, or such a target."""
    names = [str(name).strip() for name in frame.columns]
    if rows is None or rows >= len(frame) or target not in names:
        return frame
    positions, lost = drawn([frame.iloc[:, names.index(target)]], rows, seed)
    sample: pd.DataFrame = frame.iloc[positions].reset_index(drop=True)
    sample.attrs = frame.attrs | {LOST: lost}
    return sample
