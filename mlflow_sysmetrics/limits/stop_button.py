"""The stop button of the MLflow UI: somebody sets the tag ``sysmetrics.stop`` on a run's page."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Mapping

from mlflow_sysmetrics.delivery import pause_after
from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)
ASK_EVERY_S = 2.0


class StopButton:
    """Asks the store every two seconds, in a thread, whether somebody has pressed it. Nothing raises.

    One request is for all runs together. While the store is known to be away there is none, and after one that failed
    the next comes later and later.

    Args:
        ask: the runs whose tag is set: by id, what it is set to.
        pressed: called for each of them, in the thread: ends what writes the run, and says whether that is ours. Not
            called again then.
        clear: called after it, with the run's id: whoever goes on in that run would be ended again. The tag of a run
            that is not ours stays, for whoever writes it.
        is_away: whether the store is known to be away.
        every_s: seconds between two requests.
    """

    def __init__(
        self,
        ask: Callable[[], Mapping[str, str]],
        pressed: Callable[[str, str], bool],
        clear: Callable[[str], None],
        *,
        is_away: Callable[[], bool],
        every_s: float = ASK_EVERY_S,
    ) -> None:
        self._ask, self._pressed, self._clear = ask, pressed, clear
        self._is_away, self._every_s = is_away, every_s
        self._seen: set[str] = set()
        self._stopping = threading.Event()
        self._failures = 0
        run = contextvars.copy_context().run  # MLflow keeps its workspace there
        self._thread = threading.Thread(target=run, args=(self._work,), name="mlflow-sysmetrics-button", daemon=True)

    def start(self) -> StopButton:
        """Start the thread."""
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads
            logger.warning("this run cannot be stopped from the MLflow UI: %s", error)
        return self

    def stop(self) -> None:
        """Ask no more. Does not wait for a request under way."""
        self._stopping.set()

    def _work(self) -> None:
        while not self._stopping.wait(self._pause_s()):
            if self._is_away():
                continue
            try:
                self._look()
            except Exception:  # whoever delivers says that the store is away
                self._failures += 1
            else:
                self._failures = 0

    def _pause_s(self) -> float:
        return max(self._every_s, pause_after(self._failures)) if self._failures else self._every_s

    def _look(self) -> None:
        for run_id, said in self._ask().items():
            if run_id not in self._seen and not self._stopping.is_set():
                try:
                    is_ours = self._pressed(run_id, said)
                except Exception:
                    logger.warning("run %s could not be stopped yet", run_id, exc_info=True)
                    continue
                if not is_ours:  # it may become so: a trial that is still to go on has its run already
                    continue
                self._seen.add(run_id)
                with contextlib.suppress(Exception):
                    self._clear(run_id)
