"""End a process and all below it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

import psutil

from mlflow_sysmetrics.common.time_limits import ENDED_EVERY_S, GRACE_S, KILLED_WITHIN_S


def end_tree(root: psutil.Process, grace_s: float = GRACE_S) -> bool:
    """End a process and all below it; say whether all are gone.

    Each gets SIGTERM. What is there after `grace_s` gets SIGKILL, and so does what it starts meanwhile. Where the
    process is this one, it comes after all others. Exit statuses are left to the parents.
    """
    tree = _Tree(root)
    if root.pid == os.getpid() and not tree.end(psutil.Process.terminate, grace_s, spared=root):
        tree.end(psutil.Process.kill, KILLED_WITHIN_S, spared=root)
    return tree.end(psutil.Process.terminate, grace_s) or tree.end(psutil.Process.kill, KILLED_WITHIN_S)


class _Tree:
    """A process and all that was ever seen below it, parents before their children."""

    def __init__(self, root: psutil.Process) -> None:
        self._members = {root: None}

    def end(
        self, signal: Callable[[psutil.Process], None], within_s: float, spared: psutil.Process | None = None
    ) -> bool:
        """Send each process the signal, once, and wait for their end; say whether all have ended.

        `psutil.wait_procs` would take their exit statuses.
        """
        signalled = set[psutil.Process]()
        deadline = time.monotonic() + within_s
        while True:
            self._look_for_children()
            living = [process for process in self._members if process != spared and _lives(process)]
            for process in living:
                if process not in signalled:
                    signalled.add(process)
                    with contextlib.suppress(psutil.Error):
                        signal(process)
            if not living or time.monotonic() >= deadline:
                return not living
            time.sleep(ENDED_EVERY_S)

    def _look_for_children(self) -> None:
        for process in list(self._members):
            with contextlib.suppress(psutil.Error):
                self._members.update(dict.fromkeys(process.children(recursive=True)))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
