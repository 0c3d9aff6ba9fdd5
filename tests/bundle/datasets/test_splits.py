"""The 70/30 split, the folds, and normalisation that sees only the rows it is fitted on."""

import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from entrypoints.datasets.splits import Scaling, Split, fit_scaling, make_split
from entrypoints.errors import UserError

LABELS = np.array(["no"] * 120 + ["yes"] * 60 + ["maybe"] * 20)


def _rows(split: Split) -> list[list[int]]:
    return [rows.tolist() for rows in (split.train, split.test, *(rows for fold in split.folds for rows in fold))]


def _random(rows: int, features: int = 4) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(5, 3, (rows, features))


@pytest.mark.parametrize("stratify", [True, False])
def test_train_and_test_part_the_table_seventy_to_thirty(stratify: bool) -> None:
    """Every row is in exactly one part."""
    split = make_split(LABELS, stratify=stratify, folds=5, seed=1)
    assert (len(split.train), len(split.test)) == (140, 60)
    assert sorted([*split.train, *split.test]) == list(range(200))


@pytest.mark.parametrize("stratify", [True, False])
def test_folds_partition_the_training_part(stratify: bool) -> None:
    """Each training row is validated once, and a fold is fitted on exactly the other training rows."""
    split = make_split(LABELS, stratify=stratify, folds=7, seed=1)
    assert len(split.folds) == 7
    assert sorted(row for _, validation in split.folds for row in validation) == sorted(split.train)
    for fit, validation in split.folds:
        assert sorted([*fit, *validation]) == sorted(split.train)


def test_rows_are_int64_numbers_of_the_table() -> None:
    """Row numbers index the table directly, with one dtype on every platform."""
    split = make_split(LABELS, stratify=True, folds=5, seed=1)
    parts = [split.train, split.test, *(rows for fold in split.folds for rows in fold)]
    assert {part.dtype for part in parts} == {np.dtype(np.int64)}


def test_stratified_parts_keep_the_class_proportions() -> None:
    """Train, test and every validation part hold the classes as 6 : 3 : 1."""
    split = make_split(LABELS, stratify=True, folds=7, seed=1)
    assert Counter(LABELS[split.train].tolist()) == {"no": 84, "yes": 42, "maybe": 14}
    assert Counter(LABELS[split.test].tolist()) == {"no": 36, "yes": 18, "maybe": 6}
    for _, validation in split.folds:
        assert Counter(LABELS[validation].tolist()) == {"no": 12, "yes": 6, "maybe": 2}


def test_rows_are_shuffled() -> None:
    """Neither the test part nor a fold is a block of the table, which is often sorted."""
    split = make_split(np.arange(200.0), stratify=False, folds=5, seed=1)
    for part in (split.test, split.folds[0][1]):
        assert np.ptp(part) > 150


@pytest.mark.parametrize("stratify", [True, False])
def test_same_seed_gives_the_same_split_and_another_seed_another(stratify: bool) -> None:
    """The split is a function of its arguments."""
    first, again, other = (make_split(LABELS, stratify=stratify, folds=5, seed=seed) for seed in (3, 3, 4))
    assert _rows(first) == _rows(again)
    for mine, its in zip(_rows(first), _rows(other), strict=True):
        assert sorted(mine) != sorted(its)


def test_folds_change_with_the_seed_apart_from_the_training_part() -> None:
    """The folds are shuffled by the seed themselves, not only through the order of the training part."""

    def positions(seed: int) -> list[int]:
        split = make_split(np.arange(100.0), stratify=False, folds=5, seed=seed)
        return sorted(np.flatnonzero(np.isin(split.train, split.folds[0][1])).tolist())

    assert positions(1) != positions(2)


def test_json_is_small_and_in_a_fixed_order() -> None:
    """Keys are sorted, and every row number is written at most twice: in its part, and in its fold."""
    data = make_split(LABELS, stratify=True, folds=5, seed=1).to_json()
    assert list(data) == ["folds", "test", "train"]
    assert sum(map(len, data["folds"])) == len(data["train"]) == 140


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"folds": 1},
            "folds=1: a whole number from 2 to 14, the training rows, is allowed; raise folds",
            id="one fold",
        ),
        pytest.param(
            {"folds": 15},
            "folds=15: a whole number from 2 to 14, the training rows, is allowed; "
            "lower folds or use a table with more rows",
            id="more folds than rows",
        ),
        pytest.param(
            {"y": np.array(["a"] * 17 + ["b"] * 3), "stratify": True, "folds": 5},
            "folds=5: class b has only 3 of the rows in the table, and every class needs one for each fold; "
            "lower folds, or merge or drop the class",
            id="rare class",
        ),
        pytest.param(
            {"y": np.array(["a"] * 19 + ["b"]), "stratify": True},
            "folds=2: class b has only 1 of the rows in the table, and every class needs one for each fold; "
            "lower folds, or merge or drop the class",
            id="class of one row",
        ),
        pytest.param(
            {"y": np.array(["a"] * 30 + ["b"] * 10), "stratify": True, "folds": 10},
            "folds=10: class b has only 7 of the rows in the training part, and every class needs one for each fold; "
            "lower folds, or merge or drop the class",
            id="class that is rare after the split",
        ),
        pytest.param(
            {"y": np.repeat(np.arange(10), 3), "stratify": True},
            "the target has 10 classes, and the smaller part of the split would have 9 rows, where at least one for "
            "each class is needed; use more rows, or merge or drop classes",
            id="more classes than test rows",
        ),
        pytest.param(
            {"seed": -1},
            "seed=-1: a whole number from 0 to 4294967295 is allowed; choose one of these",
            id="negative seed",
        ),
        pytest.param(
            {"seed": 2**32},
            "seed=4294967296: a whole number from 0 to 4294967295 is allowed; choose one of these",
            id="large seed",
        ),
    ],
)
def test_impossible_split_is_explained(arguments: dict[str, Any], message: str) -> None:
    """The user reads what was given, what is allowed and what to do."""
    usual = {"y": np.arange(20.0), "stratify": False, "folds": 2, "seed": 1}
    with pytest.raises(UserError) as error:
        make_split(**(usual | arguments))
    assert str(error.value) == message


def test_as_many_folds_as_training_rows_are_allowed() -> None:
    """The bounds in the message are the true ones: leave-one-out is the last allowed case."""
    split = make_split(np.arange(20.0), stratify=False, folds=14, seed=1)
    assert {len(validation) for _, validation in split.folds} == {1}


def _sklearn(X: NDArray[Any], rows: NDArray[np.int64]) -> StandardScaler:
    return StandardScaler().fit(X[rows].astype(np.float64))


@pytest.mark.parametrize("chunk_cells", [1, 100, 2**20], ids=["row by row", "many chunks", "one chunk"])
@pytest.mark.parametrize(
    "X",
    [
        pytest.param(_random(500), id="float64"),
        pytest.param(_random(500).astype(np.float32), id="float32"),
        pytest.param((_random(500) * 20).clip(0, 255).astype(np.uint8), id="uint8"),
        pytest.param(_random(500) * 1e5 + 3.8e6, id="large offset"),
        pytest.param(np.asfortranarray(_random(500)), id="column-major"),
    ],
)
def test_scaling_equals_sklearns_standard_scaler(X: NDArray[Any], chunk_cells: int) -> None:
    """Mean, scale and the normalised table agree to 1e-12, however many chunks are read."""
    rows = make_split(X[:, 0], stratify=False, folds=5, seed=1).folds[0][0]
    scaling, expected = fit_scaling(X, None, rows, chunk_cells=chunk_cells), _sklearn(X, rows)
    np.testing.assert_allclose(scaling.mean, expected.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaling.scale, expected.scale_, rtol=1e-12)
    transformed = scaling.transform(X)
    # Rounding of the mean is divided by the scale: the tolerance is in the table's own units.
    tolerance = 1e-12 * max(1.0, float(np.abs(expected.mean_ / expected.scale_).max()))
    np.testing.assert_allclose(transformed, expected.transform(X.astype(np.float64)), rtol=1e-12, atol=tolerance)
    assert transformed.dtype == np.float64
    assert transformed.flags.c_contiguous


def test_transform_leaves_its_input_alone() -> None:
    """All folds and workers share one table."""
    X = _random(20)
    before = X.copy()
    fit_scaling(X, X[:, 0], np.arange(20)).transform(X)
    assert np.array_equal(X, before)


@pytest.mark.parametrize("chunk_cells", [7, 2**20], ids=["many chunks", "one chunk"])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 + 0.1])
def test_constant_column_keeps_scale_one(constant: float, chunk_cells: int) -> None:
    """A column without variance becomes 0, not noise or infinity, whatever rounding makes of its mean."""
    X = _random(1000, features=2)
    X[:, 1] = constant
    scaling = fit_scaling(X, None, np.arange(1000), chunk_cells=chunk_cells)
    assert scaling.scale[1] == 1
    np.testing.assert_allclose(scaling.transform(X)[:, 1], 0, atol=1e-12 * max(1, constant))


def test_regression_target_is_scaled_and_restored() -> None:
    """The target has mean 0 and deviation 1 over the fitted rows, and comes back in its own units."""
    X, y = _random(100), _random(100)[:, 0] * 1e5 + 3.8e6
    rows = np.arange(10, 80)
    scaling = fit_scaling(X, y, rows)
    z = scaling.transform_target(y)
    assert scaling.y_mean == pytest.approx(y[rows].mean(), rel=1e-12)
    assert scaling.y_scale == pytest.approx(y[rows].std(), rel=1e-12)
    assert z[rows].mean() == pytest.approx(0, abs=1e-9)
    assert z[rows].std() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_scaling_of_a_fold_knows_nothing_of_validation_and_test_rows(dtype: type) -> None:
    """With those rows changed beyond measure, the fitted values stay the same bit for bit."""
    X, y = _random(200).astype(dtype), _random(200)[:, 1].astype(dtype)
    split = make_split(y, stratify=False, folds=5, seed=1)
    for fit, validation in split.folds:
        unseen = np.concatenate([validation, split.test])
        changed_X, changed_y = X.copy(), y.copy()
        changed_X[unseen[::2]], changed_X[unseen[1::2]] = 1e30, np.nan
        changed_y[unseen[::2]], changed_y[unseen[1::2]] = -1e30, np.inf
        assert _bits(fit_scaling(changed_X, changed_y, fit)) == _bits(fit_scaling(X, y, fit))


def _bits(scaling: Scaling) -> tuple[bytes, bytes, str, str]:
    return scaling.mean.tobytes(), scaling.scale.tobytes(), scaling.y_mean.hex(), scaling.y_scale.hex()


def test_fitting_a_large_table_copies_only_chunks() -> None:
    """Fitting 16 MB of bytes, 125 MB as float64, takes little more than one 8 MiB chunk."""
    X = np.random.default_rng(0).integers(0, 256, (20_000, 784), dtype=np.uint8)
    rows = np.arange(len(X))
    tracemalloc.start()
    try:
        fit_scaling(X, None, rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6
