"""Tests of entrypoints.datasets.preprocessing: against scikit-learn's own transformers, and for leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from entrypoints.datasets.preprocessing import fit_preprocessing, transformer

COLOURS = ("blue", "green", "red")
ROWS = 60
FIT, REST = np.arange(40), np.arange(40, ROWS)


def table(*, missing_number: bool, missing_colour: bool) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Two numeric columns around a categorical one, as codes and as the frame that they stand for."""
    random = np.random.default_rng(0)
    X = np.column_stack([random.normal(5, 2, ROWS), random.integers(0, 2, ROWS), random.normal(-100, 30, ROWS)])
    X[REST[0], 1] = 2  # red occurs outside the fitted rows only
    if missing_number:
        X[[3, 7, REST[1]], 0] = np.nan
    if missing_colour:
        X[[5, REST[2]], 1] = np.nan
    colours = [None if np.isnan(code) else COLOURS[int(code)] for code in X[:, 1]]
    return X, pd.DataFrame({"a": X[:, 0], "colour": np.array(colours, dtype=object), "b": X[:, 2]})


@pytest.mark.parametrize("missing_number", [False, True], ids=["all numbers", "a number missing"])
@pytest.mark.parametrize("missing_colour", [False, True], ids=["all categories", "a category missing"])
def test_preprocessing_equals_scikit_learn(missing_number: bool, missing_colour: bool) -> None:
    """Imputed, scaled and encoded as a ColumnTransformer fitted on the same rows does, unseen category included."""
    X, frame = table(missing_number=missing_number, missing_colour=missing_colour)
    ours = fit_preprocessing(X, None, FIT, categorical=(1,)).transform(X)
    theirs = transformer(["a", "b"], ["colour"]).fit(frame.iloc[FIT]).transform(frame)
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert not ours[REST[0], 2:].any()


def test_missing_numbers_of_other_rows_become_the_mean() -> None:
    """A table that is complete where it is fitted may have holes where it is used."""
    X = np.arange(20, dtype=float).reshape(10, 2)
    X[8, 1] = np.nan
    fitted = fit_preprocessing(X, None, np.arange(6), categorical=())
    assert fitted.transform(X[8:9])[0, 1] == 0
    assert np.isfinite(fitted.transform(X)).all()


def test_column_without_any_value_is_zero() -> None:
    """As with SimpleImputer(keep_empty_features=True)."""
    X = np.array([[1.0, np.nan], [3.0, np.nan], [5.0, 7.0]])
    fitted = fit_preprocessing(X, None, np.arange(2), categorical=())
    assert fitted.transform(X[:2])[:, 1].tolist() == [0, 0]


@pytest.mark.parametrize("y", [None, np.arange(ROWS, dtype=float)], ids=["classification", "regression"])
@pytest.mark.parametrize("categorical", [(1,), ()], ids=["a category", "numbers alone"])
def test_nothing_outside_the_fitted_rows_is_looked_at(y: NDArray[Any] | None, categorical: tuple[int, ...]) -> None:
    """Other rows changed wildly leave every fitted value as it is, bit for bit."""
    X, _ = table(missing_number=True, missing_colour=True)
    before = fit_preprocessing(X, y, FIT, categorical=categorical)
    X[REST] = [1e300, 1, -1e300]
    changed = None if y is None else np.concatenate([y[FIT], np.full(len(REST), 1e9)])
    after = fit_preprocessing(X, changed, FIT, categorical=categorical)
    for name, value in vars(before.scaling).items():
        assert np.array_equal(value, getattr(after.scaling, name)), name
    for (_, codes), (_, others) in zip(before.encoded, after.encoded, strict=True):
        assert codes.tobytes() == others.tobytes()


def test_bytes_are_scaled_as_numbers() -> None:
    """An image stays one byte a pixel until its batch is scaled."""
    X = np.arange(30, dtype=np.uint8).reshape(10, 3)
    out = fit_preprocessing(X, None, np.arange(10), categorical=()).transform(X)
    assert out.dtype == np.float64
    assert out.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
    assert out.std(axis=0) == pytest.approx(np.ones(3))
