"""The user's own modules are found beside what they work on, and go where they are needed.

That `mlflow run` from another folder finds them is in test_mistakes, that a logged model has them in test_main, that
a study imports nothing else in test_tune.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
from cases import cases
from commands import executed, hostile_files
from own_models import write_own_models

from entrypoints.compute import own_modules


@pytest.fixture
def folders(tmp_path):
    """Folders of a user, with files that nobody wants to be executed."""
    write_own_models(tmp_path)
    for name in ("user", "data"):
        hostile_files(tmp_path / name)
    return tmp_path


OF_THE_USER = {"in_folder", "beside_it", "lazily_needed", "own_package", "beside_table", "half"}


@pytest.fixture(autouse=True)
def _as_it_was():
    finders, path = [*sys.meta_path], [*sys.path]
    yield
    sys.meta_path[:], sys.path[:] = finders, path
    for name in [name for name in sys.modules if name.partition(".")[0] in OF_THE_USER]:
        del sys.modules[name]


def test_module_of_the_user_is_sent_with_its_neighbours(folders):
    """Also those that it asks for in the middle of the training; one beside the table is found, too."""
    own_modules.look_in([folders / "user", folders / "data"], "linear, in_folder.Far")
    model = importlib.import_module("in_folder").Far()
    model.partial_fit([[1.0], [2.0]], [0, 1], classes=[0, 1])
    importlib.import_module("beside_table")
    sent = own_modules.sources("in_folder.Far")
    assert sent == [folders / "user" / name for name in ("beside_it.py", "in_folder.py", "lazily_needed.py")]


def test_package_is_sent_whole(folders):
    """Whatever of it was imported."""
    own_modules.look_in([folders / "user"], "own_package.small.models.Far")
    importlib.import_module("own_package.small.models")
    assert own_modules.sources("own_package.small.models.Far") == [folders / "user" / "own_package"]


def test_model_gets_the_python_files_of_a_package_alone(tmp_path):
    """Beside them there may be a table of customers, or a password."""
    for name in (
        "mine/__init__.py",
        "mine/data/rows.csv",
        "mine/.env",
        "mine/.git/hook.py",
        "mine/inner/part.py",
        "a.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with own_modules.python_files([tmp_path / "mine", tmp_path / "a.py"]) as copies:
        package, module = map(Path, copies)
        copied = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
        assert copied == {"__init__.py", "inner/part.py"}
        assert module.name == "a.py"


@cases("algorithm", ["linear", "sklearn.linear_model.SGDRegressor"])
def test_folder_is_not_looked_in_for_what_is_installed(folders, algorithm):
    """So no library finds a file there by the name of one that it may do without. Nothing is sent anywhere."""
    own_modules.look_in([folders / "user"], algorithm)
    assert importlib.util.find_spec("pyspark") is None
    assert executed(folders / "user") == []
    assert own_modules.sources(algorithm) == []


def test_modules_of_the_projects_folder_are_not_sent_twice():
    """Who runs `mlflow run .` there has the bundle itself in it."""
    assert not set(own_modules.sources("entrypoints.models.learners.SGD")) & set(own_modules.PACKAGES)
