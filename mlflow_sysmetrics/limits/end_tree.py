"""How a process, and those below it, is ended from outside: asked first, then killed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

import psutil

GRACE_S = 10.0  # from SIGTERM to SIGKILL
KILLED_WITHIN_S = 5.0  # the kernel takes a moment to free much memory
_LOOK_EVERY_S = 0.05


def end_tree(root: psutil.Process, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic) -> bool:
    """End a process and all below it; say whether all are gone.

    Each gets SIGTERM. What is there after `grace_s` gets SIGKILL, and so does what it starts meanwhile. Where the
    process is this one, it comes after all others. Exit statuses are left to the parents.
    """
    tree = _Tree(root)
    if root.pid == os.getpid():
        tree.without_root = True
        _ended(tree, grace_s, clock)
        tree.without_root = False
    return _ended(tree, grace_s, clock)


def _ended(tree: _Tree, grace_s: float, clock: Callable[[], float]) -> bool:
    if _gone(tree, psutil.Process.terminate, clock() + grace_s, clock):
        return True
    return _gone(tree, psutil.Process.kill, clock() + KILLED_WITHIN_S, clock)


def _gone(tree: _Tree, end: Callable[[psutil.Process], None], deadline: float, clock: Callable[[], float]) -> bool:
    """Send each process of a tree this signal, once, and wait for their end; say whether all have ended in time."""
    told: set[psutil.Process] = set()
    while living := tree.living():
        for process in living:
            if process not in told:
                told.add(process)
                with contextlib.suppress(psutil.Error):
                    end(process)
        if clock() >= deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


class _Tree:
    """A process and those below it, also those that start while it is being ended."""

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._known: dict[psutil.Process, None] = {root: None}
        self.without_root = False

    def living(self) -> list[psutil.Process]:
        """Those that run, parents before their children."""
        for process in list(self._known):
            with contextlib.suppress(psutil.Error):
                self._known.update(dict.fromkeys(process.children(recursive=True)))
        wanted = (process for process in self._known if not (self.without_root and process == self._root))
        return [process for process in wanted if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
