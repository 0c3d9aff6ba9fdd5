"""Relative paths are meant from where the user typed the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("run_id", "expected"),
    [
        pytest.param({"MLFLOW_RUN_ID": "abc"}, "{user}/mine.csv {'alpha': [1]}", id="mlflow-run"),
        pytest.param({}, "mine.csv {'alpha': [2]}", id="no-mlflow-run"),
    ],
)
def test_relative_path_means_the_folder_of_the_user(tmp_path: Path, run_id: dict[str, str], expected: str) -> None:
    """`mlflow run` starts the command in the project's folder; the user typed the paths in another one."""
    user, project = tmp_path / "user", tmp_path / "project"
    for folder, value in ((user, 1), (project, 2)):
        folder.mkdir()
        (folder / "grid.yaml").write_text(f"alpha: [{value}]")
    (user / "mine.csv").write_text("a,b\n1,2\n")
    ask = (
        "from entrypoints.option_types import DatasetType as D, GridType as G;"
        "print(D().convert('mine.csv', None, None), G().convert('grid.yaml', None, None))"
    )
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}], cwd={str(project)!r}, check=True)"
    )
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    done = subprocess.run(
        [sys.executable, "-c", parent],
        cwd=user,
        env=env | {"PYTHONPATH": str(ROOT)} | run_id,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected.replace("{user}", str(user))
