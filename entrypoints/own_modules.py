"""The user's folder and own modules: find them there, import them, and send them with trials and the model."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import psutil

import mlflow_sysmetrics

OF_STEPS = "MLFLOW_SYSMETRICS_USER_FOLDER"  # the user's folder, for the commands that main starts
PACKAGES = (Path(__file__).parent, Path(mlflow_sysmetrics.__file__).parent)


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


class _Beside(MetaPathFinder):
    """Finds a module in a folder, and the modules that it imports from there.

    The folder is not added to ``sys.path``: libraries try to import optional packages (MLflow tries pyspark), and would
    run a file of that name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.names = folder, {name}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that the user's code imports; None for all other imports."""
        if path is not None or not (fullname in self.names or _who_imports() in self.names):
            return None
        found = PathFinder.find_spec(fullname, [str(self.folder)])
        if found is not None:
            self.names.add(fullname)
        return found


def _who_imports() -> str:
    """The top-level name of the module that contains the current import statement."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("importlib", "_frozen_import")):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def look_in(folders: Iterable[Path], algorithm: str) -> None:
    """Let Python find the modules of an algorithm's import paths in these folders.

    The folders are not used for built-in algorithms and installed libraries.
    """
    for name in _named(algorithm):
        if importlib.util.find_spec(name) is None:
            for folder in folders:
                if PathFinder.find_spec(name, [str(folder)]) is not None:
                    sys.meta_path.append(_Beside(folder, name))
                    break


def sources(algorithm: str) -> list[Path]:
    """The user's files and package folders that were imported for an algorithm.

    These are the module that its import path names, and what was imported from the same folder.
    """
    installed = packages_distributions() if "." in algorithm else {}
    own = [sys.modules[name] for name in _named(algorithm) if name not in installed and name in sys.modules]
    return sorted({path for module in own for path in _imported_from(_source(module).parent)})


@contextlib.contextmanager
def python_files(paths: Sequence[Path]) -> Iterator[list[str]]:
    """Copies of modules, and of packages without what is not Python: beside it there may be data and secrets."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder, path.name) for path in paths]
        for path, copy in zip(paths, copies, strict=True):
            if path.is_file():
                shutil.copy(path, copy)
            for file in path.rglob("*.py"):
                inner = file.relative_to(path)
                if not any(part.startswith(".") for part in inner.parts):
                    (copy / inner).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, copy / inner)
        yield [str(copy) for copy in copies]


def _named(algorithm: str) -> list[str]:
    """The top-level modules of the import paths in an algorithm's text."""
    paths = [name.strip().partition(".") for name in algorithm.split(",")]
    return [module for module, dot, _ in paths if dot and module.isidentifier()]


def _source(module: ModuleType) -> Path:
    """The file of a module, or the folder of a package."""
    if hasattr(module, "__path__"):
        return Path(next(iter(module.__path__)))
    return Path(inspect.getfile(module))


def _imported_from(folder: Path) -> set[Path]:
    """The files, and folders of packages, directly in a folder that this process has imported, but for our own."""
    found = set()
    for module in list(sys.modules.values()):
        # Built in, or a folder in a package whose own import has failed.
        with contextlib.suppress(TypeError, KeyError, StopIteration):
            path = _source(module)
            if path.parent == folder and (path.is_dir() or path.suffix == ".py"):
                found.add(path)
    return found - set(PACKAGES)
