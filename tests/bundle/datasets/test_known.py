"""Named tables: what they hold, how that is pinned, and what happens to wrong names and damaged files."""

import csv
import gzip
import hashlib
import io
import json
import re
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from entrypoints.datasets.known import DATA, load
from entrypoints.errors import UserError

BUNDLED = ("diabetes", "red_wine")
DIABETES = ("preg", "plas", "pres", "skin", "insu", "mass", "pedi", "age")
RED_WINE = (
    "fixed_acidity",
    "volatile_acidity",
    "citric_acid",
    "residual_sugar",
    "chlorides",
    "free_sulfur_dioxide",
    "total_sulfur_dioxide",
    "density",
    "pH",
    "sulphates",
    "alcohol",
)


def _records(name: str) -> list[list[str]]:
    with gzip.open(DATA / f"{name}.csv.gz", "rt", newline="") as text:
        return list(csv.reader(text))


@pytest.mark.parametrize(
    ("name", "features", "target", "first_row", "counts", "classes", "openml_id"),
    [
        pytest.param(
            *("diabetes", DIABETES, "class", (6, 148, 72, 35, 0, 33.6, 0.627, 50)),
            *({"tested_negative": 500, "tested_positive": 268}, ("tested_negative", "tested_positive"), 37),
            id="diabetes",
        ),
        pytest.param(
            *("red_wine", RED_WINE, "quality", (7.4, 0.7, 0, 1.9, 0.076, 11, 34, 0.9978, 3.51, 0.56, 9.4)),
            *({3: 10, 4: 53, 5: 681, 6: 638, 7: 199, 8: 18}, (), 44972),
            id="red_wine",
        ),
    ],
)
def test_bundled_table_is_the_published_one(
    name: str,
    features: tuple[str, ...],
    target: str,
    first_row: tuple[float, ...],
    counts: dict[Any, int],
    classes: tuple[str, ...],
    openml_id: int,
) -> None:
    """Columns, first row, the counts of the target, the classes, which are sorted, and the origin."""
    table = load(name, echo=pytest.fail)
    assert (table.name, table.source, table.openml_id) == (name, "bundled", openml_id)
    assert (table.target, table.feature_names, table.classes) == (target, features, classes)
    assert (table.X.dtype, tuple(table.X[0])) == (np.float64, first_row)
    assert Counter(table.y.tolist()) == counts
    assert table.task == ("classification" if classes else "regression")


@pytest.mark.parametrize("name", BUNDLED)
def test_digest_can_be_computed_without_pandas(name: str) -> None:
    """The digest is the documented hash of the file's values, so no reader or version of one has a part in it."""
    header, *rows = _records(name)
    content = hashlib.sha256(json.dumps([len(rows), *header]).encode())
    *features, target = zip(*rows, strict=True)
    for column in features:
        content.update(struct.pack(f"<{len(rows)}d", *map(float, column)))
    numeric = name == "red_wine"
    content.update(struct.pack(f"<{len(rows)}d", *map(float, target)) if numeric else json.dumps(target).encode())
    assert load(name).digest == content.hexdigest()


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        pytest.param("red_wnie", "use red_wine, the closest name", id="typing error"),
        pytest.param("RED_WINE", "use red_wine, the closest name", id="capitals"),
        pytest.param("mnist", "use mnist_784, the closest name", id="part of a name"),
        pytest.param("zzz", "use one of these", id="nothing alike"),
        pytest.param("", "use one of these", id="nothing"),
    ],
)
def test_unknown_name_is_answered_with_the_known_and_the_closest(name: str, advice: str) -> None:
    """The user reads what was given, what is allowed and what to do."""
    with pytest.raises(UserError) as error:
        load(name)
    assert str(error.value) == (
        f"dataset={name}: one of diabetes, red_wine, mnist_784, wave_energy, openml:<id> or the path of a CSV or "
        f"Parquet file is allowed; {advice}"
    )


def _with_another_cell(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"7.4,0.7,", b"7.4,0.71,")))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_with_another_cell, id="another cell"),
        pytest.param(Path.unlink, id="gone"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:5000]), id="cut short"),
        pytest.param(lambda path: path.write_bytes(b"preg,plas\n1,2\n"), id="not packed"),
    ],
)
def test_bundled_file_that_is_not_the_table_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """However it came to harm, that is our fault: RuntimeError with the file, and what to do."""
    path = tmp_path / "red_wine.csv.gz"
    shutil.copy(DATA / path.name, path)
    assert load("red_wine", folder=tmp_path).source == "bundled"
    damage(path)
    why = f"^{re.escape(str(path))} is not the red_wine table: .*; restore it from the repository$"
    with pytest.raises(RuntimeError, match=why):
        load("red_wine", folder=tmp_path)


@pytest.mark.parametrize("name", BUNDLED)
def test_provenance_page_tells_the_files_checksums(name: str) -> None:
    """The README beside the data states each file's sha256, its text's, and the digest."""
    packed = (DATA / f"{name}.csv.gz").read_bytes()
    page = (DATA / "README.md").read_text(encoding="utf-8")
    section = page.partition(f"## {name}.csv.gz")[2].partition("\n## ")[0]
    for content in (packed, gzip.decompress(packed)):
        assert hashlib.sha256(content).hexdigest() in section
    assert load(name).digest in section


def test_bundled_table_can_have_another_target() -> None:
    """The other columns, the former target among them, become features; the task follows the new target."""
    table = load("diabetes", target="age")
    assert (table.target, table.task, table.source) == ("age", "regression", "bundled")
    assert table.feature_names == (*DIABETES[:-1], "class")
    assert table.categories == {"class": ("tested_negative", "tested_positive")}
    assert load("diabetes", target="class").digest == load("diabetes").digest


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


def _houses(folder: Path, kind: str) -> str:
    path = folder / f"houses.{kind}"
    if kind == "csv":
        path.write_text(HOUSES)
    else:
        pd.read_csv(io.StringIO(HOUSES)).to_parquet(path)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_file_with_missing_values_and_categories_is_a_table(tmp_path: Path, kind: str) -> None:
    """A user's own table is read with its kinds of columns, and says where it came from and what was left out."""
    lines: list[str] = []
    name = _houses(tmp_path, kind)
    table = load(name, target="kind", echo=lines.append)
    assert (table.name, table.source, table.openml_id, table.licence) == ("houses", "file", None, "not stated")
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


def test_control_characters_of_a_file_never_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column's name could clear the screen, or look like a line of the program's own."""
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"a\x1b[2J": range(12), "b\nError: all is lost": 1, "y": [0, 1] * 6})
    frame.to_parquet(path)
    assert load(str(path), target="y").feature_names == ("a\x1b[2J",)
    said = f"dataset={path}: left out as features: b\\nError: all is lost (constant)\n"
    assert capsys.readouterr().out.startswith(said)
    with pytest.raises(UserError) as raised:
        load(str(path), target="z")
    assert r"a\x1b[2J, b\nError: all is lost, y" in raised.value.message
    assert raised.value.message.isprintable()


def _rows(header: str, *cells: str, rows: int = 12) -> str:
    return "\n".join([header, *(",".join(cells).format(row) for row in range(rows))]) + "\n"


GOOD = _rows("a,b,label", "{0}", "1.5", "x{0}")
NEED_TARGET = "the target is not given; name with target= one of the columns a, b, label"


def refused(
    content: str | bytes | None, message: str, name: str, *, target: str | None = "b", file: str = "t.csv"
) -> Any:
    """A case: of a file with this content, or of none, a study of the target says this."""
    return pytest.param(file, content, target, message, id=name)


@pytest.mark.parametrize(
    ("file", "content", "target", "message"),
    [
        refused(None, "dataset={path}: no such file ({path}); give the path of a CSV or Parquet file", "no such file"),
        refused(
            b"PK",
            "dataset={path}: a file named .csv, .csv.gz, .parquet, .pq is allowed; convert it",
            "another format",
            file="t.xlsx",
        ),
        refused("", "dataset={path}: not readable as CSV (the first line holds no column names); fix", "empty file"),
        refused(
            "\n\n", "dataset={path}: not readable as CSV (the first line holds no column names); fix", "blank lines"
        ),
        refused(b"\xff\xfe\x00", "dataset={path}: this is not text in UTF-8; save it as UTF-8", "no text"),
        refused("a,b\n1,5 €\n2,3 €\n".encode("cp1252"), "dataset={path}: this is not text in UTF-8; ", "cp1252"),
        refused("a,b\n1,2\n1,2,3\n", "dataset={path}: not readable as CSV (", "row longer than header"),
        refused(b"a,b\n1,2\n", "dataset={path}: not readable as CSV (Not a gzipped file", "no gzip", file="t.csv.gz"),
        refused(b"a,b\n1,2\n", "dataset={path}: not readable as Parquet (", "no Parquet", file="t.parquet"),
        refused(GOOD, f"dataset={{path}}: {NEED_TARGET}", "no target", target=None),
        refused(
            ",".join(f"c{number}" for number in range(22)) + "\n",
            f"dataset={{path}}: {NEED_TARGET[:-11]}{', '.join(f'c{number}' for number in range(20))} and 2 more",
            "many columns",
            target=None,
        ),
        refused(
            GOOD,
            "target=lable: one of the columns of dataset={path} is allowed: a, b, label; use label, the closest name",
            "misspelt target",
            target="lable",
        ),
        refused(
            _rows("a,a,b", "1", "2", "3"), "dataset={path}: the column name a occurs more than once; ", "name twice"
        ),
        refused(
            _rows("a,,b", "1", "2", "3"),
            "dataset={path}: column 2 has no name; give each column a",
            "column without a name",
        ),
        refused(
            "a,b\n", "dataset={path}: 0 rows with a value of the target b found, and at least 10 are", "header only"
        ),
        refused(
            _rows("a,b", "{0}", "x{0}", rows=9), "dataset={path}: 9 rows with a value of the target b ", "few rows"
        ),
        refused(
            _rows("a,b", "{0}", "x"), "target=b: all 12 rows of dataset={path} hold x; choose a column", "one class"
        ),
        refused(
            _rows("a,b", "x{0}", "y{0}", rows=1001),
            "target=b: 1001 classes found in dataset={path}, ",
            "too many classes",
        ),
        refused(
            _rows("a,b", "inf", "{0}"),
            "dataset={path}: infinite values found in the column a; replace",
            "infinite feature",
        ),
        refused(
            _rows("a,b", "1", "{0}"),
            "dataset={path}: no feature is left besides the target b, since ",
            "constant feature only",
        ),
        refused(
            _rows("a,b", "{0}", "-inf"), "dataset={path}: infinite values found in the column b; ", "infinite target"
        ),
        refused(
            _rows("b", "{0}"), "dataset={path}: no feature is left besides the target b, since columns", "target only"
        ),
    ],
)
def test_wrong_file_or_target_is_answered_in_one_sentence(
    tmp_path: Path, file: str, content: str | bytes | None, target: str | None, message: str
) -> None:
    """What was given, what is wrong or allowed, what to do; one line, no traceback."""
    path = tmp_path / file
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as error:
        load(str(path), target=target)
    said = str(error.value)
    assert said.startswith(message.format(path=path))
    assert "\n" not in said
    assert re.search(r"; (give|use|choose|convert|fix|name|replace|add|save)\b", said)
    assert not said.endswith(".")
