"""What cannot be used as a table, its target, its features or its split, in a table of cases."""

import pandas as pd
import pytest
from cases import cases, sentence, tables

from entrypoints.datasets.known import load
from entrypoints.datasets.splits import make_split
from entrypoints.errors import UserError


def _frame(columns, rows):
    """Cells that are repeated; in text, {} is the number of the row."""
    frame = {}
    for name, cells in columns.items():
        repeated = enumerate((cells * rows)[:rows])
        frame[name] = [cell.format(row) if isinstance(cell, str) else cell for row, cell in repeated]
    return pd.DataFrame(frame)


def _write(path, case):
    if "text" in case:
        return path.write_text(case["text"], encoding=case.get("encoding", "utf-8"))
    columns = {"a": ["{}"], "y": ["no", "yes"]} | case.get("columns", {})
    frame = _frame(columns, case.get("rows", 24))
    return frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)


def _split(path, case):
    table = load(case.get("dataset", str(path)), **{"target": "y"} | case.get("load", {}))
    make_split(table, **{"folds": 2, "seed": 1} | case.get("split", {}))


@cases("case", tables(__file__, "refusals.yaml"))
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path, case):
    """What was given, what is wrong or allowed, what to do; no traceback."""
    path = tmp_path / case.get("file", "t.csv")
    _write(path, case)
    with pytest.raises(UserError, match=sentence(case["says"].format(path=path))):
        _split(path, case)
