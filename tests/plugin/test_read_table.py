"""Rows of a file for the gate and for what is served: numbers are numbers in the notation of any country."""

import pandas as pd
import pytest

from mlflow_sysmetrics.table_files import read_table


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        pytest.param("a;b\n1,5;x\n-2;y,z\n", {"a": [1.5, -2], "b": ["x", "y,z"]}, id="decimal commas"),
        pytest.param("a;b\n1.702;0,5\n2.811.000;1\n", {"a": [1702, 2811000], "b": [0.5, 1]}, id="and thousands"),
        pytest.param("a\tb\n1.702\t1\n18.345\t2\n", {"a": [1.702, 18.345], "b": [1, 2]}, id="decimal points"),
        pytest.param('a,b\n1.702,"1,5"\n18.345,2\n', {"a": [1.702, 18.345], "b": ["1,5", "2"]}, id="commas separate"),
        pytest.param("zip;a\n01067;1,5\n10115;2\n", {"zip": ["01067", "10115"], "a": [1.5, 2]}, id="codes"),
    ],
)
def test_numbers_of_a_file_are_numbers(tmp_path, text, columns):
    (tmp_path / "t.csv").write_text(text)
    assert read_table(str(tmp_path / "t.csv")).to_dict("list") == columns


def test_parquet_is_read_as_it_is(tmp_path):
    frame = pd.DataFrame({"a": [1.5, None], "b": ["1,5", "2"]})
    frame.to_parquet(tmp_path / "t.pq")
    pd.testing.assert_frame_equal(read_table(str(tmp_path / "t.pq")), frame)
