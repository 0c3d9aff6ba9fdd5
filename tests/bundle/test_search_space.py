"""The text of a space: what becomes of YAML, JSON and files, what is drawn, and what is said of everything else."""

import json
from pathlib import Path

import numpy as np
import pytest
from cases import cases

from entrypoints.search_space import distribution, is_distribution, parse


def _values(given):
    """Those of one hyperparameter."""
    return parse(json.dumps({"x": given}), Path())["x"]


@cases(
    "given, values",
    {
        "list": ([0.1, 1], [0.1, 1]),
        "one number": (0.1, [0.1]),
        "nothing": (None, [None]),
        "repetition": ([2, 1, 2, 2], [2, 1]),
        "different types": ([True, 1, 1.0, "1"], [True, 1, 1.0, "1"]),
    },
)
def test_values_are_those_that_are_listed(given, values):
    """One value is a list of one; of equal ones the first stays."""
    found = _values(given)
    assert (found, list(map(type, found))) == (values, list(map(type, values)))


YAML = """
# the layers
hidden_layer_sizes: [[16], [64, 32]]
alpha: [1e-5, 1.0e-4, .1, "1e-5"]
solver: adam
"""
FLOW = '{hidden_layer_sizes: [[16], [64, 32]], alpha: [1e-5, 0.0001, 0.1, "1e-5"], solver: adam}'
JSON = '{"hidden_layer_sizes": [[16], [64, 32]], "alpha": [1e-5, 0.0001, 0.1, "1e-5"], "solver": "adam"}'


@cases(
    "content, named",
    {
        "yaml, relative": (YAML, "any name"),
        "yaml in braces, absolute": (FLOW, "{folder}/any name"),
        "json, at home": (JSON, "~/any name"),
    },
)
def test_space_may_be_in_a_file(tmp_path, monkeypatch, content, named):
    """YAML or JSON, with the same numbers; a relative path starts in the folder that is given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "any name").write_text(content)
    found = parse(named.format(folder=tmp_path), tmp_path if named == "any name" else tmp_path / "elsewhere")
    assert found == parse(FLOW, tmp_path) == json.loads(JSON) | {"solver": ["adam"]}


@cases(
    "given, low, high, median",
    {
        "uniform": ("{uniform: [-0.5, 0.5]}", -0.5, 0.5, 0),
        "loguniform": ("{loguniform: [1e-5, 1e-1]}", 1e-5, 1e-1, 1e-3),
        "integers": ("{integers: [-1, 2]}", -1, 2, 0),
    },
)
def test_distribution_is_drawn_from_between_its_bounds(given, low, high, median):
    """Half of the draws are below the middle, which of a loguniform is that of the exponents."""
    given_values = parse(f"{{x: {given}}}", Path())["x"]
    assert is_distribution(given_values)
    values = distribution(given_values)
    drawn = values.rvs(size=2000, random_state=0)
    assert low <= drawn.min() < drawn.max() <= high
    assert values.median() == pytest.approx(median)
    if "integers" in given:
        assert set(drawn.tolist()) == {-1, 0, 1, 2}
        assert np.issubdtype(drawn.dtype, np.integer)
