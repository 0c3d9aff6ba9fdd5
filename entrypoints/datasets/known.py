"""A name -> a checked table and where it came from.

The digest of a known table is written down here and compared after loading, so a study never runs on other rows than
the ones it names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from entrypoints.datasets import csv_files, openml_source, parquet_files
from entrypoints.datasets.cleaning import clean
from entrypoints.datasets.openml_source import PREFIX
from entrypoints.datasets.random_rows import sampled
from entrypoints.datasets.sources import BROKEN, Asked, Source
from entrypoints.datasets.sysmetrics_rows import numbers
from entrypoints.datasets.tables import Table, Task
from entrypoints.errors import UserError, say
from entrypoints.text import Echo, closest
from mlflow_gate.table_files import EXACT

DATA = Path(__file__).parents[1] / "data"
SOURCES: list[Source] = [openml_source, csv_files, parquet_files]


def without_converters(frame: pd.DataFrame) -> pd.DataFrame:
    """wave_energy without the power of each of its 16 converters, which a model would only have to add up.

    Raises ValueError unless 16 of its 49 columns are named so (p1, power_2, Energy 3 ..) and add up to the target.
    """
    named = [name for name in frame if re.fullmatch(r"(.*[_. ])?(p|power|energy)[_. ]?\d+", str(name), re.IGNORECASE)]
    if frame.shape[1] != 49 or len(named) != 16:
        raise ValueError(f"{len(named)} of {frame.shape[1]} columns hold the power of a converter, 16 of 49 expected")
    total, y = sum(numbers(frame[name]) for name in named), numbers(frame[frame.attrs["target"]])
    if not np.median(np.abs(total - y) / np.abs(y)) <= 0.05:  # NaN is refused, too
        raise ValueError("the power of the converters does not add up to the target")
    kept: pd.DataFrame = frame.drop(columns=named)
    return kept


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset that studies name.

    Attributes:
        digest: of its table; None where the original has never been seen here.
        prepare: applied to OpenML's columns; raises ValueError if they are not what it expects.
    """

    task: Task
    openml_id: int
    rows: int
    digest: str | None
    bundled: bool = False
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None


KNOWN = {
    "diabetes": DatasetSpec(
        task="classification",
        openml_id=37,
        rows=768,
        digest="a93e97d51d3c791bb41f1769f371179a28811e744f7164a735ec1c8d0e45004c",
        bundled=True,
    ),
    "red_wine": DatasetSpec(
        task="regression",
        openml_id=44972,
        rows=1599,
        digest="aac7f095efc699870e1b14aa826ecf0aa3e0c6ff10208e921f4644e9efaee5c8",
        bundled=True,
    ),
    "mnist_784": DatasetSpec(
        task="classification",
        openml_id=554,
        rows=70000,
        digest="02f5d0fafe5028ebba6f7a78bee07292d3d4af3ae6e2686540031a80891e2446",
    ),
    # Not verified against the original: no digest, only its number of rows and what `without_converters` expects.
    "wave_energy": DatasetSpec(
        task="regression",
        openml_id=44975,
        rows=72000,
        digest=None,
        prepare=without_converters,
    ),
}


def load(name: str, *, folder: Path = DATA, echo: Echo = say, **said: Any) -> Table:
    """Return the table of that name, checked.

    Args:
        name: a known dataset, ``openml:<id>``, or the path of a CSV or Parquet file. An id of a known dataset is that
            dataset; the bundled ones never need the network. A file needs a target, the others have a default.
        folder: of the bundled files.
        echo: called with a line for anything that the user should know.
        said: the other fields of ``Asked``. The sample of ``max_rows`` decides how columns are read.

    Raises:
        UserError: what the user can fix.
        RuntimeError: a bundled file is damaged; it is named.
    """
    asked = Asked(name, **said)
    of_ids = {f"{PREFIX}{entry.openml_id}": each for each, entry in KNOWN.items()}
    known = of_ids.get(name.lower(), name)
    if known in KNOWN:
        table = _bundled(known, folder) if KNOWN[known].bundled else _of_openml(known, asked, echo)
        if asked.target in (None, table.target) and not (asked.drop or asked.group or asked.time or asked.max_rows):
            return table
        frame = table.frame
    else:
        frame = _source_of(name).read(asked, echo)
    frame = sampled(frame, asked.target or frame.attrs.get("target"), asked.max_rows, asked.seed)
    table = clean(frame, asked, echo)
    del frame
    pa.default_memory_pool().release_unused()  # which would keep what the file's texts took
    return table


def _source_of(name: str) -> Source:
    for source in SOURCES:
        if source.matches(name):
            return source
    raise UserError(
        f"dataset={name}: one of {', '.join(KNOWN)}, openml:<id>, the path of a CSV or Parquet file (.csv, .csv.gz, "
        f".parquet, .pq), or of a folder of Parquet files is allowed; {closest(name, KNOWN, 'use one of these')}"
    )


def _bundled(name: str, folder: Path) -> Table:
    path = folder / f"{name}.csv.gz"
    try:
        frame = pd.read_csv(path, **EXACT)
        frame.attrs = {"openml_id": KNOWN[name].openml_id, "target": frame.columns[-1]}
        return _verified(name, frame)
    except (UserError, *BROKEN) as error:
        raise RuntimeError(f"{path} is not the {name} table: {error}; restore it from the repository") from error


def _of_openml(name: str, asked: Asked, echo: Echo) -> Table:
    """A known table, if OpenML's is the one that is known."""
    expected = KNOWN[name]
    frame = openml_source.read(asked._replace(name=f"{PREFIX}{expected.openml_id}"), echo)
    try:
        table = _verified(name, expected.prepare(frame) if expected.prepare else frame)
    except (UserError, ValueError) as error:
        why = error.message if isinstance(error, UserError) else error
        raise UserError(
            f"{asked.what}: OpenML's table is refused: {why}; give the path of your own copy instead"
        ) from error
    if expected.digest is None:
        echo(f"{asked.what}: checked by its {expected.rows} rows and its columns alone; its content is not known here")
    return table


def _verified(name: str, frame: pd.DataFrame) -> Table:
    """The table that a frame holds. Raises UserError or ValueError, saying what differs, if it is not the known one."""
    expected = KNOWN[name]
    frame.attrs |= {"name": name, "task": expected.task}
    say_nothing = list[str]().append  # of what is known
    table = clean(frame, Asked(name), say_nothing)
    if len(table.frame) != expected.rows:
        raise ValueError(f"{len(table.frame)} rows found, {expected.rows} expected")
    if expected.digest not in (None, table.digest):
        raise ValueError(f"the digest {table.digest[:16]} found, {str(expected.digest)[:16]} expected")
    return table
