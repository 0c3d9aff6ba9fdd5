"""The text of a space: what becomes of YAML, JSON and files, and what is drawn."""

import json

import numpy as np
import pytest
from cases import cases, tables

from entrypoints.options.search_space import distribution, is_distribution, parse

TABLES = tables(__file__, "search_space.yaml")


@cases("given, values", TABLES["listed"])
def test_values_are_those_that_are_listed(given, values, tmp_path):
    """One value is a list of one; of equal ones the first stays."""
    found = parse(json.dumps({"x": given}), tmp_path)["x"]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@cases("content, named", TABLES["files"])
def test_space_may_be_in_a_file(tmp_path, monkeypatch, content, named):
    """YAML or JSON, with the same numbers; a relative path starts in the folder that is given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "any name").write_text(content)
    folder = tmp_path if named == "any name" else tmp_path / "elsewhere"
    assert parse(named.format(folder=tmp_path), folder) == {
        "hidden_layer_sizes": [[16], [64, 32]],
        "alpha": [1e-5, 1e-4, 0.1, "1e-5"],
        "solver": ["adam"],
    }


@cases("given, low, high, median", TABLES["drawn"])
def test_distribution_is_drawn_from_between_its_bounds(given, low, high, median, tmp_path):
    """Half of the draws are below the middle, which of a loguniform is that of the exponents."""
    values = parse(f"{{x: {given}}}", tmp_path)["x"]
    assert is_distribution(values)
    drawn = distribution(values).rvs(size=2000, random_state=0)
    assert low <= drawn.min() < drawn.max() <= high
    assert distribution(values).median() == pytest.approx(median)


def test_integers_are_drawn_with_both_bounds(tmp_path):
    """As whole numbers."""
    values = parse("{x: {integers: [-1, 2]}}", tmp_path)["x"]
    drawn = distribution(values).rvs(size=2000, random_state=0)
    assert set(drawn.tolist()) == {-1, 0, 1, 2}
    assert np.issubdtype(drawn.dtype, np.integer)
