"""Rows of a file for the gate and for what is served: numbers are numbers in the notation of any country."""

import pandas as pd
from cases import cases, tables

from mlflow_gate.table_files import read_table


@cases("text, columns", tables(__file__, "csv_files.yaml"))
def test_numbers_of_a_file_are_numbers(tmp_path, text, columns):
    (tmp_path / "t.csv").write_text(text)
    assert read_table(str(tmp_path / "t.csv")).to_dict("list") == columns


def test_parquet_is_read_as_it_is(tmp_path):
    frame = pd.DataFrame({"a": [1.5, None], "b": ["1,5", "2"]})
    frame.to_parquet(tmp_path / "t.pq")
    pd.testing.assert_frame_equal(read_table(str(tmp_path / "t.pq")), frame)
