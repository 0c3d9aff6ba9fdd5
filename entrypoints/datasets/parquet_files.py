"""Parquet files: all rows, or random ones, drawn while they stream, so that memory never holds more than these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from entrypoints.datasets.random_rows import LOST, OF_ROWS, RandomRows

BATCH_ROWS = 16_384
PIECE_ROWS = 65_536  # that are kept together: of smaller pieces the allocator would keep a third as much again
BUFFER_BYTES = 65_536  # of each column


class ParquetFiles:
    """A Parquet file, or all files of a folder that are named .parquet or .pq, in the order of their names.

    Raises ValueError if there is none, or if one has other columns than the first one.
    """

    def __init__(self, path: Path) -> None:
        paths = [path]
        if path.is_dir():
            paths = sorted(file for file in path.iterdir() if file.suffix in (".parquet", ".pq"))
        if not paths:
            raise ValueError("the folder holds no file named .parquet or .pq")
        # Otherwise pyarrow keeps all that it has read, or whole row groups.
        streamed: dict[str, Any] = {"pre_buffer": False, "buffer_size": BUFFER_BYTES}
        self._files = [pq.ParquetFile(file, **streamed) for file in paths]
        self._schema = self._files[0].schema_arrow
        for path, file in zip(paths, self._files, strict=True):
            if not file.schema_arrow.equals(self._schema):
                raise ValueError(f"{path.name} has other columns or types than {paths[0].name}")
        self.rows = sum(file.metadata.num_rows for file in self._files)

    def first_rows(self) -> pd.DataFrame:
        """As many as are read at once."""
        return _frame(islice(self._batches(), 1), self._schema)

    def read(self) -> pd.DataFrame:
        """All rows."""
        return _frame(self._batches(), self._schema)

    def draw(self, rows: int, target: str | None, seed: int) -> pd.DataFrame:
        """Random rows, in their order, see ``RandomRows``; the first ones if there is no such target."""
        names = [name.strip() for name in self._schema.names]
        if target not in names:
            return self.first_rows()
        i = names.index(target)
        targets = (batch.column(0) for batch in self._batches([self._schema.names[i]]))
        draw = RandomRows(targets, rows, seed)
        frame = _frame((batch.take(draw.positions(batch.column(i))) for batch in self._batches()), self._schema)
        frame.attrs = {OF_ROWS: self.rows, LOST: draw.lost}
        return frame

    def _batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)


def _frame(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pd.DataFrame:
    pieces: list[pa.Table] = []
    small: list[pa.RecordBatch] = []
    for batch in batches:
        small.append(batch)
        if sum(map(len, small)) >= PIECE_ROWS:
            pieces.append(pa.Table.from_batches(small, schema).unify_dictionaries().combine_chunks())
            small = []
    pieces.append(pa.Table.from_batches(small, schema))
    table = pa.concat_tables(pieces).unify_dictionaries()
    del pieces, small
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    pa.default_memory_pool().release_unused()
    frame.index = pd.RangeIndex(len(frame))
    return frame
