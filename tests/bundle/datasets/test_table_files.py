"""CSV and Parquet files: separators, encodings, headers, missing values, and what makes a name a path."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pandas as pd
import pytest

from entrypoints.datasets.table_files import is_path, read, stem
from entrypoints.errors import UserError


def _read(path: Path, content: str | bytes) -> pd.DataFrame:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return read(str(path), echo=pytest.fail)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["t.csv", "T.CSV", "t.csv.gz"])
def test_separator_is_that_of_the_header(tmp_path: Path, name: str, separator: str) -> None:
    """Commas, semicolons and tabs are told apart, packed or not."""
    frame = _read(tmp_path / name, f"a{separator}b\n1{separator}x\n2{separator}y\n")
    assert frame.to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize("empty", ["", "?", "NA", "nan", "null"])
def test_missing_values_are_recognised(tmp_path: Path, empty: str) -> None:
    """The usual spellings of nothing, OpenML's too."""
    frame = _read(tmp_path / "t.csv", f"a,b\n1,x\n{empty},{empty}\n")
    assert frame.isna().to_numpy().tolist() == [[False, False], [True, True]]
    assert frame["a"].dtype == "float64"


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_are_read_with_a_line(tmp_path: Path, separator: str) -> None:
    """Where commas separate nothing else they are decimal ones; whole numbers may stand among them."""
    rows = [("a", "b", "word"), ("0,1", "1,001", "x,y"), ("", "2,5", "z"), ("-3", "1e3", "1,2,3"), ("1,5e-2", "0", "")]
    path, lines = tmp_path / "t.csv", []
    path.write_text("\n".join(separator.join(row) for row in rows))
    frame = read(str(path), echo=lines.append)
    assert frame["a"].tolist() == pytest.approx([0.1, math.nan, -3.0, 0.015], nan_ok=True)
    assert frame["b"].tolist() == [1.001, 2.5, 1000.0, 0.0]
    assert frame["word"].tolist()[:3] == ["x,y", "z", "1,2,3"]
    assert lines == [f"dataset={path}: commas are read as decimal points in the column a, b"]


@pytest.mark.parametrize(
    ("content", "example", "columns"),
    [
        pytest.param('a,b,c\n"0,1",1,x\n"0,8",2,y\n', "0,1", "a", id="quoted"),
        pytest.param('a,b,c\n"1,001",1,"2,5"\n"2,000",2,3\n', "1,001", "a, c", id="quoted-thousands"),
        pytest.param("a;b\n1,001;x\n2,500;y\n", "1,001", "a", id="thousands-or-decimals"),
        pytest.param("a;b\n1,5;0.5\n2,5;1.5\n", "1,5", "a", id="commas-and-points"),
        pytest.param("a;b\n1.234,5;1\n2.500,1;2\n", "1.234,5", "a", id="both-in-one-number"),
        pytest.param("a\tb\n1,234,567\t1\n2,500,000\t2\n", "1,234,567", "a", id="millions"),
    ],
)
def test_numbers_with_commas_that_could_mean_two_things_are_refused(
    tmp_path: Path, content: str, example: str, columns: str
) -> None:
    """They would become categories without a word."""
    with pytest.raises(UserError) as raised:
        _read(tmp_path / "t.csv", content)
    assert raised.value.message == (
        f"dataset={tmp_path / 't.csv'}: numbers with commas, such as {example}, found in the column {columns}; write "
        "them with a point and without separators of thousands, such as 1234.5"
    )


def test_numbers_are_exact(tmp_path: Path) -> None:
    """The last bit is that of Python's float."""
    texts = ["0.1", "1e-300", "3.141592653589793238", "9007199254740993", "0.30000000000000004"]
    frame = _read(tmp_path / "t.csv", "a\n" + "\n".join(texts) + "\n")
    assert frame["a"].tolist() == [float(text) for text in texts]


def test_header_is_read_as_it_is(tmp_path: Path) -> None:
    """Quotes, blanks, a byte order mark and repeated names: nothing is renamed behind the user's back."""
    frame = _read(tmp_path / "t.csv", '\ufeffa, "b,c" ,a\n1, 2,3\n')
    assert list(frame.columns) == ["a", "b,c", "a"]
    assert frame.to_numpy().tolist() == [[1, 2, 3]]


def test_numbers_of_the_rows_are_left_out_with_a_line(tmp_path: Path) -> None:
    """What DataFrame.to_csv writes as first column is not a feature."""
    path = tmp_path / "t.csv"
    pd.DataFrame({"a": [5, 6]}).to_csv(path)
    lines: list[str] = []
    assert list(read(str(path), echo=lines.append).columns) == ["a"]
    assert lines == [f"dataset={path}: the first column has no name and numbers the rows: left out"]


def test_other_first_column_without_a_name_stays(tmp_path: Path) -> None:
    """Only row numbers are known to be none."""
    assert list(_read(tmp_path / "t.csv", ",a\n7,1\n9,2\n").columns) == ["", "a"]


def test_parquet_keeps_its_columns_and_loses_its_index(tmp_path: Path) -> None:
    """Categories, missing values and numbers arrive; the index is not a column."""
    frame = pd.DataFrame({"a": [1.5, math.nan], "b": pd.Categorical(["x", None])}, index=[7, 9])
    frame.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read(str(tmp_path / "t.parquet"), echo=pytest.fail), frame.reset_index(drop=True))


def test_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow passes a parameter without a shell in between."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "t.csv").write_text("a\n1\n")
    assert read("~/t.csv", echo=pytest.fail)["a"].tolist() == [1]


@pytest.mark.parametrize(
    ("name", "path"),
    [("red_wine", False), ("", False), ("t.csv", True), ("folder/t", True), ("/t", True), ("t.xlsx", True)],
)
def test_path_has_a_folder_or_a_suffix(name: str, path: bool) -> None:
    """A misspelt name is answered with names, a misspelt path with the path."""
    assert is_path(name) is path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.PQ"])
def test_stem_is_the_name_without_its_suffix(name: str) -> None:
    """A table is called what its file is called."""
    assert stem(Path("folder", name)) == "t"
