"""The text of a grid: what becomes of JSON and of files, what is drawn, and what is said of everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entrypoints.errors import UserError
from entrypoints.search_space import described, is_distribution, parse

ENDS = "; give a list of values for each hyperparameter, such as "


def _values(given: Any) -> Any:
    """Those of one hyperparameter."""
    return parse(json.dumps({"x": given}), Path())["x"]


def _types(values: Any) -> Any:
    return [type(value) for value in values]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        pytest.param([0.1, 1], [0.1, 1], id="list"),
        pytest.param(0.1, [0.1], id="one-number"),
        pytest.param("relu", ["relu"], id="one-word"),
        pytest.param(None, [None], id="nothing"),
        pytest.param([[16], [64, 32]], [[16], [64, 32]], id="lists"),
        pytest.param([2, 1, 2, 2], [2, 1], id="repetition"),
        pytest.param([[1], [2], [1]], [[1], [2]], id="repeated-list"),
        pytest.param([True, 1, 1.0, "1"], [True, 1, 1.0, "1"], id="different-types"),
    ],
)
def test_values_are_those_that_are_listed(given: Any, values: list[Any]) -> None:
    """One value is a list of one; of equal ones the first stays."""
    found = _values(given)
    assert not is_distribution(found)
    assert (found, _types(found)) == (values, _types(values))


YAML = """
# the layers
hidden_layer_sizes: [[16], [64, 32]]
alpha: [1e-5, 1.0e-4, .1, "1e-5"]
solver: adam
"""
JSON = '{"hidden_layer_sizes": [[16], [64, 32]], "alpha": [1e-5, 0.0001, 0.1, "1e-5"], "solver": "adam"}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("grid.yaml", YAML, id="yaml"),
        pytest.param("grid.json", JSON, id="json"),
        pytest.param("any name", YAML, id="any-name"),
    ],
)
@pytest.mark.parametrize("named", ["relative", "absolute", "home"])
def test_grid_may_be_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, named: str
) -> None:
    """YAML or JSON, with the same numbers; a relative path starts in the folder that is given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / name).write_text(content)
    text = {"relative": name, "absolute": str(tmp_path / name), "home": f"~/{name}"}[named]
    folder = tmp_path if named == "relative" else tmp_path / "elsewhere"
    assert parse(text, folder) == parse(JSON, tmp_path) == json.loads(JSON) | {"solver": ["adam"]}


def test_largest_file_is_a_hundred_kilobytes(tmp_path: Path) -> None:
    """So much is read, and no more."""
    (tmp_path / "grid.yaml").write_text("alpha: 1\n".ljust(100_000, "#"))
    assert parse("grid.yaml", tmp_path) == {"alpha": [1]}


@pytest.mark.parametrize(
    ("given", "low", "high", "median"),
    [
        pytest.param({"uniform": [2, 4]}, 2, 4, 3, id="uniform"),
        pytest.param({"uniform": [-0.5, 0.5]}, -0.5, 0.5, 0, id="uniform-around-zero"),
        pytest.param({"loguniform": [1e-5, 1e-1]}, 1e-5, 1e-1, 1e-3, id="loguniform"),
        pytest.param({"integers": [1, 3]}, 1, 3, 2, id="integers"),
    ],
)
def test_distribution_is_drawn_from_between_its_bounds(
    given: dict[str, list[float]], low: float, high: float, median: float
) -> None:
    """Half of the draws are below the middle, which of a loguniform is that of the exponents."""
    values = _values(given)
    assert is_distribution(values)
    drawn = values.rvs(size=2000, random_state=0)
    assert low <= drawn.min() < drawn.max() <= high
    assert values.median() == pytest.approx(median)


def test_integers_include_both_bounds() -> None:
    """And nothing but whole numbers between them."""
    drawn = _values({"integers": [-1, 2]}).rvs(size=200, random_state=0)
    assert set(drawn.tolist()) == {-1, 0, 1, 2}
    assert np.issubdtype(drawn.dtype, np.integer)


def test_distribution_in_a_file_takes_exponents_without_a_point(tmp_path: Path) -> None:
    """As --help writes them, which YAML 1.1 takes for text."""
    (tmp_path / "grid.yaml").write_text("alpha: {loguniform: [1e-5, 1e-1]}")
    assert parse("grid.yaml", tmp_path)["alpha"].support() == pytest.approx((1e-5, 1e-1))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        pytest.param([], "x has no value", id="no-value"),
        pytest.param({}, "x is not a distribution", id="empty"),
        pytest.param({"normal": [0, 1]}, "x is not a distribution", id="unknown"),
        pytest.param({"uniform": [0, 1], "integers": [0, 1]}, "x is not a distribution", id="two"),
        pytest.param({"uniform": 5}, "x is not a distribution", id="no-bounds"),
        pytest.param({"uniform": [0]}, "x is not a distribution", id="one-bound"),
        pytest.param({"uniform": [0, 1, 2]}, "x is not a distribution", id="three-bounds"),
        pytest.param({"uniform": [1, 0]}, "x is not a distribution", id="falling"),
        pytest.param({"uniform": [1, 1]}, "x is not a distribution", id="equal"),
        pytest.param({"uniform": ["a", "b"]}, "x is not a distribution", id="words"),
        pytest.param({"uniform": {"a": 1, "b": 2}}, "x is not a distribution", id="named-bounds"),
        pytest.param({"uniform": [0, float("inf")]}, "x is not a distribution", id="infinite"),
        pytest.param({"uniform": [float("nan"), 1]}, "x is not a distribution", id="nan"),
        pytest.param({"uniform": [-1e308, 1e308]}, "x is not a distribution", id="infinitely-wide"),
        pytest.param({"loguniform": [0, 1]}, "x is not a distribution", id="logarithm-of-0"),
        pytest.param({"integers": [0.5, 3]}, "x is not a distribution", id="fractions"),
        pytest.param({"integers": [0, 10**30]}, "x is not a distribution", id="beyond-int64"),
        pytest.param({"integers": [0, 10**400]}, "x is not a distribution", id="beyond-float64"),
    ],
)
def test_values_that_cannot_be_are_refused_in_one_sentence(given: Any, why: str) -> None:
    """It names the hyperparameter and shows what a distribution looks like."""
    with pytest.raises(UserError) as raised:
        _values(given)
    message = raised.value.message
    assert message.startswith('grid={"x": ')
    assert f": {why}" in message
    assert ENDS in message
    assert ("as in {" in message) == ("distribution" in why)
    assert "\n" not in message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files that hold no grid."""
    (tmp_path / "folder").mkdir()
    for name, content in {
        "broken.yaml": b"alpha: [1]\nbeta: [2\nx: 3",
        "two.yaml": b"alpha: 1\n---\nbeta: 2\n",
        "object.yaml": b"alpha: !!python/object/apply:os.getcwd []",
        "list.yaml": b"- 1\n",
        "empty.yaml": b"",
        "latin.yaml": "alpha: [é]".encode("latin-1"),
        "table.parquet": b"PAR1\x00\x01",
        "large.yaml": b"alpha: 1\n".ljust(100_001, b"#"),
        "alias.yaml": b"a: &a [1, 2]\nb: *a\n",
        "deep.yaml": b"alpha: " + b"[" * 20_000,
        "digits.yaml": b"alpha: " + b"9" * 5000,
        "date.yaml": b"alpha: 2020-02-31",
    }.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("{", "it is not JSON: Expecting property name enclosed in double quotes at character 2", id="{"),
        pytest.param('{"x": 1} y', "it is not JSON: Extra data at character 10", id="more-than-json"),
        pytest.param("{'x': 1}", "it is not JSON: ", id="single-quotes"),
        pytest.param("{}", "it names no hyperparameter", id="nothing"),
        pytest.param("[1, 2]", "it is neither a JSON object nor the path of a file (No such file", id="json-list"),
        pytest.param("none.yaml", "it is neither a JSON object nor the path of a file (No such file", id="no-file"),
        pytest.param("folder", "it is neither a JSON object nor the path of a file (Is a directory)", id="folder"),
        pytest.param("", "it is neither a JSON object nor the path of a file (Is a directory)", id="empty"),
        pytest.param("~nobody-at-all/x", "it is neither a JSON object nor the path of a file (", id="nobody's-home"),
        pytest.param("x" * 5000, "it is neither a JSON object nor the path of a file (File name too", id="long"),
        pytest.param("broken.yaml", "the file is not YAML: see line 3", id="yaml"),
        pytest.param("two.yaml", "the file is not YAML: see line 2", id="two-documents"),
        pytest.param("object.yaml", "the file is not YAML: see line 1", id="python-object"),
        pytest.param("latin.yaml", "the file is not YAML", id="not-utf-8"),
        pytest.param("table.parquet", "the file is not YAML", id="binary"),
        pytest.param("list.yaml", "it names no hyperparameter", id="list-in-a-file"),
        pytest.param("empty.yaml", "it names no hyperparameter", id="empty-file"),
        pytest.param("large.yaml", "the file is larger than 100 KB", id="large-file"),
        pytest.param("alias.yaml", "the file uses the alias *a at line 2, and aliases are not allowed", id="alias"),
        pytest.param("deep.yaml", "its lists are nested too deeply", id="deep-file"),
        pytest.param("digits.yaml", "a value in the file cannot be read (Exceeds the limit", id="digits-in-a-file"),
        pytest.param("date.yaml", "a value in the file cannot be read (day", id="no-date"),
    ],
)
def test_text_that_is_no_grid_is_refused_in_one_sentence(folder: Path, text: str, why: str) -> None:
    """It says what was given, shortened where it is long, why it is none, and shows one."""
    with pytest.raises(UserError) as raised:
        parse(text, folder)
    message = raised.value.message
    given, _, rest = message.partition(": ") if "{" not in text else (f"grid={text}", "", message[len(text) + 7 :])
    assert given == f"grid={text}" or (given.startswith("grid=xxx") and given.endswith("x ..."))
    assert rest.startswith(why)
    assert ENDS in rest
    assert len(message) < 400
    assert "\n" not in message


@pytest.mark.parametrize(
    ("values", "why"),
    [
        pytest.param("[" * 100_000, "its lists are nested too deeply", id="depth"),
        pytest.param("9" * 5000, "a number in it cannot be read (Exceeds the limit", id="digits"),
    ],
)
def test_json_that_python_cannot_read_is_refused_in_one_sentence(values: str, why: str) -> None:
    """What was given is shortened."""
    with pytest.raises(UserError) as raised:
        parse(f'{{"alpha": {values}', Path())
    assert f" ...: {why}" in raised.value.message
    assert ENDS in raised.value.message
    assert len(raised.value.message) < 500


def test_file_whose_aliases_stand_for_a_thousand_million_values_is_refused_at_once(tmp_path: Path) -> None:
    """Each line of it stands for ten times the one before."""
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (tmp_path / "grid.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"the file uses the alias \*a0 at line 2"):
        parse("grid.yaml", tmp_path)


def test_space_is_described_by_what_it_was_made_of() -> None:
    """So that a study that goes on draws the same values."""
    given = {
        "alpha": {"loguniform": [1e-5, 0.1]},
        "layers": [[8], [16, 4]],
        "n": {"integers": [2, 7]},
        "shuffle": [True],
    }
    assert described(parse(json.dumps(given), Path())) == given


def test_text_of_several_lines_is_answered_in_one() -> None:
    """A grid may be typed over several lines."""
    with pytest.raises(UserError) as raised:
        parse('{\n  "alpha": [1,\n  "beta": 2\n}', Path())
    assert raised.value.message.startswith('grid={ "alpha": [1, "beta": 2 }: it is not JSON: ')
    assert "\n" not in raised.value.message
