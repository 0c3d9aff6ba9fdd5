"""What a fold's training rows say about its features: held equal to scikit-learn's own transformers, and no leaks."""

import numpy as np
import pandas as pd
import pytest
from cases import cases
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

from entrypoints.datasets import preprocessing
from entrypoints.datasets.preprocessing import PARTS, fit_preprocessing, parts_of

COLOURS = ("blue", "green", "red")
ROWS = 60
FIT, REST = np.arange(40), np.arange(40, ROWS)


def table(*, missing):
    """Two numeric columns around a categorical one, as codes and as the frame that they stand for."""
    random = np.random.default_rng(0)
    X = np.column_stack([random.normal(5, 2, ROWS), random.integers(0, 2, ROWS), random.normal(-100, 30, ROWS)])
    X[REST[0], 1] = 2  # red occurs outside the fitted rows only
    if missing:
        X[[3, 7, REST[1]], 0] = np.nan
        X[[5, REST[2]], 1] = np.nan
    colours = [None if np.isnan(code) else COLOURS[int(code)] for code in X[:, 1]]
    return X, pd.DataFrame({"a": X[:, 0], "colour": np.array(colours, dtype=object), "b": X[:, 2]})


@cases("missing", {"complete": False, "values missing": True})
def test_preprocessing_equals_scikit_learn(missing):
    """Imputed, scaled and encoded as a ColumnTransformer fitted on the same rows does, unseen category included."""
    X, frame = table(missing=missing)
    before = X.copy()
    ours = fit_preprocessing(X, np.zeros(ROWS), FIT, categorical=(1,)).transform(X)
    numeric = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    transformer = make_column_transformer((numeric, ["a", "b"]), (encoder, ["colour"]))
    theirs = transformer.fit(frame.iloc[FIT]).transform(frame)
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert not ours[REST[0], 2:].any()
    np.testing.assert_array_equal(X, before)


def _random(rows, features=4):
    return np.random.default_rng(0).normal(5, 3, (rows, features))


@cases("chunk_cells", {"row by row": 1, "one chunk": 2**20})
@cases(
    "X",
    {
        "uint8": (_random(500) * 20).clip(0, 255).astype(np.uint8),
        "large offset": _random(500) * 1e5 + 3.8e6,
        "constants": _random(500) * [1, 1, 0, 0] + [0, 0, 0.1, 1e9 + 0.1],
    },
)
def test_scaling_equals_sklearns_standard_scaler(X, chunk_cells, monkeypatch):
    """However many chunks are read; a constant column becomes 0, not noise, whatever rounding makes of its mean."""
    monkeypatch.setattr(preprocessing, "CHUNK_CELLS", chunk_cells)
    rows = np.random.default_rng(1).permutation(500)[:300]
    y = X[:, 0].astype(float) * 1e5
    fitted, expected = fit_preprocessing(X, y, rows, ()), StandardScaler().fit(X[rows].astype(np.float64))
    transformed, of_target = fitted.transform(X), StandardScaler().fit(y[rows, None])
    # Rounding of the mean is divided by the scale: the tolerance is in the table's own units.
    tolerance = 1e-12 * max(1.0, float(np.abs(expected.mean_ / expected.scale_).max()))
    np.testing.assert_allclose(transformed, expected.transform(X.astype(np.float64)), rtol=1e-12, atol=tolerance)
    assert (transformed.dtype, transformed.flags.c_contiguous) == (np.float64, True)
    z = of_target.transform(y[:, None])[:, 0]
    np.testing.assert_allclose(fitted.scaling.transform_target(y), z, rtol=1e-9, atol=tolerance)


def test_missing_numbers_of_other_rows_become_the_mean():
    """A table that is complete where it is fitted may have holes where it is used; a column without a value is 0."""
    X = np.arange(20, dtype=float).reshape(10, 2)
    X[8, 1], X[:6, 0] = np.nan, np.nan
    fitted = fit_preprocessing(X, np.zeros(10), np.arange(6), categorical=())
    assert fitted.transform(X[8:9])[0, 1] == 0
    assert np.isfinite(fitted.transform(X)).all()
    assert fitted.transform(X[:2])[:, 0].tolist() == [0, 0]


MANY = 900  # rows
CITIES = 60
of_each_task = cases(
    "n_classes, target",
    {
        "regression": (0, lambda of_city, noise: 100 + of_city + noise),
        "two classes": (2, lambda of_city, noise: (of_city + noise > 1).astype(int)),
        "four classes": (4, lambda of_city, noise: np.digitize(of_city + noise, [-1, 0, 2])),
    },
)


def _cities():
    """A number and a city for each row, some of which lack it, what is known by the city, and what is not."""
    random = np.random.default_rng(0)
    city = random.integers(CITIES, size=MANY).astype(float)
    of_city = random.normal(size=CITIES)[city.astype(int)]
    city[::50] = np.nan
    return np.column_stack([random.normal(size=MANY), city]), of_city, random.normal(size=MANY)


@of_each_task
def test_category_of_many_values_is_encoded_as_by_scikit_learns_target_encoder(n_classes, target):
    """Rows to train on by the targets of the other parts, all others by those of all fitted rows.

    A city that is not among these is the mean of all; a missing one is a value of its own.
    """
    X, of_city, noise = _cities()
    y = target(of_city, noise)
    fit = np.flatnonzero(np.isnan(X[:, 1]) | (X[:, 1] < CITIES - 3))[:700]
    parts = parts_of(y, None)
    fitted = fit_preprocessing(X, y, fit, categorical=(1,), n_classes=n_classes, parts=parts)
    kind = "multiclass" if n_classes > 2 else "binary" if n_classes else "continuous"
    encoder = TargetEncoder(target_type=kind)
    city = X[:, 1:]
    crossed = np.empty((MANY, n_classes if n_classes > 2 else 1))
    for part in range(1, 1 + PARTS):
        own, others = fit[parts[fit] == part], fit[parts[fit] != part]
        crossed[own] = encoder.fit(city[others], y[others]).transform(city[own])
    scaler = StandardScaler().fit(crossed[fit])
    np.testing.assert_allclose(fitted.transform(X[fit], parts[fit])[:, 1:], scaler.transform(crossed[fit]), atol=1e-9)
    of_all = scaler.transform(encoder.fit(city[fit], y[fit]).transform(city))
    np.testing.assert_allclose(fitted.transform(X)[:, 1:], of_all, atol=1e-9)


@of_each_task
def test_parts_have_the_same_targets_and_no_group_in_common(n_classes, target):
    """Else the mean of the others would tell of a row's own target. A single group is its own."""
    X, of_city, noise = _cities()
    y, rows, groups = target(of_city, noise), np.arange(MANY), np.arange(MANY) // 4
    alone, together = parts_of(y, None), parts_of(y, groups)
    assert alone.all()
    means = [y[alone == part].mean() for part in range(1, 1 + PARTS)]
    assert np.ptp(means) < 0.05
    assert all(len({*parts}) == 1 for parts in np.split(together, MANY // 4))
    one = parts_of(y, np.zeros(MANY, dtype=int))
    fitted = fit_preprocessing(X, y, rows, (1,), n_classes=n_classes, parts=one)
    assert np.isfinite(fitted.transform(X, 1)).all()
