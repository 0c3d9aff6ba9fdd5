"""The user's folder and own modules: find them there, import them, and send them with trials and the model."""

from __future__ import annotations

import contextlib
import fnmatch
import importlib.util
import inspect
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import psutil

import entrypoints
import mlflow_gate
import mlflow_sysmetrics

OF_STEPS = "MLFLOW_SYSMETRICS_USER_FOLDER"  # the user's folder, for the commands that main starts
PACKAGES = tuple(Path(str(package.__file__)).parent for package in (entrypoints, mlflow_gate, mlflow_sysmetrics))


def user_folder() -> Path:
    """The folder of ``mlflow run``, which starts commands in the project's folder instead, or else of this process."""
    if OF_STEPS in os.environ:
        return Path(os.environ[OF_STEPS])
    process = psutil.Process()
    try:
        parent = process.parent() if "MLFLOW_RUN_ID" in os.environ else None
        return Path((parent or process).cwd())
    except psutil.Error:
        return Path.cwd()


def look_in(folders: Iterable[Path], algorithm: str) -> None:
    """Let Python find the modules of an algorithm's import paths in these folders too, after all that is installed.

    The folders do not join ``sys.path`` for built-in algorithms and installed libraries: libraries try to import
    optional packages (MLflow tries pyspark), and would run a file of that name.
    """
    if all(importlib.util.find_spec(name) for name in _named(algorithm)):
        return
    for folder in map(str, folders):
        if folder not in sys.path:
            sys.path.append(folder)


def sources(algorithm: str) -> list[Path]:
    """The user's files and package folders that were imported for an algorithm.

    These are the module that its import path names, and what was imported from the same folder.
    """
    own = [name for name in _named(algorithm) if name not in packages_distributions()]
    imported = _imported() if own else {}
    folders = {path.parent for name, path in imported.items() if name in own}
    return sorted({path for path in imported.values() if path.parent in folders} - set(PACKAGES))


@contextlib.contextmanager
def python_files(paths: Sequence[Path]) -> Iterator[list[str]]:
    """Copies of modules, and of packages without what is not Python: beside it there may be data and secrets."""
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            copy = Path(folder, path.name)
            if path.is_dir():
                shutil.copytree(path, copy, ignore=_not_python)
            else:
                shutil.copy(path, copy)
        yield [str(Path(folder, path.name)) for path in paths]


def _not_python(folder: str, names: list[str]) -> list[str]:
    hidden = fnmatch.filter(names, ".*")
    others = [name for name in names if not name.endswith(".py") and not Path(folder, name).is_dir()]
    return hidden + others


def _named(algorithm: str) -> list[str]:
    """The top-level modules of the import paths in an algorithm's text."""
    paths = [name.strip().partition(".") for name in algorithm.split(",")]
    return [module for module, dot, _ in paths if dot and module.isidentifier()]


def _imported() -> dict[str, Path]:
    """By the names of the modules that were imported: their files, or folders of packages."""
    found = {}
    for name, module in list(sys.modules.items()):
        # Built in, or a folder in a package whose own import has failed.
        with contextlib.suppress(AttributeError, TypeError, KeyError, StopIteration):
            is_package = hasattr(module, "__path__")
            found[name] = Path(next(iter(module.__path__)) if is_package else inspect.getfile(module))
    return found
