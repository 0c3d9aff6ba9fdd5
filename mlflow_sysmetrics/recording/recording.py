"""A measurement on its way into a run: what the logger and `mlflow-sysmetrics run` have in common."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.common.time_limits import DELIVER_S
from mlflow_sysmetrics.delivery import Run, window_points
from mlflow_sysmetrics.delivery.journal import InUseError
from mlflow_sysmetrics.delivery.operations import SYSTEM_PREFIX
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.recording.outcome import Outcome
from mlflow_sysmetrics.recording.tags import MEMORY_DEFINITION, NODE, PID
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION as DEFINITION

logger = get_logger(__name__)


class Recording:
    """The series of a measurement in a run while it lasts, and its summary and outcome at the end.

    Starts no thread: whoever has one calls `move`, from one thread at a time.

    Args:
        prefix: of the names of the series, and without ``system/`` of those of the summary.

    Attributes:
        figures: values of the summary that are not measured, or replace what is.
    """

    def __init__(self, measurement: Measurement, run: Run, prefix: str = SYSTEM_PREFIX) -> None:
        self.measurement = measurement
        self.run = run
        self.prefix = prefix
        self.figures: dict[str, float] = {}

    @property
    def summary(self) -> dict[str, float]:
        """What was measured so far, with the figures."""
        return self.measurement.summary | self.figures

    def begin(self) -> bool:
        """Take the series of the run, and tag it with the machine; False where another process has them.

        From now on what waits for the store is kept on disk, too. Waits for the disk.
        """
        try:
            self.run.keep_journal(self.prefix)
        except InUseError:
            run_id = self.run.run_id
            logger.warning("run %s: another logger records its %s*, and this one does not", run_id, self.prefix)
            return False
        except OSError as error:  # a TimeoutError, too
            logger.warning("while MLflow is away, system metrics wait in memory only. %s", error)
        self.run.log(tags=machine_tags(self.measurement.pid))
        return True

    def move(self, windows: Sequence[Window] | None = None) -> Sequence[Window]:
        """Log these windows, or else those that have closed since the last call; return them.

        The journal gets the summary so far: if the process is killed, `sync` delivers it.
        """
        if windows is None:
            windows = self.measurement.drain()
        if windows:
            self.run.log(window_points(windows, self.prefix))
            self.run.checkpoint(self._named_summary(), self.measurement.began_ms)
        return windows

    def end(self, outcome: Outcome | None = None, timeout_s: float = DELIVER_S) -> bool:
        """Log the summary, and the outcome of a run that ends now; deliver all, and say whether nothing is left.

        The measurement was stopped, and its windows were moved. The program's own values of the same names are kept.
        """
        self.run.log(summary=self._named_summary(), unless_logged_since_ms=self.measurement.began_ms)
        if outcome is not None:
            self.run.end(outcome)
        return self.run.close(timeout_s)

    def _named_summary(self) -> dict[str, float]:
        prefix = self.prefix.removeprefix(SYSTEM_PREFIX)
        return {f"{prefix}{name}": value for name, value in self.summary.items()}


def machine_tags(pid: int | None = None) -> dict[str, object]:
    """The tags that say which process was measured, None: this one, and on which machine."""
    return {NODE: platform.node(), MEMORY_DEFINITION: DEFINITION, PID: pid or os.getpid()}
