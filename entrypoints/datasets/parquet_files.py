"""Parquet files: all rows, or random ones, drawn while they stream, so that memory never holds more than these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from entrypoints.datasets.tables import lost_class

BATCH_ROWS = 16_384
BUFFER_BYTES = 65_536  # of each column
MAX_CLASSES = 1000  # of a target of text; more are not kept in share
MAX_NUMBERS = 20  # likewise of whole numbers


class ParquetFiles:
    """A Parquet file, or all files of a folder that are named .parquet or .pq, in the order of their names.

    Raises ValueError if there is none, or if one has other columns than the first one.
    """

    def __init__(self, path: Path) -> None:
        paths = [path]
        if path.is_dir():
            paths = sorted(each for each in path.iterdir() if each.suffix in (".parquet", ".pq"))
        if not paths:
            raise ValueError("the folder holds no file named .parquet or .pq")
        # Otherwise pyarrow keeps all that it has read, or whole row groups.
        streamed: dict[str, Any] = {"pre_buffer": False, "buffer_size": BUFFER_BYTES}
        self._files = [pq.ParquetFile(each, **streamed) for each in paths]
        self._schema = self._files[0].schema_arrow
        for each, file in zip(paths, self._files, strict=True):
            if not file.schema_arrow.equals(self._schema):
                raise ValueError(f"{each.name} has other columns or types than {paths[0].name}")
        self.rows = sum(file.metadata.num_rows for file in self._files)

    def first_rows(self) -> pd.DataFrame:
        """As many as are read at once."""
        for batch in self._batches():
            return _frame(pa.Table.from_batches([batch]))
        return _frame(self._schema.empty_table())

    def read(self) -> pd.DataFrame:
        """All rows."""
        return self._kept(self.rows, ((batch, slice(None)) for batch in self._batches()))

    def draw(self, rows: int, target: str | None, seed: int) -> pd.DataFrame:
        """Random rows of those with a target, in their order, each as likely as another; equal seeds draw equal ones.

        The values of a target that may be a class keep their share: of each, the number of rows differs from it by less
        than one.

        Raises:
            UserError: one of these values would be lost.
        """
        column = self._schema.get_field_index(target) if target else -1
        classes, counts = self._classes(column) if column >= 0 else ([], [self.rows])
        if rows >= sum(counts):
            return self.read()
        drawing = _Drawing(np.array(counts), rows, seed)
        lost = np.flatnonzero(drawing.wanted == 0).tolist()
        if lost and classes:
            raise lost_class(rows, classes[lost[0]], counts[lost[0]], sum(counts))

        def drawn() -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64]]]:
            for batch in self._batches():
                stratum = np.zeros(len(batch), np.int64) if column < 0 else _strata(batch.column(column), classes)
                yield batch, drawing.places(stratum)

        return self._kept(rows, drawn())

    def _batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)

    def _classes(self, target: int) -> tuple[list[Any], list[int]]:
        """The values of a target that may be classes, and how many rows have each; else none, and how many have any."""
        counts: Counter[Any] = Counter()
        others = 0
        kind = self._schema.field(target).type
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        most = MAX_NUMBERS if is_number else MAX_CLASSES
        for batch in self._batches([self._schema.field(target).name]):
            values = _decoded(batch.column(0))
            values = values.filter(pc.invert(pc.is_null(values, nan_is_null=True)))
            if len(counts) > most:
                others += len(values)
                continue
            found = pc.value_counts(values)
            counts.update(dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))
        if len(counts) > most or (is_number and any(value % 1 for value in counts)):
            return [], [others + counts.total()]
        return list(counts), list(counts.values())

    def _complete(self) -> set[str]:
        """The columns of which the files say that no value is missing."""
        incomplete: Counter[str] = Counter()
        for metadata in (file.metadata for file in self._files):
            for group in map(metadata.row_group, range(metadata.num_row_groups)):
                for column in map(group.column, range(metadata.num_columns)):
                    known = column.statistics is not None and column.statistics.null_count == 0
                    incomplete[column.path_in_schema] += not known
        return {name for name, parts in incomplete.items() if not parts}

    def _kept(self, rows: int, parts: Iterator[tuple[pa.RecordBatch, Any]]) -> pd.DataFrame:
        """A frame of the rows at these places of each batch.

        Numbers are written to where they stay: of small pieces the allocator would keep a third as much again.
        """
        complete = self._complete()
        kept = []
        for field in self._schema:
            whole = pa.types.is_integer(field.type) and field.name in complete
            is_array = whole or pa.types.is_floating(field.type)
            kept.append(np.empty(rows, field.type.to_pandas_dtype()) if is_array else list[pa.Array]())
        start = 0
        for batch, places in parts:
            taken = batch if isinstance(places, slice) else batch.take(places)
            stop = start + len(taken)
            for column, values in zip(kept, taken.columns, strict=True):
                if isinstance(column, list):
                    column.append(values)
                else:
                    column[start:stop] = values.to_numpy(zero_copy_only=False)
            start = stop
        columns = [
            pa.chunked_array(column, field.type) if isinstance(column, list) else column
            for column, field in zip(kept, self._schema, strict=True)
        ]
        return _frame(pa.Table.from_arrays(columns, schema=self._schema))


class _Drawing:
    """How many rows of each stratum are still to be drawn, of how many that are still to come."""

    def __init__(self, counts: NDArray[np.int64], rows: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._to_come = counts.copy()
        # One random offset for all strata: each gets its share, rounded up or down, so that rows stay equally likely.
        shares = np.cumsum(counts) / counts.sum() * rows
        self.wanted = np.diff(np.floor(shares + self._random.random()), prepend=0).astype(np.int64)

    def places(self, strata: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places that are drawn of the next rows, whose strata are given; -1: a row of none.

        How many of a stratum is hypergeometric, so that each set of its rows is as likely as another.
        """
        drawn = [np.zeros(0, np.int64)]
        for stratum in np.unique(strata[strata >= 0]):
            places = np.flatnonzero(strata == stratum)
            others = self._to_come[stratum] - self.wanted[stratum]
            number = self._random.hypergeometric(self.wanted[stratum], others, len(places))
            drawn.append(self._random.choice(places, number, replace=False))
            self._to_come[stratum] -= len(places)
            self.wanted[stratum] -= number
        return np.sort(np.concatenate(drawn))


def _strata(column: pa.Array, classes: list[Any]) -> NDArray[np.int64]:
    """The place of each row's class, 0 where there are none, -1 where it has no value."""
    column = _decoded(column)
    if not classes:
        return np.where(pc.is_null(column, nan_is_null=True), -1, 0)
    codes = pc.index_in(column, value_set=pa.array(classes, column.type)).fill_null(-1)
    found: NDArray[np.int64] = codes.to_numpy(zero_copy_only=False)
    return found


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(split_blocks=True, self_destruct=True)
    pa.default_memory_pool().release_unused()
    frame.index = pd.RangeIndex(len(frame))
    return frame
