"""What texts of options stand for; those that a command is called with are in test_options."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_settings import parsed

from entrypoints.errors import UserError
from entrypoints.option_types import DatasetsType, DatasetType
from entrypoints.options import main_options


def test_known_name_is_never_taken_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that happens to be named like a dataset does not hide it."""
    (tmp_path / "red_wine").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert DatasetType().convert("red_wine", None, None) == "red_wine"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("red_wine", ("red_wine",), id="one"),
        pytest.param("red_wine, diabetes,red_wine", ("red_wine", "diabetes"), id="several"),
        pytest.param("a,b.csv", ("HERE/a,b.csv",), id="a file with a comma in its name"),
        pytest.param("b.csv,diabetes", ("HERE/b.csv", "diabetes"), id="a file among several"),
        pytest.param(",".join(f"openml:{each}" for each in range(90)), (), id="a text too long for a file's name"),
    ],
)
def test_datasets_are_names_separated_by_commas(
    text: str, names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, in the order in which they are given."""
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.csv", "b.csv"):
        Path(name).write_text("x")
    expected = tuple(name.replace("HERE", str(tmp_path)) for name in names) or tuple(text.split(","))
    assert DatasetsType().convert(text, None, None) == expected


def test_dataset_that_is_missing_among_several_is_a_mistake() -> None:
    """A comma too many may stand for one that was forgotten."""
    with pytest.raises(UserError) as error:
        parsed("--dataset", "red_wine,", options=main_options)
    assert error.value.message.startswith("dataset=red_wine,: a dataset or several separated by commas is allowed; ")
