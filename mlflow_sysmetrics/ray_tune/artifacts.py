"""The files that Tune keeps of a trial, into its run."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from mlflow import MlflowClient

from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)

_CREATED_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.2


class Artifacts:
    """Copies folders into runs, one after the other, in a thread: files may be large, and nothing else waits for them.

    Args:
        client: of the runs' store.
        run_id: a trial's id -> that of its run; None while it has none.
    """

    def __init__(self, client: MlflowClient, run_id: Callable[[str], str | None]) -> None:
        self._client, self._run_id = client, run_id
        self._todo: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._saved = self._done = 0  # folders
        self._closing = threading.Event()
        self._given_up = False
        run = contextvars.copy_context().run  # MLflow keeps its workspace there
        # A daemon: the interpreter's end does not wait for it, though it may for threads of a cloud store's client.
        self._thread = threading.Thread(target=run, args=(self._work,), name="mlflow-sysmetrics-artifacts", daemon=True)

    def save(self, trial_id: str, folder: str) -> None:
        """Have a folder copied into the trial's run. Never raises."""
        self._saved += 1
        self._todo.put((trial_id, folder))
        if not self._thread.is_alive():
            with suppress(RuntimeError):  # no more threads
                self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Wait for what is left, at most `timeout_s`. Runs that do not exist by now are not waited for.

        What is not copied by then is told, and may be cut off by the end of the program.
        """
        self._closing.set()
        self._todo.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._given_up = True
        if left := self._saved - self._done:
            logger.warning("there was no time to copy all files: those of %d trials are not in their runs", left)

    def _work(self) -> None:
        while (task := self._todo.get()) is not None and not self._given_up:
            self._copy(*task)
            self._done += 1

    def _copy(self, trial_id: str, folder: str) -> None:
        try:
            deadline = time.monotonic() + _CREATED_WITHIN_S
            while (run_id := self._run_id(trial_id)) is None:
                if time.monotonic() > deadline or self._closing.wait(_LOOK_EVERY_S):
                    raise TimeoutError("its run was not created")
            self._client.log_artifacts(run_id, folder)
        except Exception:
            logger.warning("the files of trial %s are not in its run", trial_id, exc_info=True)
