"""The files that Tune keeps of a trial, into its run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from mlflow import MlflowClient

from mlflow_sysmetrics.addresses import get_logger

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
        self._executor = ThreadPoolExecutor(1, "mlflow-sysmetrics-artifacts")
        self._closing = threading.Event()
        self._copies: list[Future[None]] = []

    def save(self, trial_id: str, folder: str) -> None:
        """Have a folder copied into the trial's run. Never raises."""
        self._copies = [copy for copy in self._copies if not copy.done()]
        self._copies.append(self._executor.submit(self._copy, trial_id, folder))

    def close(self, timeout_s: float) -> None:
        """Wait for what is under way, at most ``timeout_s``."""
        wait(self._copies, timeout_s)
        self._closing.set()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _copy(self, trial_id: str, folder: str) -> None:
        try:
            run_id: Any = None
            deadline = time.monotonic() + _CREATED_WITHIN_S
            while (run_id := self._run_id(trial_id)) is None:
                if time.monotonic() > deadline or self._closing.wait(_LOOK_EVERY_S):
                    raise TimeoutError("its run was not created")
            self._client.log_artifacts(run_id, folder)
        except Exception:
            logger.warning("the files of trial %s are not in its run", trial_id, exc_info=True)
