"""A prepared dataset: its raw values, and what the preprocessing of each fold has learned."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from reference import bundled
from sklearn.preprocessing import StandardScaler

from entrypoints.datasets import known


@pytest.mark.parametrize("name", ["red_wine", "diabetes"])
def test_scalings_are_those_of_scikit_learn_on_the_rows_of_each_fold(name: str) -> None:
    """Features, and for regression the target; class labels are not scaled."""
    data = bundled(name)
    for (fit, _), fitted in zip(data.split.folds, data.preprocessings, strict=True):
        scaling = fitted.scaling
        expected = StandardScaler().fit(data.X[fit])
        np.testing.assert_allclose(scaling.mean, expected.mean_, rtol=1e-9)
        np.testing.assert_allclose(scaling.scale, expected.scale_, rtol=1e-9)
        target = StandardScaler().fit(data.y[fit, None])
        y = (target.mean_[0], target.scale_[0]) if name == "red_wine" else (0.0, 1.0)
        assert (scaling.y_mean, scaling.y_scale) == pytest.approx(y)


def test_raw_values_can_be_had_back() -> None:
    """Labels by their places among the classes; the features of any rows, in the table's columns and their order."""
    for name in ("diabetes", "red_wine"):
        table, data, rows = known.load(name), bundled(name), np.array([5, 2, 700])
        labels = np.array(data.classes)[data.y] if data.classes else data.y
        assert labels.tolist() == table.y.tolist()
        expected = table.frame.drop(columns=table.target).iloc[rows].reset_index(drop=True)
        pd.testing.assert_frame_equal(data.frame(rows), expected)
