"""Relative paths are meant from where the user typed the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_relative_path_means_the_folder_of_the_user(tmp_path: Path) -> None:
    """`mlflow run` starts the command in the project's folder; the user typed the paths in another one."""
    user, project = tmp_path / "user", tmp_path / "project"
    for folder, value in ((user, 1), (project, 2)):
        folder.mkdir()
        (folder / "space.yaml").write_text(f"alpha: [{value}]")
    (user / "mine.csv").write_text("a,b\n1,2\n")
    ask = (
        "import os; from entrypoints.option_types import DATASET as D, SPACE as S\n"
        "for under_mlflow_run in ('abc', None):\n"
        "    print(D.read('mine.csv'), S.read('space.yaml'))\n"
        "    os.environ.pop('MLFLOW_RUN_ID', None)"
    )
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}], cwd={str(project)!r}, check=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent],
        cwd=user,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_RUN_ID": "abc"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{user}/mine.csv {{'alpha': [1]}}", "mine.csv {'alpha': [2]}"]
