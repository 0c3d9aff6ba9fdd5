"""What ends a process before its own end, for a broken limit or the tag ``sysmetrics.stop`` of a run, and how."""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from mlflow_sysmetrics.limits.grammar import Limits
from mlflow_sysmetrics.limits.rules import Stop, Values
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import BY_PERSON, STOP, STOP_REASON, STOPPED_BY

logger = get_logger(__name__)
MAX_PAUSE_S = 30.0  # between two requests
GRACE_S = 10.0  # from SIGTERM to SIGKILL
KILLED_WITHIN_S = 5.0  # the kernel takes a moment to free much memory
_LOOK_EVERY_S = 0.05


class Brake:
    """Calls `end`, at most once, in a thread of its own, with the tags that say why. Nothing raises.

    A reading without the metric `judged_while` is not judged: the process is gone, and only its time goes on.
    """

    def __init__(
        self, end: Callable[[Mapping[str, str]], None], limits: Limits | None = None, *, judged_while: str = ""
    ) -> None:
        self._end, self._judge, self._judged_while = end, (limits or Limits(())).judge(), judged_while
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._released = False
        self.tags: Mapping[str, str] = {}  # why it was pulled; empty before
        self.broken: Stop | None = None  # the limit, if it was one

    def see(self, values: Values) -> None:
        stop = self._judge.crossed(values) if not self._judged_while or self._judged_while in values else None
        if stop is not None:
            self._pull(stop.tags(), stop)

    def press(self, said: str = "") -> bool:
        """End the process because a person set the tag to this text. Always True: the run is ours, see `StopButton`."""
        self._pull({STOPPED_BY: BY_PERSON, STOP_REASON: reason_of_a_person(said)})
        return True

    def release(self) -> None:
        """The process has ended: from now on there is nothing to end."""
        with self._lock:
            self._released = True

    def join(self, timeout_s: float) -> None:
        if (thread := self._thread) is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _pull(self, tags: Mapping[str, str], broken: Stop | None = None) -> None:
        with self._lock:
            if self._released or self.tags:
                return
            self.tags, self.broken = tags, broken
        self._thread = threading.Thread(target=self._pulled, name="mlflow-sysmetrics-brake", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads
            self._pulled()
        logger.warning("stopping: %s", tags[STOP_REASON])  # last: the log may be on a disk that hangs

    def _pulled(self) -> None:
        try:
            self._end(self.tags)
        except Exception:
            logger.warning("the reaction to a broken limit or a stop request has failed", exc_info=True)


def reason_of_a_person(said: str) -> str:
    """Why a run was ended whose tag was set to this text."""
    return f"the tag {STOP} was set to {said!r}" if said else f"the tag {STOP} was set"


@dataclass(eq=False)
class StopButton:
    """Asks the store, in a thread, whether the tag was set; after a failure, later and later. Nothing raises."""

    ask: Callable[[], Mapping[str, str]]  # all runs whose tag is set: by id, what it is set to
    pressed: Callable[[str, str], bool]  # ends what writes a run, and says whether that is ours; `stop` waits for it
    clear: Callable[[str], None]  # removes the tag: whoever goes on in the run would be ended again; may take its time
    is_away: Callable[[], bool]  # whether the store is known to be away: then it is not asked
    every_s: float = 2.0

    def __post_init__(self) -> None:
        self._ended, self._cleared = set[str](), set[str]()
        self._stopping = threading.Event()
        self._pressing = threading.RLock()  # a signal may come in the middle of stop, and its handler call stop again
        run = contextvars.copy_context().run  # MLflow keeps its workspace there
        self._thread = threading.Thread(target=run, args=(self._work,), name="mlflow-sysmetrics-button", daemon=True)

    def start(self) -> StopButton:
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads
            logger.warning("this run cannot be stopped from the MLflow UI: %s", error)
        return self

    def stop(self) -> None:
        """From now on nothing is pressed, whatever the answer to a request that is under way; it is not waited for."""
        self._stopping.set()
        with self._pressing:
            pass

    def _work(self) -> None:
        pause_s = self.every_s
        while not self._stopping.wait(pause_s):
            try:
                asked = {} if self.is_away() else self.ask()
                pause_s = self.every_s
            except Exception:  # whoever delivers says that the store is away
                asked, pause_s = {}, min(2 * pause_s, MAX_PAUSE_S)
            for run_id, said in asked.items():
                try:
                    with self._pressing:
                        if run_id not in self._ended and not self._stopping.is_set() and self.pressed(run_id, said):
                            self._ended.add(run_id)  # another may become ours
                    if run_id in self._ended - self._cleared:
                        self.clear(run_id)
                        self._cleared.add(run_id)
                except Exception:
                    logger.warning("run %s could not be stopped yet; trying again", run_id, exc_info=True)


def end_tree(root: psutil.Process, grace_s: float = GRACE_S) -> bool:
    """End a process and all below it; say whether all are gone.

    Each gets SIGTERM. What is there after `grace_s` gets SIGKILL, and so does what it starts meanwhile. Where the
    process is this one, it comes after all others. Exit statuses are left to the parents.
    """
    tree = {root: None}  # and all that was ever seen below it, parents before their children

    def gone(end: Callable[[psutil.Process], None], within_s: float, spared: psutil.Process | None = None) -> bool:
        """Send each this signal, once, and wait for their end. `psutil.wait_procs` would take their exit statuses."""
        told, deadline = set[psutil.Process](), time.monotonic() + within_s
        while True:
            for process in list(tree):
                with contextlib.suppress(psutil.Error):
                    tree.update(dict.fromkeys(process.children(recursive=True)))
            living = False
            for process in tree:
                with contextlib.suppress(psutil.Error):
                    if process != spared and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                        living = True
                        if process not in told:
                            told.add(process)
                            end(process)
            if not living or time.monotonic() >= deadline:
                return not living
            time.sleep(_LOOK_EVERY_S)

    if root.pid == os.getpid() and not gone(psutil.Process.terminate, grace_s, root):
        gone(psutil.Process.kill, KILLED_WITHIN_S, root)
    return gone(psutil.Process.terminate, grace_s) or gone(psutil.Process.kill, KILLED_WITHIN_S)
