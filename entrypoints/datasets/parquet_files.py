"""Parquet files: all rows, or random ones, drawn while they stream, so that memory never holds more than these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from entrypoints.datasets.random_rows import LOST, OF_ROWS, RandomRows

BATCH_ROWS = 16_384
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
        for batch in self._batches():
            return _frame(pa.Table.from_batches([batch]))
        return _frame(self._schema.empty_table())

    def read(self) -> pd.DataFrame:
        """All rows."""
        return self._kept(self.rows, self._batches())

    def draw(self, rows: int, target: str | None, seed: int) -> pd.DataFrame:
        """Random rows, in their order, see ``RandomRows``; the first ones if there is no such target."""
        names = [name.strip() for name in self._schema.names]
        if target not in names:
            return self.first_rows()
        i = names.index(target)
        targets = (batch.column(0) for batch in self._batches([self._schema.names[i]]))
        draw = RandomRows(targets, rows, seed)
        drawn = (batch.take(draw.positions(batch.column(i))) for batch in self._batches())
        frame = self._kept(draw.rows, drawn)
        frame.attrs = {OF_ROWS: self.rows, LOST: draw.lost}
        return frame

    def _batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)

    def _complete(self) -> set[str]:
        """The columns of which the files say that no value is missing."""
        incomplete = set()
        names = set()
        for metadata in (file.metadata for file in self._files):
            for group in map(metadata.row_group, range(metadata.num_row_groups)):
                for column in map(group.column, range(metadata.num_columns)):
                    names.add(column.path_in_schema)
                    if column.statistics is None or column.statistics.null_count != 0:
                        incomplete.add(column.path_in_schema)
        return names - incomplete

    def _kept(self, rows: int, batches: Iterable[pa.RecordBatch]) -> pd.DataFrame:
        """A frame of the rows of these batches.

        Numbers are written to where they stay: of small pieces the allocator would keep a third as much again.
        """
        complete = self._complete()
        kept = []
        for field in self._schema:
            whole = pa.types.is_integer(field.type) and field.name in complete
            is_array = whole or pa.types.is_floating(field.type)
            kept.append(np.empty(rows, field.type.to_pandas_dtype()) if is_array else list[pa.Array]())
        start = 0
        for batch in batches:
            stop = start + len(batch)
            for column, values in zip(kept, batch.columns, strict=True):
                if isinstance(column, list):
                    column.append(values)
                else:
                    column[start:stop] = values.to_numpy(zero_copy_only=False)
            start = stop
        columns = []
        for column, field in zip(kept, self._schema, strict=True):
            columns.append(pa.chunked_array(column, field.type) if isinstance(column, list) else column)
        return _frame(pa.Table.from_arrays(columns, schema=self._schema))


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(split_blocks=True, self_destruct=True)
    pa.default_memory_pool().release_unused()
    frame.index = pd.RangeIndex(len(frame))
    return frame
