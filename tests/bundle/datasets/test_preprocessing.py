"""What a fold's training rows say about its features: held equal to scikit-learn's own transformers, and no leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from entrypoints.datasets import preprocessing
from entrypoints.datasets.preprocessing import fit_preprocessing

COLOURS = ("blue", "green", "red")
ROWS = 60
FIT, REST = np.arange(40), np.arange(40, ROWS)


def table(*, missing: bool) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Two numeric columns around a categorical one, as codes and as the frame that they stand for."""
    random = np.random.default_rng(0)
    X = np.column_stack([random.normal(5, 2, ROWS), random.integers(0, 2, ROWS), random.normal(-100, 30, ROWS)])
    X[REST[0], 1] = 2  # red occurs outside the fitted rows only
    if missing:
        X[[3, 7, REST[1]], 0] = np.nan
        X[[5, REST[2]], 1] = np.nan
    colours = [None if np.isnan(code) else COLOURS[int(code)] for code in X[:, 1]]
    return X, pd.DataFrame({"a": X[:, 0], "colour": np.array(colours, dtype=object), "b": X[:, 2]})


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "values missing"])
def test_preprocessing_equals_scikit_learn(missing: bool) -> None:
    """Imputed, scaled and encoded as a ColumnTransformer fitted on the same rows does, unseen category included."""
    X, frame = table(missing=missing)
    before = X.copy()
    ours = fit_preprocessing(X, None, FIT, categorical=(1,)).transform(X)
    numeric = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    transformer = make_column_transformer((numeric, ["a", "b"]), (encoder, ["colour"]))
    theirs = transformer.fit(frame.iloc[FIT]).transform(frame)
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert not ours[REST[0], 2:].any()
    np.testing.assert_array_equal(X, before)


def _random(rows: int, features: int = 4) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(5, 3, (rows, features))


@pytest.mark.parametrize("chunk_cells", [1, 2**20], ids=["row by row", "one chunk"])
@pytest.mark.parametrize(
    "X",
    [
        pytest.param((_random(500) * 20).clip(0, 255).astype(np.uint8), id="uint8"),
        pytest.param(_random(500) * 1e5 + 3.8e6, id="large offset"),
        pytest.param(_random(500) * [1, 1, 0, 0] + [0, 0, 0.1, 1e9 + 0.1], id="constants"),
    ],
)
def test_scaling_equals_sklearns_standard_scaler(
    X: NDArray[Any], chunk_cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_missing_numbers_of_other_rows_become_the_mean() -> None:
    """A table that is complete where it is fitted may have holes where it is used; a column without a value is 0."""
    X = np.arange(20, dtype=float).reshape(10, 2)
    X[8, 1], X[:6, 0] = np.nan, np.nan
    fitted = fit_preprocessing(X, None, np.arange(6), categorical=())
    assert fitted.transform(X[8:9])[0, 1] == 0
    assert np.isfinite(fitted.transform(X)).all()
    assert fitted.transform(X[:2])[:, 0].tolist() == [0, 0]
