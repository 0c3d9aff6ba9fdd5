"""Does each side of a check import its own code of the repository, or both one and the same?

What the Python processes of both have imported in the warm-up decides it: how code is installed, and what a script does
to its search path, cannot be told from outside.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from mlflow_gate.check.contest import CheckError

# Python imports it as it starts, from the first folder that has one. At its end the process writes a line for each
# module, its name and its file. The last line imports the one that this hides, if there is one.
_SITECUSTOMIZE = """
import atexit, os, sys

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

atexit.register(tell)
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
    """What the processes have told there."""
    lines = (folder / "imports").read_text().splitlines()
    return {Module(*line.split("\t", 1)) for line in lines}


def refuse_shared(told: Mapping[str, set[Module]], repository: Path, trees: Sequence[Path]) -> None:
    """Refuse sides that import a module of the repository from one file. `trees` are their worktrees.

    CheckError: a side has told nothing. click.UsageError: says which module, and what to type.
    """
    for side, modules in told.items():
        if not modules:
            unknown = f"no Python process of the {side} says what it imports, so both sides may run the same code"
            advice = "run it without -I, -E and -S and let it end by itself, or give --baseline-command"
            raise CheckError(f"{unknown}: {advice}")
    for module in sorted(set.intersection(*told.values())):
        if _is_own(module, repository, trees):
            both = f"both sides import {module.name} from {module.file}, and not each its own"
            raise click.UsageError(
                f"{both}: set PYTHONPATH=., or to the folder of the code, or install each by --setup"
            )


def _is_own(module: Module, repository: Path, trees: Sequence[Path]) -> bool:
    """Whether a worktree has the file of this module, and no link to what git does not track."""
    file = Path(module.file)
    depth = module.name.count(".") + 1
    if file.stem == "__init__":
        depth += 1
    in_root = Path(*file.parts[-depth:])
    places = [in_root, Path("src", in_root)]
    places += [file.relative_to(top) for top in (repository, *trees) if file.is_relative_to(top)]
    files = [tree / place for tree in trees for place in places]
    return any(own.is_file() and own.resolve().is_relative_to(tree) for own in files for tree in trees)
