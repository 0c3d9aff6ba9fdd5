"""A prepared dataset: its raw values, and what the preprocessing of each fold has learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from reference import bundled
from sklearn.preprocessing import StandardScaler

from entrypoints.datasets import known
from entrypoints.datasets.prepared import prepared
from entrypoints.datasets.splits import make_split


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


def test_labels_become_their_places_among_the_classes() -> None:
    """The original labels can be had back."""
    table, data = known.load("diabetes"), bundled("diabetes")
    assert data.classes == ("tested_negative", "tested_positive")
    assert np.array(data.classes)[data.y].tolist() == table.y.tolist()
    assert bundled("red_wine").classes == ()


def test_frame_holds_the_raw_features_of_the_rows_asked_for() -> None:
    """In the table's columns and the order of the rows."""
    table, data = known.load("red_wine"), bundled("red_wine")
    rows = np.array([5, 2, 900])
    pd.testing.assert_frame_equal(
        data.frame(rows), table.frame.drop(columns="quality").iloc[rows].reset_index(drop=True)
    )


def test_preparing_leaves_the_table_as_it_was() -> None:
    """The raw values stay raw, in the table and in what is prepared."""
    table = known.load("red_wine")
    table = replace(table, frame=table.frame.copy())
    before = table.frame.copy()
    data = prepared(table, make_split(table.y, stratify=False, folds=3, seed=0))
    pd.testing.assert_frame_equal(table.frame, before)
    np.testing.assert_array_equal(data.X, before.drop(columns="quality").to_numpy())
