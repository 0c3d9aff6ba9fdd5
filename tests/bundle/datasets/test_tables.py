"""Tables with missing values and categories: their arrays, their digest, and what can be told of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from entrypoints.datasets.cleaning import canonical
from entrypoints.datasets.tables import Table, categorical
from entrypoints.errors import UserError


def _table(frame: pd.DataFrame, task: Any = "classification") -> Table:
    """A table as cleaning makes it, but for the target."""
    target = str(frame.columns[-1])
    features = canonical(frame.drop(columns=target))
    return Table("made_up", features.assign(**{target: frame[target].to_numpy()}), target, task, "file", None, "none")


def _mixed() -> pd.DataFrame:
    """A number and a category, each with a missing value, and labels."""
    return pd.DataFrame({"size": [1.5, np.nan, 3.0, 4.0], "kind": ["b", "a", None, "b"], "label": ["5", "7", "5", "7"]})


def test_features_with_categories_are_places_and_nan() -> None:
    """X is float64: numbers as they are, a category's place, NaN for what is missing."""
    X = _table(_mixed()).X
    assert (X.dtype, X.flags.c_contiguous) == (np.float64, True)
    np.testing.assert_array_equal(X, [[1.5, 1], [np.nan, 0], [3, np.nan], [4, 1]])


def test_features_of_bytes_stay_bytes() -> None:
    """A table of bytes alone takes a byte per value, in an array of its own."""
    table = _table(pd.DataFrame({"a": np.array([0, 255], np.uint8), "b": np.array([1, 2], np.uint8), "y": ["1", "2"]}))
    X = table.X
    assert (X.dtype, X.flags.c_contiguous, X.tolist()) == (np.uint8, True, [[0, 1], [255, 2]])
    X += 1
    assert table.X.tolist() == [[0, 1], [255, 2]]


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param({"kind": pd.array(["b", "a", None, "b"], dtype="string")}, id="nullable text"),
        pytest.param({"kind": pd.Categorical(["b", "a", None, "b"], ["never", "b", "a"], ordered=True)}, id="ordered"),
        pytest.param({"kind": np.array(["b", "a", None, "b"], dtype=object)}, id="objects"),
        pytest.param({"size": pd.array([1.5, None, 3, 4], dtype="Float64")}, id="nullable numbers"),
        pytest.param({"size": np.array([1.5, None, 3, 4], dtype=object)}, id="numbers as objects"),
        pytest.param({"size": [1.5, -np.nan, 3, 4]}, id="negative NaN"),
    ],
)
def test_digest_ignores_how_values_are_stored(stored: dict[str, Any]) -> None:
    """The same content under other dtypes has the same digest, places and categories, which are sorted and occur."""
    other = _table(_mixed().assign(**stored))
    assert other.digest == _table(_mixed()).digest == _table(_mixed().set_axis([7, 8, 9, 9])).digest
    assert other.categories == {"kind": ("a", "b")}
    np.testing.assert_array_equal(other.X, _table(_mixed()).X)


def test_digest_ignores_the_sign_of_zero() -> None:
    """A zero that became a byte has lost its sign."""
    frame = pd.DataFrame({"a": [0.0, 1.0], "y": ["1", "2"]})
    assert _table(frame.assign(a=[-0.0, 1.0])).digest == _table(frame.astype({"a": "uint8"})).digest


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"size": [1.5, 0.0, 3.0, 4.0]}, id="missing number"),
        pytest.param({"kind": ["b", "a", "a", "b"]}, id="missing category"),
        pytest.param({"kind": ["a", "b", None, "a"]}, id="places of the categories"),
        pytest.param({"kind": ["c", "a", None, "c"]}, id="name of a category"),
        pytest.param({"kind": [1.0, 0.0, np.nan, 1.0]}, id="numbers for categories"),
        pytest.param({"size": [np.nextafter(1.5, 2), np.nan, 3.0, 4.0]}, id="last bit of a cell"),
        pytest.param({"label": ["5", "7", "5", "8"]}, id="label"),
    ],
)
def test_digest_changes_with_the_content(change: dict[str, Any]) -> None:
    """What is missing, and what a category is called, is content."""
    assert _table(_mixed().assign(**change)).digest != _table(_mixed()).digest


def test_digest_changes_with_names_and_order() -> None:
    """Of columns and of rows, and with the number of rows; a numeric target counts, too."""
    frame = _mixed()
    others = [frame.rename(columns={"size": "length"}), frame.rename(columns={"label": "class"}), frame.iloc[:3]]
    others += [frame.iloc[[1, 0, 2, 3]], frame[["kind", "size", "label"]]]
    assert len({_table(each).digest for each in [frame, *others]}) == 6
    targets = ([0.5, 1.5], [0.5, np.nextafter(1.5, 2)])
    assert len({_table(pd.DataFrame({"a": [1, 2], "y": y}), "regression").digest for y in targets}) == 2


def test_table_whose_target_is_not_last_is_refused() -> None:
    """A target among the features would be trained on."""
    with pytest.raises(ValueError, match="the target size must be the last column, of size, kind, label"):
        Table("made_up", _mixed(), "size", "regression", "file", None, "none")


def test_duplicate_rows_are_those_equal_to_an_earlier_one() -> None:
    """Missing values are equal to each other, and the target counts."""
    frame = pd.concat([_mixed(), _mixed().iloc[[1, 2, 2]]], ignore_index=True)
    assert _table(_mixed()).duplicate_rows == 0
    assert _table(frame).duplicate_rows == 3
    assert _table(frame.assign(label=["5", "7", "5", "7", "5", "7", "7"])).duplicate_rows == 1


def _rows(task: str) -> Table:
    """A hundred numbered rows: a fifth of the labels are rare, or the target is the number itself."""
    numbers = np.arange(100.0)
    target = np.where(numbers % 5 == 0, "rare", "usual") if task == "classification" else numbers
    return _table(pd.DataFrame({"number": numbers, "target": target}), task)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_sample_has_so_many_rows_of_the_table_in_its_order(task: str) -> None:
    """Each row at most once, from all over the table, numbered from 0."""
    table = _rows(task)
    sample = table.sample(40, seed=1)
    numbers = sample.frame["number"].tolist()
    assert (len(numbers), len(set(numbers))) == (40, 40)
    assert numbers == sorted(numbers)
    assert np.ptp(numbers) > 80
    assert sample.frame.index.tolist() == list(range(40))
    kept = table.frame.iloc[[int(number) for number in numbers]].reset_index(drop=True)
    pd.testing.assert_frame_equal(sample.frame, kept)
    assert (sample.name, sample.target, sample.task) == (table.name, table.target, table.task)
    assert sample.digest != table.digest


def test_sample_keeps_the_share_of_each_class() -> None:
    """It is that of the table."""
    assert Counter(_rows("classification").sample(40, seed=1).y.tolist()) == {"rare": 8, "usual": 32}


def test_sample_that_would_lose_a_class_is_refused_in_one_sentence() -> None:
    """No model of it could name that class."""
    assert _rows("classification").sample(3, seed=1).classes == ("rare", "usual")
    with pytest.raises(UserError) as raised:
        _rows("classification").sample(2, seed=1)
    assert raised.value.message == (
        "max_rows=2: class rare has only 20 of the 100 rows, and none would be among 2; raise max_rows, or merge or "
        "drop the class"
    )


def test_sample_has_only_categories_that_occur() -> None:
    """A rare one may be gone."""
    frame = pd.DataFrame({"kind": ["rare", *(["a", "b"] * 50)], "y": np.arange(101.0)})
    assert _table(frame, "regression").sample(10, seed=0).categories == {"kind": ("a", "b")}


def test_sample_is_fixed_by_the_seed() -> None:
    """Studies of one seed see the same rows."""
    first, again, other = (_rows("regression").sample(40, seed=seed).digest for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("rows", [None, 100, 101], ids=["no limit", "all", "more than all"])
def test_sample_of_all_rows_is_the_table_itself(rows: int | None) -> None:
    """No copy is made, and what was prepared of the table is found again."""
    table = _rows("classification")
    assert table.sample(rows, seed=1) is table


@pytest.mark.parametrize(
    ("values", "categories"),
    [
        pytest.param([True, False], ["False", "True"], id="booleans"),
        pytest.param(["TRUE", "false"], ["False", "True"], id="words for booleans"),
        pytest.param([10, 9], ["10", "9"], id="integers"),
        pytest.param([10.0, 9.0], ["10", "9"], id="whole floats"),
        pytest.param([0.5, 10.0], ["0.5", "10"], id="floats"),
        pytest.param(["b", "a"], ["a", "b"], id="text"),
    ],
)
def test_category_is_spelt_the_same_in_all_formats(values: list[Any], categories: list[str]) -> None:
    """A category has one text, and its places and missing values survive."""
    found = categorical(pd.Series([*values, None, values[0]], dtype="object"))
    assert list(found.categories) == categories
    first, second = (categories.index(text) for text in (found[0], found[1]))
    assert found.codes.tolist() == [first, second, -1, first]
