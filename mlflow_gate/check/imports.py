"""Does each side of a check import its own code of the repository, or both one and the same?

What the Python processes of both import in the warm-up decides it: how code is installed, and what a script does to its
search path, cannot be told from outside. They tell it while they run, so that nobody waits for the end of a training.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click

from mlflow_gate.check.contest import CheckError

_PROJECT_FILES = ("pyproject.toml", "setup.py")
# Python imports it as it starts, from the first folder that has one. After 1, 3, 7 .. s and at its end the process
# writes a line for each module, its name and its file. The last line imports the one that this hides, if there is one.
_SITECUSTOMIZE = """
import atexit, os, sys, threading, time

folder = os.path.dirname(__file__)

def tell():
    lines = []
    for module in list(sys.modules.values()):
        try:
            spec = object.__getattribute__(module, "__spec__")
            if spec.has_location:
                lines.append(f"{spec.name}\\t{spec.origin}\\n")
        except Exception:  # no module, or one that is loaded on demand
            pass
    with open(os.path.join(folder, "imports"), "ab", buffering=0) as file:  # in one piece: others write there, too
        file.write("".join(lines).encode())

def go_on_telling():
    for wait_s in (1, 2, 4, 8, 16, 32):
        time.sleep(wait_s)
        tell()

atexit.register(tell)
threading.Thread(target=go_on_telling, daemon=True).start()
sys.path.remove(folder)
del sys.modules["sitecustomize"]
import sitecustomize
"""


class Module(NamedTuple):
    """A module that a program has imported: its dotted name, and its file."""

    name: str
    file: str


def told_in(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program whose Python processes tell in this new folder what they import."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    (folder / "imports").touch()
    paths = [str(folder), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def read(folder: Path) -> set[Module]:
    """What the processes have told there by now."""
    lines = (folder / "imports").read_text().rpartition("\n")[0].splitlines()  # one may be written just now
    return {Module(*line.split("\t", 1)) for line in lines}


def refuse_silent(told: Mapping[str, set[Module]]) -> None:
    """CheckError: the processes of a side have told nothing, so that its imports are not known."""
    for side, modules in told.items():
        if not modules:
            unknown = f"no Python process of the {side} says what it imports, so both sides may run the same code"
            advice = "run it without -I, -E and -S and let it end by itself, or give --baseline-command"
            raise CheckError(f"{unknown}: {advice}")


@dataclass(frozen=True)
class Checkout:
    """The worktree of a side, and the repository that it is of."""

    tree: Path
    repository: Path

    @functools.cached_property
    def _roots(self) -> list[Path]:
        """Folders that Python may import the repository's code from, relative to its top."""
        projects = {Path()}
        for name in _PROJECT_FILES:
            projects |= {file.parent.relative_to(self.tree) for file in self.tree.rglob(name)}
        return [root for project in sorted(projects) for root in (project / "src", project)]

    def refuse_code_of_others(self, modules: set[Module], folder: Path, python_path: str) -> None:
        """Refuse a side that has imported code of the repository from elsewhere, as the other side does, too.

        `folder` is where it runs, and `python_path` its PYTHONPATH. click.UsageError: says what to type.
        """
        outside: dict[Path, Module] = {}
        for module in sorted(modules):
            root = self._root_of(module)
            if root is not None:
                outside.setdefault(root, module)
        if not outside:
            return
        module = next(iter(outside.values()))
        roots = [self.tree / root for root in outside]
        given = [Path(entry) for entry in python_path.split(os.pathsep) if entry]
        paths = []
        for path in [*roots, *given]:
            is_moved = path.is_relative_to(self.tree)
            paths.append(os.path.relpath(path, folder) if is_moved else str(path))
        raise click.UsageError(
            f"both sides import {module.name} from {module.file}, and not each its own: begin the line with "
            f"PYTHONPATH={os.pathsep.join(dict.fromkeys(paths))}, or install the code of each by --setup"
        )

    def _root_of(self, module: Module) -> Path | None:
        """The root of a module of the repository that has come from elsewhere: the clone itself, or a copy of it."""
        file = Path(module.file)
        if file.is_relative_to(self.tree):
            return None
        depth = module.name.count(".") + 1
        if file.stem == "__init__":
            depth += 1
        in_root = Path(*file.parts[-depth:])
        candidates = self._roots
        if file.is_relative_to(self.repository):
            candidates = [Path(*file.parts[:-depth]).relative_to(self.repository)]
        for root in candidates:
            own = self.tree / root / in_root
            if own.is_file() and own.resolve().is_relative_to(self.tree):  # and no link to what git does not track
                return root
        return None
