"""Named tables: what they hold, how that is pinned, and what happens to wrong names and damaged files."""

import csv
import gzip
import hashlib
import json
import re
import struct

import pandas as pd
import pytest
from cases import cases

from entrypoints.datasets.known import DATA, load
from entrypoints.errors import UserError


@cases("name", ["diabetes", "red_wine"])
def test_digest_can_be_computed_without_pandas(name):
    """The digest is the documented hash of the file's values, so no reader or version of one has a part in it.

    The README beside the data states it, the file's sha256, and that of its text.
    """
    packed = (DATA / f"{name}.csv.gz").read_bytes()
    text = gzip.decompress(packed)
    header, *rows = csv.reader(text.decode().splitlines())
    *columns, labels = zip(*rows, strict=True)
    content = hashlib.sha256(json.dumps([len(rows), *header]).encode())
    if name == "red_wine":
        columns.append(labels)
    for column in columns:
        content.update(struct.pack(f"<{len(rows)}d", *map(float, column)))
    if name == "diabetes":
        content.update(json.dumps(labels).encode())
    page = (DATA / "README.md").read_text(encoding="utf-8")
    section = page.partition(f"## {name}.csv.gz")[2].partition("\n## ")[0]
    for digest in (content, hashlib.sha256(packed), hashlib.sha256(text)):
        assert digest.hexdigest() in section
    assert load(name).digest == content.hexdigest()


@cases(
    "damage",
    {
        "another cell": lambda packed: gzip.compress(gzip.decompress(packed).replace(b"7.4,0.7,", b"7.4,0.71,")),
        "cut short": lambda packed: packed[:5000],
    },
)
def test_bundled_file_that_is_not_the_table_is_refused_by_name(tmp_path, damage):
    """However it came to harm, that is our fault: RuntimeError with the file, and what to do."""
    path = tmp_path / "red_wine.csv.gz"
    packed = (DATA / path.name).read_bytes()
    path.write_bytes(packed)
    load("red_wine", folder=tmp_path)
    path.write_bytes(damage(packed))
    why = f"^{re.escape(str(path))} is not the red_wine table: .*; restore it from the repository$"
    with pytest.raises(RuntimeError, match=why):
        load("red_wine", folder=tmp_path)


def test_bundled_table_can_have_another_target():
    """The other columns, the former target among them, become features; the task follows the new target."""
    table = load("diabetes", target="age")
    assert table.target == "age"
    assert table.task == "regression"
    assert table.feature_names == ("preg", "plas", "pres", "skin", "insu", "mass", "pedi", "class")
    assert table.categories == {"class": ("tested_negative", "tested_positive")}
    assert load("diabetes", target="class").digest == load("diabetes").digest


def test_bundled_table_without_some_columns_is_otherwise_the_same():
    """Few whole numbers as the target are still a quantity."""
    table = load("red_wine", drop="pH, alcohol")
    assert table.task == "regression"
    assert len(table.feature_names) == 9
    pd.testing.assert_frame_equal(table.frame, load("red_wine").frame.drop(columns=["pH", "alcohol"]))


HOUSES = """rooms,area,district,garden,price,kind
3,70.5,north,true,200000,flat
4,,south,false,310000,house
2,45,,true,150000,flat
5,120,north,true,405000,house
3,66,west,false,189000,
1,30,west,,99000,flat
4,101,south,true,350000,house
3,70.5,north,true,200000,flat
2,52,north,false,155000,flat
6,160,west,true,500000,house
3,75,south,false,210000,flat
"""


def test_file_with_missing_values_and_categories_is_a_table(tmp_path):
    """A user's own table is read with its kinds of columns, in both formats, and says what was left out."""
    csv_file = tmp_path / "houses.csv"
    csv_file.write_text(HOUSES)
    parquet_file = tmp_path / "houses.parquet"
    pd.read_csv(csv_file).to_parquet(parquet_file)
    tables = []
    for path in (csv_file, parquet_file):
        lines = []
        tables.append(load(str(path), target="kind", echo=lines.append))
        assert lines == [
            f"dataset={path}: 1 rows without a value of the target kind are left out",
            f"dataset={path}: read as numbers: rooms, area, price; categories: district (3), garden (2)",
        ]
    table, other = tables
    assert table.digest == other.digest
    assert table.name == "houses"
    assert table.openml_id is None
    assert table.task == "classification"
    assert table.frame.isna().sum().sum() == 3


def test_control_characters_of_a_file_never_reach_the_terminal(tmp_path, capsys):
    """A column's name could clear the screen, or look like a line of the program's own."""
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a\x1b[2J": [*range(6)] * 2, "b\nError: all is lost": 1, "y": [0, 1] * 6}).to_parquet(path)
    assert load(str(path), target="y").feature_names == ("a\x1b[2J",)
    assert capsys.readouterr().out.endswith("; left out: b\\nError: all is lost (constant)\n")
    with pytest.raises(UserError) as raised:
        load(str(path), target="z")
    message = raised.value.message
    assert r"a\x1b[2J, b\nError: all is lost, y" in message
    assert message.isprintable()
