"""Parquet files and folders of them: random rows that are drawn while they stream, and what is too large."""

import numpy as np
import pandas as pd
import pytest
from cases import cases

from entrypoints.compute import memory
from entrypoints.datasets import known, parquet_files
from entrypoints.datasets.sources import Asked
from entrypoints.errors import UserError

ROWS = 300


@pytest.fixture
def file(tmp_path):
    """Of all kinds of columns, in row groups of 37; every tenth row has no target, a fifth of the others are rare."""
    path = tmp_path / "t.parquet"
    number = pd.Series(range(ROWS))
    frame = pd.DataFrame({"number": number})
    frame["half"] = (number / 2).where(number % 7 > 0)
    frame["some"] = number.mask(number % 11 == 0).astype("Int64")
    frame["kind"] = pd.Categorical(np.where(number % 3, "a", "b"))
    frame["text"] = (number % 5).map("text {}".format).mask(number % 13 == 0)
    frame["y"] = pd.Series(np.where(number % 5, "usual", "rare")).mask(number % 10 == 9)
    frame.to_parquet(path, row_group_size=37)
    return path


def _drawn(path, rows, seed, target="y"):
    return parquet_files.read(Asked(str(path), target, max_rows=rows, seed=seed), pytest.fail)


def test_rows_are_drawn_as_they_are_in_their_order_with_each_class_in_its_share(file):
    """Rows without a target are not among them; equal seeds draw equal rows."""
    whole = pd.read_parquet(file)
    drawn = _drawn(file, 90, seed=1)
    positions = drawn["number"].tolist()
    assert positions == sorted(set(positions))
    pd.testing.assert_frame_equal(drawn, whole.iloc[positions].reset_index(drop=True))
    assert drawn["y"].value_counts().to_dict() == {"usual": 70, "rare": 20}  # of 210 and 60
    pd.testing.assert_frame_equal(drawn, _drawn(file, 90, seed=1))
    assert not drawn.equals(_drawn(file, 90, seed=2))
    assert len(_drawn(file, ROWS, seed=1)) == ROWS


@cases("kind", ["parquet", "csv"])
def test_sample_decides_how_columns_are_read(file, kind):
    """A category that is not drawn is none.

    A rare value of a target that is a number, though written with a comma, may be lost.
    """
    whole = pd.read_parquet(file)
    whole["price"] = whole["number"].map("{},5".format)
    whole.to_parquet(file)  # in one batch, as a CSV file is
    name = str(file.with_name(f"u.{kind}"))
    whole.to_csv(name, index=False) if kind == "csv" else whole.to_parquet(name)
    table = known.load(name, target="y", max_rows=90, seed=1)
    drawn = _drawn(file, 90, seed=1)
    assert table.y.tolist() == drawn["y"].tolist()
    texts = set(drawn["text"].dropna())
    assert table.categories["text"] == tuple(sorted(texts))
    few = known.load(name, target="price", max_rows=20)
    assert few.task == "regression"
    assert len(few.frame) == 20


@cases("target", ["y", "half"])
def test_each_row_is_equally_likely(file, target):
    """Of classes and of numbers: how often each is drawn varies by chance alone."""
    whole = pd.read_parquet(file)
    can_be_drawn = whole[target].notna()
    times = pd.Series(0, whole.index)
    for seed in range(40):
        drawn = _drawn(file, 41, seed, target)
        times += whole["number"].isin(drawn["number"])
    share = 41 / can_be_drawn.sum()
    assert not times[~can_be_drawn].any()
    assert times[can_be_drawn].var() < 1.4 * 40 * share * (1 - share)


def test_folder_is_read_as_one_table_whose_files_have_the_same_columns(file):
    """In the order of their names; other files beside them are left alone."""
    whole = pd.read_parquet(file)
    folder = file.with_name("folder")
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    whole[200:].to_parquet(folder / "b.parquet")
    whole[:200].to_parquet(folder / "a.parquet")
    pd.testing.assert_frame_equal(parquet_files.read(Asked(str(folder)), pytest.fail), whole)
    assert set(_drawn(folder, 200, seed=0)["number"] >= 200) == {False, True}
    whole.assign(number=0.5).to_parquet(folder / "c.parquet")
    with pytest.raises(UserError, match=r"c[.]parquet has other columns or types than a[.]parquet"):
        parquet_files.read(Asked(str(folder)), pytest.fail)


def test_missing_cells_stay_missing_where_the_file_does_not_count_them(file):
    """As in one that was written without statistics."""
    whole = pd.read_parquet(file)
    bare = file.with_name("bare.parquet")
    whole.to_parquet(bare, write_statistics=False)
    pd.testing.assert_frame_equal(parquet_files.read(Asked(str(bare)), pytest.fail), whole)


def test_table_that_would_take_too_much_memory_is_refused_before_it_is_read(file, monkeypatch):
    """With the number of rows that would fit, of which those of a Parquet file are all that is read."""
    monkeypatch.setattr(memory, "half_mb", lambda: 0.02)
    too_much = r"its 300 rows of 6 columns may take 4.3e-05 GB here, and 2e-05 are allowed; choose max_rows=138$"
    with pytest.raises(UserError, match=too_much):
        parquet_files.read(Asked(str(file)), pytest.fail)
    assert len(_drawn(file, 100, seed=0)) == 100
    for name in ("t.csv", "t.csv.gz"):
        pd.read_parquet(file).to_csv(file.with_name(name), index=False)
        with pytest.raises(UserError, match=r"its about 300 rows of 6 columns may .* write it as a Parquet file, and "):
            known.load(str(file.with_name(name)), target="y", echo=pytest.fail)
