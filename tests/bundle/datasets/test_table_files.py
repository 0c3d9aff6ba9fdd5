"""CSV and Parquet files: separators, encodings, headers, missing values, and what makes a name a path."""

import gzip
import math

import pandas as pd
import pytest
from cases import cases, tables

from entrypoints.datasets import csv_files, parquet_files
from entrypoints.datasets.sources import Asked


def _read(path, content):
    data = content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return csv_files.read(Asked(str(path)), pytest.fail)


@cases("name", ["t.csv", "T.CSV", "t.csv.gz"])
@cases("text, columns", tables(__file__, "csv_files.yaml"))
def test_csv_file_holds_what_a_person_sees_in_it(tmp_path, name, text, columns):
    """Separators, the usual spellings of nothing, OpenML's too, and numbers; packed or not."""
    frame = _read(tmp_path / name, text)
    assert frame.attrs["name"] == name.partition(".")[0]
    assert frame.astype(object).where(frame.notna(), None).to_dict("list") == columns


def test_file_in_cp1252_is_read_with_a_line(tmp_path):
    """As Excel saves it in Western Europe."""
    path = tmp_path / "t.csv"
    lines = []
    path.write_bytes("Straße;€\nMüllerweg;5\n".encode("cp1252"))
    frame = csv_files.read(Asked(str(path)), lines.append)
    assert frame.to_dict("list") == {"Straße": ["Müllerweg"], "€": [5]}
    assert lines == [f"dataset={path}: not UTF-8, so read as cp1252 (Windows); save it as UTF-8 if letters are wrong"]


def test_header_is_read_as_it_is(tmp_path):
    """Quotes, blanks, a byte order mark and repeated names: nothing is renamed behind the user's back."""
    frame = _read(tmp_path / "t.csv", '\ufeffa, "b,c" ,a\n1, 2,3\n')
    assert list(frame.columns) == ["a", "b,c", "a"]
    assert frame.to_numpy().tolist() == [[1, 2, 3]]


def test_columns_without_a_name_have_that_which_pandas_gives_them(tmp_path):
    """So rows to predict have it, too."""
    path = tmp_path / "t.csv"
    pd.DataFrame({"a": [5, 6] * 10, "y": ["u", "v"] * 10}).to_csv(path)
    assert list(csv_files.read(Asked(str(path)), pytest.fail)) == list(pd.read_csv(path)) == ["Unnamed: 0", "a", "y"]


def test_parquet_keeps_its_columns_and_loses_its_index(tmp_path):
    """Categories, missing values and numbers arrive; the index is not a column."""
    frame = pd.DataFrame({"a": [1.5, math.nan], "b": pd.Categorical(["x", None])}, index=[7, 9])
    frame.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(
        parquet_files.read(Asked(str(tmp_path / "t.parquet")), pytest.fail), frame.reset_index(drop=True)
    )
