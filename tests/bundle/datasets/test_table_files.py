"""CSV and Parquet files: separators, encodings, headers, missing values, and what makes a name a path."""

import gzip
import math

import pandas as pd
import pytest

from entrypoints.datasets import csv_files, parquet_files
from entrypoints.datasets.sources import Wanted
from entrypoints.errors import UserError

SILENT = Wanted("dataset=t", pytest.fail)


def _read(path, content):
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return csv_files.read(str(path), SILENT)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["t.csv", "T.CSV", "t.csv.gz"])
def test_separator_is_that_of_the_header(tmp_path, name, separator):
    """Commas, semicolons and tabs are told apart, packed or not."""
    frame = _read(tmp_path / name, f"a{separator}b\n1{separator}x\n2{separator}y\n")
    assert frame.to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}
    assert frame.attrs["name"] == name.partition(".")[0]


@pytest.mark.parametrize("empty", ["", "?", "NA", "nan", "null"])
def test_missing_values_are_recognised(tmp_path, empty):
    """The usual spellings of nothing, OpenML's too."""
    frame = _read(tmp_path / "t.csv", f"a,b\n1,x\n{empty},{empty}\n")
    assert frame.isna().to_numpy().tolist() == [[False, False], [True, True]]
    assert frame["a"].dtype == "float64"


def test_numbers_are_exact(tmp_path):
    """The last bit is that of Python's float."""
    texts = ["0.1", "1e-300", "3.141592653589793238", "9007199254740993", "0.30000000000000004"]
    frame = _read(tmp_path / "t.csv", "a\n" + "\n".join(texts) + "\n")
    assert frame["a"].tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_codes_keep_their_leading_zeros(tmp_path, name):
    """Wherever the first one stands. A column with other numbers, and the rest of the table, is as it would be."""
    frame = _read(tmp_path / name, "a;zip;b;c\n1;10115;0.5;2\n2;;01;03\n3;01067;;04\n")
    assert frame.astype(object).fillna(-1).to_dict("list") == {
        "a": [1, 2, 3],
        "zip": ["10115", -1, "01067"],
        "b": [0.5, 1, -1],
        "c": ["2", "03", "04"],
    }


def test_file_in_cp1252_is_read_with_a_line(tmp_path):
    """As Excel saves it in Western Europe."""
    path, lines = tmp_path / "t.csv", list[str]()
    path.write_bytes("Straße;€\nMüllerweg;5\n".encode("cp1252"))
    assert csv_files.read(str(path), Wanted(f"dataset={path}", lines.append)).to_dict("list") == {
        "Straße": ["Müllerweg"],
        "€": [5],
    }
    assert lines == [f"dataset={path}: not UTF-8, so read as cp1252 (Windows); save it as UTF-8 if letters are wrong"]


def test_line_break_in_a_quoted_name_is_part_of_it(tmp_path):
    """As Excel writes a cell of two lines."""
    frame = _read(tmp_path / "t.csv", '"weight\n(kg)";"x, y";z\n1;2;3\n')
    assert frame.to_dict("list") == {"weight\n(kg)": [1], "x, y": [2], "z": [3]}


@pytest.mark.parametrize("first", ["# made by the lab", "Results, 2024\n"])
def test_line_above_the_names_of_columns_is_refused_in_one_sentence(tmp_path, first):
    """A comment, or a title, is taken for the names: the sentence shows it, and says what to do."""
    with pytest.raises(UserError, match=r"its first line names . columns .*; let the file begin with a line of"):
        _read(tmp_path / "t.csv", first + "\na,b,c\n1,2,3\n")


def test_header_is_read_as_it_is(tmp_path):
    """Quotes, blanks, a byte order mark and repeated names: nothing is renamed behind the user's back."""
    frame = _read(tmp_path / "t.csv", '\ufeffa, "b,c" ,a\n1, 2,3\n')
    assert list(frame.columns) == ["a", "b,c", "a"]
    assert frame.to_numpy().tolist() == [[1, 2, 3]]


def test_columns_without_a_name_have_that_which_pandas_gives_them(tmp_path):
    """So rows to predict have it, too."""
    path = tmp_path / "t.csv"
    pd.DataFrame({"a": [5, 6] * 10, "y": ["u", "v"] * 10}).to_csv(path)
    assert list(csv_files.read(str(path), SILENT)) == list(pd.read_csv(path)) == ["Unnamed: 0", "a", "y"]


def test_parquet_keeps_its_columns_and_loses_its_index(tmp_path):
    """Categories, missing values and numbers arrive; the index is not a column."""
    frame = pd.DataFrame({"a": [1.5, math.nan], "b": pd.Categorical(["x", None])}, index=[7, 9])
    frame.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(parquet_files.read(str(tmp_path / "t.parquet"), SILENT), frame.reset_index(drop=True))
