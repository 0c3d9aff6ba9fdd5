"""Tables with missing values and categories: their arrays, their digest, their samples."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from entrypoints.datasets.cleaning import clean
from entrypoints.datasets.tables import Table, Task
from entrypoints.errors import UserError


def _table(frame: pd.DataFrame, task: Task | None = None) -> Table:
    frame.attrs = {"name": "made_up"}
    return clean(frame, str(frame.columns[-1]), what="made_up", echo=lambda _: None, keep_all=True, task=task)


def _mixed() -> pd.DataFrame:
    """A number and a category, each with a missing value, and labels; the first four rows three times."""
    frame = pd.DataFrame(
        {"size": [1.5, np.nan, 3.0, 4.0], "kind": ["b", "a", None, "b"], "label": ["5", "7", "5", "7"]}
    )
    return pd.concat([frame] * 3, ignore_index=True)


@pytest.mark.parametrize("name", ["kind", "self"])
def test_features_with_categories_are_places_and_nan(name: str) -> None:
    """X is float64: numbers as they are, a category's place, NaN for what is missing."""
    X = _table(_mixed().rename(columns={"kind": name})).X
    assert (X.dtype, X.flags.c_contiguous) == (np.float64, True)
    np.testing.assert_array_equal(X[:4], [[1.5, 1], [np.nan, 0], [3, np.nan], [4, 1]])


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param({"kind": pd.array(["b", "a", None, "b"] * 3, dtype="string")}, id="nullable text"),
        pytest.param({"kind": pd.Categorical(["b", "a", None, "b"] * 3, ["never", "b", "a"])}, id="category"),
        pytest.param({"kind": np.array(["b", "a", None, "b"] * 3, dtype=object)}, id="objects"),
        pytest.param({"size": pd.array([1.5, None, 3, 4] * 3, dtype="Float64")}, id="nullable numbers"),
        pytest.param({"size": np.array([1.5, None, 3, 4] * 3, dtype=object)}, id="numbers as objects"),
        pytest.param({"size": [1.5, -np.nan, 3, 4] * 3}, id="negative NaN"),
    ],
)
def test_digest_ignores_how_values_are_stored(stored: dict[str, Any]) -> None:
    """The same content under other dtypes has the same digest."""
    assert (
        _table(_mixed().assign(**stored)).digest
        == _table(_mixed()).digest
        == _table(_mixed().sample(frac=1).sort_index()).digest
    )


def test_digest_ignores_the_sign_of_zero() -> None:
    """A zero that became a byte has lost its sign."""
    frame = pd.DataFrame({"a": [0.0, 1.0] * 6, "y": ["1", "2"] * 6})
    assert _table(frame.assign(a=[-0.0, 1.0] * 6)).digest == _table(frame.astype({"a": "uint8"})).digest


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda frame: frame.assign(size=frame["size"].fillna(0.0)), id="missing number"),
        pytest.param(lambda frame: frame.fillna({"kind": "a"}), id="missing category"),
        pytest.param(lambda frame: frame.replace({"kind": {"a": "b", "b": "a"}}), id="places of the categories"),
        pytest.param(lambda frame: frame.replace({"kind": {"b": "c"}}), id="name of a category"),
        pytest.param(lambda frame: frame.assign(kind=[1.0, 0.0, np.nan, 1.0] * 3), id="numbers for categories"),
        pytest.param(lambda frame: frame.replace({"size": {1.5: np.nextafter(1.5, 2)}}), id="last bit of a cell"),
        pytest.param(lambda frame: frame.replace({"label": {"7": "8"}}), id="label"),
        pytest.param(lambda frame: frame.rename(columns={"size": "length"}), id="name of a feature"),
        pytest.param(lambda frame: frame.rename(columns={"label": "class"}), id="name of the target"),
        pytest.param(lambda frame: frame.iloc[:-1], id="number of rows"),
        pytest.param(lambda frame: frame.iloc[[1, 0, *range(2, 12)]], id="order of rows"),
        pytest.param(lambda frame: frame[["kind", "size", "label"]], id="order of columns"),
    ],
)
def test_digest_changes_with_the_content(change: Any) -> None:
    """What is missing, and what a category is called, is content."""
    assert _table(change(_mixed())).digest != _table(_mixed()).digest


def test_duplicate_rows_are_those_equal_to_an_earlier_one() -> None:
    """Missing values are equal to each other, and the target counts."""
    assert _table(_mixed()).duplicate_rows == 8
    assert _table(_mixed().assign(label=["5", "7", "5", "7"] * 2 + ["5", "7", "7", "7"])).duplicate_rows == 7


def _rows(task: Task) -> Table:
    """A hundred numbered rows: a fifth of the labels are rare, or the target is the number itself."""
    numbers = np.arange(100.0)
    target = np.where(numbers % 5 == 0, "rare", "usual") if task == "classification" else numbers
    return _table(pd.DataFrame({"number": numbers + 0.5, "target": target}), task)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_sample_has_so_many_rows_of_the_table_in_its_order(task: Task) -> None:
    """Each row at most once, from all over the table, fixed by the seed, and each class with its share."""
    table = _rows(task)
    sample = table.sample(40, seed=1)
    places = (sample.frame["number"] - 0.5).astype(int).tolist()
    assert (len(places), places) == (40, sorted(set(places)))
    assert np.ptp(places) > 80
    pd.testing.assert_frame_equal(sample.frame, table.frame.iloc[places].reset_index(drop=True))
    if task == "classification":
        assert Counter(sample.y.tolist()) == {"rare": 8, "usual": 32}
    assert sample.digest == table.sample(40, seed=1).digest
    assert table.sample(101, seed=1) is table
    assert len({sample.digest, table.sample(40, seed=2).digest, table.digest}) == 3


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
    assert _table(frame).sample(10, seed=0).categories == {"kind": ("a", "b")}
