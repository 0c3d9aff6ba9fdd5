"""What texts of options stand for; those that a command is called with are in test_options."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoints.option_types import DatasetType


def test_known_name_is_never_taken_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that happens to be named like a dataset does not hide it."""
    (tmp_path / "red_wine").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert DatasetType().convert("red_wine", None, None) == "red_wine"
