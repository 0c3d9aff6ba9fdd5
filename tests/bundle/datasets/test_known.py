"""Named tables: what they hold, how that is pinned, and what happens to wrong names and damaged files."""

import csv
import gzip
import hashlib
import io
import json
import re
import shutil
import struct

import pandas as pd
import pytest
from cases import cases

from entrypoints.datasets.known import DATA, load
from entrypoints.errors import UserError

BUNDLED = ("diabetes", "red_wine")


def _records(name):
    with gzip.open(DATA / f"{name}.csv.gz", "rt", newline="") as text:
        return list(csv.reader(text))


@pytest.mark.parametrize("name", BUNDLED)
def test_digest_can_be_computed_without_pandas(name):
    """The digest is the documented hash of the file's values, so no reader or version of one has a part in it.

    The README beside the data states it, the file's sha256, and that of its text.
    """
    header, *rows = _records(name)
    content = hashlib.sha256(json.dumps([len(rows), *header]).encode())
    *features, target = zip(*rows, strict=True)
    for column in features:
        content.update(struct.pack(f"<{len(rows)}d", *map(float, column)))
    numeric = name == "red_wine"
    content.update(struct.pack(f"<{len(rows)}d", *map(float, target)) if numeric else json.dumps(target).encode())
    packed, page = (DATA / f"{name}.csv.gz").read_bytes(), (DATA / "README.md").read_text(encoding="utf-8")
    section = page.partition(f"## {name}.csv.gz")[2].partition("\n## ")[0]
    for each in (content, hashlib.sha256(packed), hashlib.sha256(gzip.decompress(packed))):
        assert each.hexdigest() in section
    assert load(name).digest == content.hexdigest()


@cases(
    "name, advice",
    {
        "capitals": ("RED_WINE", "use red_wine, the closest name"),
        "part of a name": ("mnist", "use mnist_784, the closest name"),
        "nothing alike": ("zzz", "use one of these"),
    },
)
def test_unknown_name_is_answered_with_the_known_and_the_closest(name, advice):
    """The user reads what was given, what is allowed and what to do."""
    with pytest.raises(UserError) as error:
        load(name)
    assert str(error.value) == (
        f"dataset={name}: one of diabetes, red_wine, mnist_784, wave_energy, openml:<id>, the path of a CSV or "
        f"Parquet file (.csv, .csv.gz, .parquet, .pq), or of a folder of Parquet files is allowed; {advice}"
    )


def _with_another_cell(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"7.4,0.7,", b"7.4,0.71,")))


@cases(
    "damage",
    {
        "another cell": _with_another_cell,
        "cut short": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    },
)
def test_bundled_file_that_is_not_the_table_is_refused_by_name(tmp_path, damage):
    """However it came to harm, that is our fault: RuntimeError with the file, and what to do."""
    path = tmp_path / "red_wine.csv.gz"
    shutil.copy(DATA / path.name, path)
    load("red_wine", folder=tmp_path)
    damage(path)
    why = f"^{re.escape(str(path))} is not the red_wine table: .*; restore it from the repository$"
    with pytest.raises(RuntimeError, match=why):
        load("red_wine", folder=tmp_path)


def test_bundled_table_can_have_another_target():
    """The other columns, the former target among them, become features; the task follows the new target."""
    table = load("diabetes", target="age")
    assert (table.target, table.task) == ("age", "regression")
    assert table.feature_names == ("preg", "plas", "pres", "skin", "insu", "mass", "pedi", "class")
    assert table.categories == {"class": ("tested_negative", "tested_positive")}
    assert load("diabetes", target="class").digest == load("diabetes").digest


def test_bundled_table_without_some_columns_is_otherwise_the_same():
    """Few whole numbers as the target are still a quantity."""
    table = load("red_wine", drop="pH, alcohol")
    assert (table.task, len(table.feature_names)) == ("regression", 9)
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


def _houses(folder, kind):
    path = folder / f"houses.{kind}"
    if kind == "csv":
        path.write_text(HOUSES)
    else:
        pd.read_csv(io.StringIO(HOUSES)).to_parquet(path)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_file_with_missing_values_and_categories_is_a_table(tmp_path, kind):
    """A user's own table is read with its kinds of columns, and says what was left out."""
    lines = []
    name = _houses(tmp_path, kind)
    table = load(name, target="kind", echo=lines.append)
    assert (table.name, table.openml_id) == ("houses", None)
    assert (table.task, table.classes) == ("classification", ("flat", "house"))
    assert table.feature_names == ("rooms", "area", "district", "garden", "price")
    assert table.categories == {"district": ("north", "south", "west"), "garden": ("False", "True")}
    assert table.frame.isna().sum().sum() == 3
    assert table.duplicate_rows == 1
    assert table.digest == load(_houses(tmp_path, "csv"), target="kind", echo=lambda _: None).digest
    assert lines == [
        f"dataset={name}: 1 rows without a value of the target kind are left out",
        f"dataset={name}: read as numbers: rooms, area, price; categories: district (3), garden (2)",
    ]


def test_control_characters_of_a_file_never_reach_the_terminal(tmp_path, capsys):
    """A column's name could clear the screen, or look like a line of the program's own."""
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"a\x1b[2J": [*range(6), *range(6)], "b\nError: all is lost": 1, "y": [0, 1] * 6})
    frame.to_parquet(path)
    assert load(str(path), target="y").feature_names == ("a\x1b[2J",)
    assert capsys.readouterr().out.endswith("; left out: b\\nError: all is lost (constant)\n")
    with pytest.raises(UserError) as raised:
        load(str(path), target="z")
    assert r"a\x1b[2J, b\nError: all is lost, y" in raised.value.message
    assert raised.value.message.isprintable()


def _rows(header, *cells, rows=12):
    return "\n".join([header, *(",".join(cells).format(row) for row in range(rows))]) + "\n"


GOOD = _rows("a,b,label", "{0}", "1.5", "x{0}")
WIDE = ",".join(f"c{number}" for number in range(22)) + "\n"
NEED_TARGET = "the target is not given; name with target= one of the columns "
ONE_OF = "one of the columns of dataset={path} is allowed: "
NOT_CSV = "not readable as CSV ("
NO_FEATURE = "no feature is left besides the target b, since columns"


def refused(name, content, says, target="b", *, file="t.csv", of=""):
    """A case: of a file with this content, or of none, a study of the target says this, by default of the dataset."""
    return pytest.param(file, content, target, f"{of or 'dataset={path}'}: {says}", id=name)


@pytest.mark.parametrize(
    ("file", "content", "target", "message"),
    [
        refused("no such file", None, "no such file ({path}); give the path of a CSV or Parquet file"),
        refused("no such folder", None, "no such file ({path}); give the path of a CSV or Parquet file", file="orders"),
        refused("other", b"PK", "one of diabetes, red_wine, mnist_784, wave_energy, openml:<id>, the ", file="t.xlsx"),
        refused("empty file", "", f"{NOT_CSV}the first line holds no column names); fix"),
        refused("other encoding", b"a,b\n1,\x81\n", "this is text neither in UTF-8 nor in cp1252; save "),
        refused("UTF-16", "a,b\n1,é\n".encode("utf-16"), "this is text neither in UTF-8 nor in cp1252; save "),
        refused("row longer than header", "a,b\n1,2\n1,2,3\n", NOT_CSV),
        refused("no gzip", b"a,b\n1,2\n", f"{NOT_CSV}Not a gzipped file", file="t.csv.gz"),
        refused("no Parquet", b"a,b\n1,2\n", "not readable as Parquet (", file="t.parquet"),
        refused("no target", GOOD, f"{NEED_TARGET}a, b, label", None),
        refused("many columns", WIDE, f"{NEED_TARGET}{WIDE[:69].replace(',', ', ')} and 2 more", None),
        refused(
            "misspelt target", GOOD, f"{ONE_OF}a, b, label; use label, the closest name", "lable", of="target=lable"
        ),
        refused("name twice", _rows("a,a,b", "1", "2", "3"), "the column name a occurs more than once; "),
        refused("few rows", _rows("a,b", "{0}", "x{0}", rows=9), "9 rows with a value of the target b "),
        refused("one class", _rows("a,b", "{0}", "x"), "all 12 rows of dataset={path} hold x; choose", of="target=b"),
        refused(
            "too many classes", _rows("a,b", "x{0}", "y{0}", rows=1001), "1001 classes found in dataset=", of="target=b"
        ),
        refused(
            "infinite feature", _rows("a,b", "{0}", "{0}") + "inf,1\n", "infinite values found in the column a; replace"
        ),
        refused("constant feature only", _rows("a,b", "1", "{0}"), NO_FEATURE),
    ],
)
def test_wrong_file_or_target_is_answered_in_one_sentence(tmp_path, file, content, target, message):
    """What was given, what is wrong or allowed, what to do; one line, no traceback."""
    path = tmp_path / file
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as error:
        load(str(path), target=target)
    assert error.value.message.startswith(message.format(path=path))
    assert re.search(r"; (give|use|choose|convert|fix|name|replace|add|save)\b", error.value.message)
