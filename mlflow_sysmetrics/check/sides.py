"""What is compared with a candidate: another command, or the code of a commit."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path

import click

_MADE = {"__pycache__", "build", "dist", ".egg-info", ".so"}  # of the candidate's code, as an environment is


class CheckError(click.ClickException):
    """Nothing can be compared."""

    exit_code = 3


class CandidateError(CheckError):
    """The same, and that is the candidate's fault."""

    exit_code = 1


@dataclass(frozen=True)
class Side:
    """A program: ``baseline`` or ``candidate``, its command with ``{pair}`` for the number of a pair, and where."""

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]

    def failed(self, how: str) -> CheckError:
        kind = CandidateError if self.name == "candidate" else CheckError
        return kind(f"the {self.name} {how}")

    def number(self, metrics: Mapping[str, float], name: str) -> float:
        """A metric of one of its runs. CheckError: there is none."""
        if not math.isfinite(metrics.get(name, math.nan)):
            known = ", ".join(sorted(each for each in metrics if "/" not in each)) or "none"
            raise self.failed(f"has no finite metric {name!r} in its run, which has {known}")
        return metrics[name]


@contextlib.contextmanager
def of_commit(candidate: Side, revision: str, setup: str | None) -> Iterator[list[Side]]:
    """Baseline and candidate, where the baseline is the same command with the code of a commit.

    Each has a worktree of its own, at paths of equal length. `setup` is a command that prepares either.
    click.UsageError: git has no such commit, or an import would take the code of neither side.
    """
    top = Path(_git(candidate.folder, "rev-parse", "--show-toplevel"))
    if not setup and "PYTHONPATH" not in candidate.environment:
        _check_imports(top)
    after = _git(top, "stash", "create") or "HEAD"
    try:
        with tempfile.TemporaryDirectory(prefix="mlflow-sysmetrics-", ignore_cleanup_errors=True) as folder:
            found = []
            for name, commit, place in (("baseline", revision, "side_a"), ("candidate", after, "side_b")):
                tree = Path(folder) / place
                _git(top, "worktree", "add", "--quiet", "--detach", str(tree), commit)
                _take_untracked(top, tree)
                paths = _moved(candidate.environment.get("PYTHONPATH", ""), top, tree)
                environment, here = {**candidate.environment, "PYTHONPATH": paths}, candidate.folder.relative_to(top)
                found.append(side := replace(candidate, name=name, folder=tree / here, environment=environment))
                if setup:
                    _set_up(side, setup)
            for word in candidate.command:
                if word.startswith(f"{top}/") and (tree / word.removeprefix(f"{top}/")).exists():
                    raise click.UsageError(f"{word} is the candidate's on both sides: write its path from {Path.cwd()}")
            yield found
    finally:
        _git(top, "worktree", "prune")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)
    if done.returncode:
        raise click.UsageError("git: " + done.stderr.partition("\n")[0])
    return done.stdout.strip()


def _check_imports(top: Path) -> None:
    for each in distributions():
        told = json.loads(each.read_text("direct_url.json") or "{}")
        if told.get("dir_info", {}).get("editable") and f"{told['url']}/".startswith(f"{top.as_uri()}/"):
            said = f"{each.name} is installed from {top}, so that both sides would import that code"
            raise click.UsageError(f"{said}: give --setup, which installs the code of each side, or PYTHONPATH=.")


def _moved(paths: str, top: Path, tree: Path) -> str:
    """A search path with the folders of a worktree in place of those of the repository."""
    moved = []
    for folder in paths.split(os.pathsep):
        is_inside = Path(folder).is_relative_to(top)
        moved.append(str(tree / Path(folder).relative_to(top)) if is_inside else folder)
    return os.pathsep.join(moved)


def _take_untracked(top: Path, tree: Path) -> None:
    """Link what git does not track, which may be large; copy code: Python imports from the folder that a link names."""
    for name in _git(top, "ls-files", "--others", "--directory", "-z").split("\0"):
        here, there = top / name, tree / name
        is_made = here.name in _MADE or here.suffix in _MADE or (here / "pyvenv.cfg").exists()
        if not is_made and not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there) if here.suffix == ".py" else there.symlink_to(here)


def _set_up(side: Side, command: str) -> None:
    done = subprocess.run(command, shell=True, cwd=side.folder, env=side.environment, capture_output=True, text=True)
    if done.returncode:
        last = f"{done.stdout}{done.stderr}".strip().rpartition("\n")[2]
        raise side.failed(f"could not be set up, --setup ended with exit code {done.returncode}: {last}")
