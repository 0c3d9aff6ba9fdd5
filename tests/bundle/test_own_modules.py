"""The user's own modules are found beside what they work on, go where they are needed, and nothing else is imported.

That `mlflow run` from another folder finds them is in test_mistakes.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import Study, copy_store, executed, hostile_files
from mlflow import MlflowClient
from own_models import ALGORITHMS, write_own_models

from entrypoints import own_modules
from entrypoints.tune import tune


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Folders of a user, with files that nobody wants to be executed."""
    write_own_models(tmp_path)
    for name in ("user", "data"):
        hostile_files(tmp_path / name)
    return tmp_path


OF_THE_USER = {"in_folder", "beside_it", "lazily_needed", "own_package", "beside_table", "half"}


@pytest.fixture
def _as_it_was() -> Iterator[None]:
    finders, path = [*sys.meta_path], [*sys.path]
    yield
    sys.meta_path[:], sys.path[:] = finders, path
    for name in [name for name in sys.modules if name.partition(".")[0] in OF_THE_USER]:
        del sys.modules[name]


@pytest.mark.usefixtures("_as_it_was", "store_in_use")
def test_folder_is_not_searched_for_built_in_algorithms(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What libraries ask for later is not found there; MLflow, for one, imports pyspark if it can."""
    monkeypatch.chdir(folders / "user")
    result = CliRunner().invoke(tune, ["--algorithm", "linear", "--space", "{batch_size: 5000}", "--folds", "2"])
    assert result.output.startswith("Error: space: batch_size 5000 ")
    assert importlib.util.find_spec("pyspark") is None


@pytest.mark.usefixtures("_as_it_was")
def test_module_of_the_user_finds_its_neighbours_and_nobody_else_does(folders: Path) -> None:
    """Also those that it asks for in the middle of the training."""
    own_modules.look_in([folders / "user", folders / "data"], "linear, in_folder.Mean")
    model = importlib.import_module("in_folder").Mean()
    model.fit([[1.0]], [1.0])
    assert importlib.util.find_spec("pyspark") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("beside_table")
    assert executed(folders / "user") == []
    sent = own_modules.sources("in_folder.Mean")
    assert sent == [folders / "user" / name for name in ("beside_it.py", "in_folder.py", "lazily_needed.py")]


@pytest.mark.usefixtures("_as_it_was")
def test_package_is_sent_whole(folders: Path) -> None:
    """Whatever of it was imported."""
    own_modules.look_in([folders / "user"], "own_package.small.models.Mean")
    importlib.import_module("own_package.small.models")
    assert own_modules.sources("own_package.small.models.Mean") == [folders / "user" / "own_package"]


@pytest.mark.usefixtures("_as_it_was")
def test_package_whose_import_failed_half_way_is_passed_over(folders: Path) -> None:
    """Python forgets the package, but not the folder in it, whose place it then cannot tell."""
    (folders / "user" / "half" / "inner").mkdir(parents=True)
    own_modules.look_in([folders / "user"], "in_folder.Mean")
    sys.path.insert(0, str(folders / "user"))
    importlib.import_module("half.inner")
    del sys.modules["half"]
    importlib.import_module("in_folder")
    assert folders / "user" / "in_folder.py" in own_modules.sources("in_folder.Mean")


@pytest.mark.usefixtures("_as_it_was")
def test_installed_library_wins_over_a_file_of_its_name(folders: Path) -> None:
    """And is not sent anywhere."""
    (folders / "user" / "sklearn.py").write_text("raise SystemExit")
    own_modules.look_in([folders / "user"], "sklearn.linear_model.SGDRegressor")
    assert importlib.util.find_spec("pyspark") is None
    assert own_modules.sources("sklearn.linear_model.SGDRegressor") == []


@pytest.mark.usefixtures("_as_it_was")
def test_modules_of_the_projects_folder_are_not_sent_twice() -> None:
    """Who runs `mlflow run .` there has the bundle itself in it."""
    assert not set(own_modules.sources("entrypoints.models.learners.SGD")) & set(own_modules.PACKAGES)


def test_study_imports_nothing_from_the_folder_it_is_started_in(study: Study) -> None:
    """Neither `mlflow run` nor the command or a trial; the folder has files of many names that they ask for."""
    assert executed(study.folder) == []


PREDICT = """
import json, sys, mlflow
frame = __import__("pandas").read_csv(sys.argv[2]).drop(columns="y")
print(json.dumps(mlflow.pyfunc.load_model(sys.argv[1]).predict(frame).tolist()))
"""


@pytest.mark.slow
def test_study_of_own_models_leaves_one_that_loads_elsewhere(
    folders: Path, new_store: Path, run_study: Callable[..., Study]
) -> None:
    """A fresh process that finds the module nowhere else predicts; no other file was executed."""
    user = folders / "user"
    copy_store(new_store, user)
    options = {
        "dataset": "../data/own.csv",
        "target": "y",
        "space": "{batch_size: 8, rate: [0.1, 0.5]}",
        "folds": "2",
        "cpus": "1",
    }
    study = run_study(user, algorithm=",".join(ALGORITHMS), max_steps="200", **options)
    assert {run.data.params["algorithm"] for run in study.trials} == set(ALGORITHMS)
    assert {run.info.status for run in [study.run, *study.trials]} == {"FINISHED"}
    assert [executed(folders / name) for name in ("user", "data")] == [[], []]
    table = folders / "own.csv"
    table.write_bytes((folders / "data" / "own.csv").read_bytes())
    for name in ("user", "data"):
        for file in (folders / name).rglob("*.py"):
            file.unlink()
    (model,) = MlflowClient(study.uri).search_logged_models(["0"])
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, model.model_uri, str(table)],
        cwd=folders,
        env={"PATH": os.defpath, "HOME": str(folders), "MLFLOW_TRACKING_URI": study.uri},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(set(json.loads(done.stdout.splitlines()[-1]))) == 1


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
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "MLFLOW_RUN_ID": "abc"}
    line = [sys.executable, "-c", parent]
    done = subprocess.run(line, cwd=user, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{user}/mine.csv {{'alpha': [1]}}", "mine.csv {'alpha': [2]}"]
