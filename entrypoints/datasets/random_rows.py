"""Random rows of a table, by its target: each row as likely as another, and each class in its share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MAX_VALUES = 1000  # of a target that are kept in share
FIRST = 100_000  # rows that tell whether it has more
LOST = "lost"  # an attribute of a sample: what to say if the target is of classes, of which one has no row there


def drawn(target: pa.ChunkedArray, rows: int, seed: int) -> tuple[NDArray[np.int32], str]:
    """The positions, in order, of random rows that have a target, and what to say if one of its values is not there.

    Each value of a target with at most 1000 different ones keeps its share, to within one row. Equal seeds draw equal
    rows.
    """
    random = np.random.default_rng(seed)
    known = pc.invert(pc.is_null(target, nan_is_null=True)).to_numpy()
    order = np.arange(len(known), dtype=np.int32)[known]
    random.shuffle(order)
    if pc.count_distinct(target.slice(0, FIRST)).as_py() > MAX_VALUES:
        return np.sort(order[:rows]), ""
    encoded = target.unify_dictionaries() if pa.types.is_dictionary(target.type) else target.dictionary_encode()
    values = encoded.chunk(0).dictionary.to_pylist()
    codes = np.concatenate([chunk.indices.fill_null(0).to_numpy().astype(np.int16) for chunk in encoded.chunks])
    codes = codes[order]
    counts = np.bincount(codes, minlength=len(values))
    # One random offset for all values: each gets its share, rounded up or down, so that rows stay equally likely.
    shares = np.cumsum(counts) / max(1, len(order)) * min(rows, len(order))
    wanted = np.diff(np.floor(shares + random.random()), prepend=0).astype(int)
    positions = np.concatenate([order[codes == code][:number] for code, number in enumerate(wanted)])
    lost = np.flatnonzero((counts > 0) & (wanted == 0))
    if not len(lost):
        return np.sort(positions), ""
    return np.sort(positions), (
        f"max_rows={rows}: class {values[lost[0]]} has only {counts[lost[0]]} of the {len(order)} rows, and none would "
        f"be among {rows}; raise max_rows, or merge or drop the class"
    )


def sampled(frame: pd.DataFrame, target: str | None, rows: int | None, seed: int) -> pd.DataFrame:
    """At most ``rows`` rows of a frame, see ``drawn``; all without a number, or such a target."""
    names = [str(name).strip() for name in frame.columns]
    if rows is None or rows >= len(frame) or target not in names:
        return frame
    values = frame.iloc[:, names.index(target)].to_numpy(dtype=object)
    positions, lost = drawn(pa.chunked_array([pa.array(values, from_pandas=True)]), rows, seed)
    sample: pd.DataFrame = frame.iloc[positions].reset_index(drop=True)
    sample.attrs = frame.attrs | {LOST: lost}
    return sample
