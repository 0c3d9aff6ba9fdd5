"""A program with the code of a commit, and with that of today: each in a git worktree of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from mlflow_gate.check.contest import BASELINE, CANDIDATE, failure
from mlflow_gate.check.programs import Program

_MADE = {"__pycache__", "build", "dist", ".egg-info", ".so"}  # of the candidate's code, as an environment is
_FETCH_ALL = "git fetch --unshallow origin '+refs/heads/*:refs/remotes/origin/*'"
_SUBMODULE = "160000"  # the mode that git gives one


def repository_of(folder: Path) -> Path:
    """The top folder of the repository. click.UsageError: there is none."""
    return Path(_git(folder, "rev-parse", "--show-toplevel"))


@contextlib.contextmanager
def in_worktrees(candidate: Program, repository: Path, revision: str, setup: str | None) -> Iterator[list[Program]]:
    """Baseline and candidate, where the baseline is the same command with the code of a commit.

    Each has a worktree of its own, at paths of equal length. `setup` is a command that prepares either.
    click.UsageError: git has no such commit, or the command names a file of the candidate.
    """
    baseline = _commit_of(repository, revision)
    try:
        with tempfile.TemporaryDirectory(prefix="mlflow-sysmetrics-", ignore_cleanup_errors=True) as folder:
            programs = []
            for side, commit, place in ((BASELINE, baseline, "side_a"), (CANDIDATE, None, "side_b")):
                tree = Path(folder).resolve() / place
                _check_out(repository, tree, commit)
                program = _moved(replace(candidate, side=side), repository, tree)
                if setup:
                    _set_up(program, setup)
                programs.append(program)
            for word in candidate.command:
                if word.startswith(f"{repository}/") and (tree / word.removeprefix(f"{repository}/")).exists():
                    raise click.UsageError(f"{word} is the candidate's on both sides: write its path from {Path.cwd()}")
            yield programs
    finally:
        _prune(repository)


def _commit_of(repository: Path, revision: str) -> str:
    """The hash of a commit. click.UsageError: git does not know it."""
    problem = "is empty: the merge base was not found"
    if revision:
        for name in (revision, f"origin/{revision}"):  # a pipeline's clone may have no branch of its own
            with contextlib.suppress(click.UsageError):
                return _git(repository, "rev-parse", "--verify", f"{name}^{{commit}}")
        problem = f"{revision}: git does not know this commit"
    advice = "give a branch, a tag or a hash of this repository"
    if _git(repository, "rev-parse", "--is-shallow-repository") == "true":
        advice = f"this clone is shallow: check out with fetch-depth: 0 (GitLab: GIT_DEPTH: 0), or type {_FETCH_ALL}"
    raise click.UsageError(f"--baseline-commit {problem}; {advice}")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)
    if done.returncode:
        raise click.UsageError(f"git in {folder}: {done.stderr.splitlines()[0]}")
    return done.stdout.strip()


def _check_out(repository: Path, tree: Path, commit: str | None) -> None:
    """Make a worktree of a commit, None: of what is there now; with its submodules, and what git does not track."""
    current = _git(repository, "stash", "create") or "HEAD"
    _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), commit or current)
    for name, its_commit in _submodules(tree):
        if (repository / name / ".git").exists():  # else it is not needed here
            _check_out(repository / name, tree / name, its_commit if commit else None)
    _take_untracked(repository, tree)


def _prune(repository: Path) -> None:
    _git(repository, "worktree", "prune")
    for name, _ in _submodules(repository):
        if (repository / name / ".git").exists():
            _prune(repository / name)


def _submodules(tree: Path) -> list[tuple[str, str]]:
    """The submodules of a worktree: their paths in it, and their commits."""
    found = []
    for line in _git(tree, "ls-files", "--stage", "-z").split("\0"):
        about, _, name = line.partition("\t")
        if about.startswith(_SUBMODULE):
            found.append((name, about.split()[1]))
    return found


def _moved(program: Program, repository: Path, tree: Path) -> Program:
    """The program in a worktree, with what PYTHONPATH has of the repository."""

    def moved(folder: Path) -> Path:
        return tree / folder.relative_to(repository) if folder.is_relative_to(repository) else folder

    entries = filter(None, program.environment.get("PYTHONPATH", "").split(os.pathsep))
    paths = [str(moved(Path(os.path.normpath(program.folder / entry)))) for entry in entries]
    environment = {**program.environment, "PYTHONPATH": os.pathsep.join(paths)}
    return replace(program, folder=moved(program.folder), environment=environment, tree=tree)


def _take_untracked(repository: Path, tree: Path) -> None:
    """Link what git does not track, which may be large; copy code: Python imports from the folder that a link names."""
    for name in _git(repository, "ls-files", "--others", "--directory", "-z").split("\0"):
        here = repository / name
        there = tree / name
        is_made = here.name in _MADE or here.suffix in _MADE or (here / "pyvenv.cfg").exists()
        if is_made or there.exists():
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        if here.suffix == ".py":
            shutil.copy(here, there)
        else:
            there.symlink_to(here)


def _set_up(program: Program, command: str) -> None:
    done = subprocess.run(
        command, shell=True, cwd=program.folder, env=program.environment, capture_output=True, text=True
    )
    if done.returncode:
        last = f"{done.stdout}{done.stderr}".strip().rpartition("\n")[2]
        raise failure(program.side, f"could not be set up, --setup ended with exit code {done.returncode}: {last}")
