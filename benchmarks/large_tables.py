"""What large tables take: random rows of a Parquet file drawn while it streams, and all rows made ready for trials.

    python benchmarks/large_tables.py [--drawn 4000000 20000000] [--whole 2000000] [--rows 1000000]

It makes the files in a temporary folder (216 MB a million rows): 40 numbers, three columns of text, missing values and
two classes. For each file of --drawn a process of its own draws --rows rows, twice with one seed. A third process loads
the table of --whole, as `tune` does. Printed are the highest resident memory of each process (VmHWM) and, beside it,
what it had before it began; CPU seconds; and the bytes that a row takes: estimated, and in what trials share.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from mlflow_sysmetrics.sampling import own_high_water_mb  # noqa: E402

ROW_GROUP = 250_000
NUMBERS = 40
CATEGORIES = (4, 12, 30)
TARGET = "y"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawn", type=int, nargs="*", default=[4_000_000, 20_000_000])
    parser.add_argument("--whole", type=int, default=2_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        question, path = given.one
        draw(path, given.rows) if question == "draw" else load(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        for rows in given.drawn:
            path = made(Path(folder, "table.parquet"), rows)
            for _ in range(2):
                ask("draw", path, given.rows)
        ask("load", made(Path(folder, "table.parquet"), given.whole), given.rows)


def ask(question: str, path: Path, rows: int) -> None:
    """Print what a process of its own finds."""
    subprocess.run([sys.executable, __file__, "--rows", str(rows), "--one", question, str(path)], check=True)


def made(path: Path, rows: int) -> Path:
    """Write a table, a row group at a time."""
    random = np.random.default_rng(0)
    with pq.ParquetWriter(path, _chunk(1, random).schema) as writer:
        for start in range(0, rows, ROW_GROUP):
            writer.write_table(_chunk(min(ROW_GROUP, rows - start), random), row_group_size=ROW_GROUP)
    return path


def _chunk(rows: int, random: np.random.Generator) -> pa.Table:
    columns = {}
    for i in range(NUMBERS):
        values = random.standard_normal(rows, dtype=np.float32)
        missing = random.random(rows, dtype=np.float32) < 0.03 if i % 4 == 0 else None
        columns[f"x{i}"] = pa.array(values.astype(np.float64) if i % 2 else values, mask=missing)
    for i, size in enumerate(CATEGORIES):
        columns[f"kind{i}"] = pa.array(np.array([f"c{i}_{n:03d}" for n in range(size)])[random.integers(0, size, rows)])
    columns[TARGET] = pa.array(np.where(columns["x1"].to_numpy() + random.standard_normal(rows) > 1, "yes", "no"))
    return pa.table(columns)


def draw(path: str, rows: int) -> None:
    """Draw rows, and print what it took."""
    from entrypoints.datasets.parquet_files import ParquetFiles

    before_mb, files = own_high_water_mb(), ParquetFiles(Path(path))
    began_s = time.process_time()
    frame = files.draw(rows, TARGET, seed=0)
    cpu_s, peak_mb = time.process_time() - began_s, own_high_water_mb()
    content = hashlib.sha256(pd.util.hash_pandas_object(frame).to_numpy().tobytes()).hexdigest()[:12]
    print(
        f"{len(frame):,} of {files.rows:,} rows drawn: peak {peak_mb:.0f} MB ({before_mb:.0f} before), "
        f"{cpu_s:.1f} CPU s, content {content}",
        flush=True,
    )


def load(path: str) -> None:
    """Make a whole table ready, and print what it took."""
    from entrypoints.datasets import known
    from entrypoints.datasets.parquet_files import ParquetFiles
    from entrypoints.datasets.prepared import prepared
    from entrypoints.datasets.splits import make_split
    from entrypoints.datasets.table_size import bytes_a_row

    before_mb = own_high_water_mb()
    table = known.load(path, target=TARGET, echo=lambda _: None)
    split = make_split(table, folds=10, seed=0)
    data = prepared(table, split)
    peak_mb, rows = own_high_water_mb(), len(table.frame)
    raised, shared = (peak_mb - before_mb) * 1e6 / rows, len(pickle.dumps(data, protocol=5)) / rows
    numbers = len(pickle.dumps(split, protocol=5)) / rows
    estimated = bytes_a_row(ParquetFiles(Path(path)).first_rows())
    print(
        f"{rows:,} rows made ready: peak {peak_mb:.0f} MB ({before_mb:.0f} before), {raised:.0f} bytes a row; trials "
        f"share {shared:.0f}, of which row numbers and folds take {numbers:.1f}; estimated for both {estimated:.0f}, "
        f"{estimated / (raised + shared):.2f} of what they take",
        flush=True,
    )


if __name__ == "__main__":
    main()
