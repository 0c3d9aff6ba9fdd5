"""What a fold's training rows say about its features: held equal to scikit-learn's own transformers, and no leaks."""

import numpy as np
import pandas as pd
import pytest
from cases import cases
from sklearn.compose import make_column_transformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

from entrypoints.datasets import preprocessing
from entrypoints.datasets.preprocessing import PARTS, fit_preprocessing, parts_of

ROWS = 60
FIT = np.arange(40)


@cases("missing", {"complete": [], "values missing": [3, 7, 45]})
def test_preprocessing_equals_scikit_learn(missing):
    """Imputed, scaled and encoded as a ColumnTransformer fitted on the same rows does, unseen category included.

    Where values are often missing a column says so.
    """
    random = np.random.default_rng(0)
    X = random.normal(5, 2, (ROWS, 3))
    X[:, 1] = random.integers(0, 2, ROWS)
    X[-1, 1] = 2  # outside the fitted rows only
    X[missing, :2] = np.nan
    before = X.copy()
    ours = fit_preprocessing(X, np.zeros(ROWS), FIT, categorical=(1,)).transform(X)
    numeric = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    theirs = make_column_transformer((numeric, [0, 2]), (MissingIndicator(), [0, 2]), (encoder, [1])).fit(X[FIT])
    assert ours == pytest.approx(theirs.transform(X), abs=1e-12)
    assert not ours[-1, -2:].any()
    np.testing.assert_array_equal(X, before)


RANDOM = np.random.default_rng(0).normal(5, 3, (500, 4))


@cases("chunk_cells", {"row by row": 1, "one chunk": 2**20})
@cases(
    "X",
    {
        "uint8": (RANDOM * 20).clip(0, 255).astype(np.uint8),
        "large offset": RANDOM * 1e5 + 3.8e6,
        "constants": RANDOM * [1, 1, 0, 0] + [0, 0, 0.1, 1e9 + 0.1],
    },
)
def test_scaling_equals_sklearns_standard_scaler(X, chunk_cells, monkeypatch):
    """However many chunks are read; a constant column becomes 0, not noise, whatever rounding makes of its mean."""
    monkeypatch.setattr(preprocessing, "CHUNK_CELLS", chunk_cells)
    rows = np.random.default_rng(1).permutation(500)[:300]
    numbers = X.astype(float)
    y = numbers[:, 0] * 1e5
    fitted = fit_preprocessing(X, y, rows, ())
    transformed = fitted.transform(X)
    assert transformed.dtype == float
    assert transformed.flags.c_contiguous
    scaler = StandardScaler().fit(numbers[rows])
    # Rounding of the mean is divided by the scale: the tolerance is in the table's own units.
    tolerance = 1e-12 * max(1.0, np.abs(scaler.mean_ / scaler.scale_).max())
    np.testing.assert_allclose(transformed, scaler.transform(numbers), rtol=1e-12, atol=tolerance)
    column = y[:, None]
    z = StandardScaler().fit(column[rows]).transform(column)
    np.testing.assert_allclose(fitted.scaling.transform_target(column), z, rtol=1e-9, atol=tolerance)


def test_missing_numbers_of_other_rows_become_the_mean():
    """A table that is complete where it is fitted may have holes where it is used; a column without a value is 0."""
    X = np.arange(20, dtype=float).reshape(10, 2)
    X[8, 1] = np.nan
    X[:6, 0] = np.nan
    transformed = fit_preprocessing(X, np.zeros(10), np.arange(6), categorical=()).transform(X)
    assert transformed[8, 1] == 0
    assert np.isfinite(transformed).all()
    assert not transformed[:6, 0].any()


MANY = 900  # rows
CITIES = 60
of_each_task = cases("limits", {"regression": [], "two classes": [1], "four classes": [-1, 0, 2]})


def _cities(limits):
    """A number and a city for each row, some of which lack it; a target that the city tells in part; its classes."""
    random = np.random.default_rng(0)
    X = random.normal(size=(MANY, 2))
    city = random.integers(CITIES, size=MANY)
    y = random.normal(size=CITIES)[city] + random.normal(size=MANY)
    X[:, 1] = city
    X[::50, 1] = np.nan
    if limits:
        return X, np.digitize(y, limits), len(limits) + 1
    return X, 100 + y, 0


@of_each_task
def test_category_of_many_values_is_encoded_as_by_scikit_learns_target_encoder(limits):
    """Rows to train on by the targets of the other parts, all others by those of all fitted rows.

    A city that is not among these is the mean of all; a missing one is a value of its own.
    """
    X, y, n_classes = _cities(limits)
    fit = np.flatnonzero(np.isnan(X[:, 1]) | (X[:, 1] < CITIES - 3))[:700]
    parts = parts_of(y, None)
    fitted = fit_preprocessing(X, y, fit, categorical=(1,), n_classes=n_classes, parts=parts)
    encoder = TargetEncoder()
    city = X[:, 1:]
    crossed = np.empty((MANY, n_classes if n_classes > 2 else 1))
    for part in range(1, 1 + PARTS):
        own = fit[parts[fit] == part]
        others = fit[parts[fit] != part]
        crossed[own] = encoder.fit(city[others], y[others]).transform(city[own])
    scaler = StandardScaler().fit(crossed[fit])
    trained_on = fitted.transform(X[fit], parts[fit])
    np.testing.assert_allclose(trained_on[:, 1:], scaler.transform(crossed[fit]), atol=1e-9)
    of_all = encoder.fit(city[fit], y[fit]).transform(city)
    np.testing.assert_allclose(fitted.transform(X)[:, 1:], scaler.transform(of_all), atol=1e-9)


@of_each_task
def test_parts_have_the_same_targets_and_no_group_in_common(limits):
    """Else the mean of the others would tell of a row's own target. A single group is its own."""
    X, y, n_classes = _cities(limits)
    rows = np.arange(MANY)
    parts = pd.Series(parts_of(y, None))
    assert sorted(set(parts)) == [1, 2, 3, 4, 5]
    means = pd.Series(y).groupby(parts).mean()
    assert means.max() - means.min() < 0.05
    together = pd.Series(parts_of(y, rows // 4))
    assert (together.groupby(rows // 4).nunique() == 1).all()
    one = parts_of(y, 0 * rows)
    fitted = fit_preprocessing(X, y, rows, (1,), n_classes=n_classes, parts=one)
    assert np.isfinite(fitted.transform(X, 1)).all()
