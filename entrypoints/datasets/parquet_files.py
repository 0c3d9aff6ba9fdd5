"""Tables in Parquet files, and in folders of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow.dataset import ParquetFileFormat, ParquetFragmentScanOptions, dataset

from entrypoints.datasets.random_rows import drawn
from entrypoints.datasets.sources import Asked, check_size, reading
from entrypoints.text import Echo
from mlflow_gate.table_files import PARQUET

# Otherwise pyarrow keeps whole row groups, and many batches.
_STREAMED = ParquetFileFormat(
    default_fragment_scan_options=ParquetFragmentScanOptions(
        use_buffered_stream=True, buffer_size=65_536, pre_buffer=False
    )
)
_LITTLE: dict[str, Any] = {
    "batch_size": 16_384,
    "batch_readahead": 1,
    "fragment_readahead": 1,
    "use_threads": False,
}
_ADVICE = "choose max_rows={}"


def matches(name: str) -> bool:
    """Whether it is the path of a Parquet file, or of a folder, which may be missing."""
    if name.lower().endswith(PARQUET):
        return True
    return bool(name) and (Path(name).is_dir() or (os.sep in name and not Path(name).suffix))


def read(asked: Asked, echo: Echo) -> pd.DataFrame:
    """The columns; no more than ``max_rows`` rows are held in memory: random ones with a target, see ``drawn``."""
    with reading(asked, "Parquet") as path:
        frame = _read(path, asked)
        is_file = path.suffix.lower() in PARQUET
        frame.attrs["name"] = path.stem if is_file else path.name
        return frame


def _read(path: Path, asked: Asked) -> pd.DataFrame:
    table = _dataset(path)
    rows = table.count_rows()
    names = [name.strip() for name in table.schema.names]
    drawn_rows = asked.max_rows
    if drawn_rows is None or drawn_rows >= rows:
        check_size(f"{asked.what}: its", rows, len(names), _ADVICE)
        return _frame(table.to_table())
    check_size(f"{asked.what}: its", drawn_rows, len(names), _ADVICE)
    if asked.target not in names:
        return _frame(table.head(0))  # `clean` says which there are
    target = table.schema.names[names.index(asked.target)]
    targets = _frame(table.to_table(columns=[target], **_LITTLE))[target]
    positions = drawn(targets, drawn_rows, asked.seed)
    # For whole rows pyarrow would keep all that it reads.
    columns = [_frame(table.take(positions, columns=[name], **_LITTLE)) for name in table.schema.names]
    return pd.concat(columns, axis="columns")


def _dataset(path: Path) -> Any:
    """A file, or all files of a folder, which have the same columns."""
    paths = [path]
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.suffix in PARQUET)
    if not paths:
        raise ValueError("the folder holds no file named .parquet or .pq")
    table = dataset([str(file) for file in paths], format=_STREAMED)
    for file, fragment in zip(paths, table.get_fragments(), strict=True):
        if not fragment.physical_schema.equals(table.schema):
            raise ValueError(f"{file.name} has other columns or types than {paths[0].name}")
    return table


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(split_blocks=True, self_destruct=True)
    pa.default_memory_pool().release_unused()
    frame.index = pd.RangeIndex(len(frame))
    return frame
