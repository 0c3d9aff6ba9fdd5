"""Each MLflow run that this process opens is measured: because it asks for it, or for the command around it.

`autolog` gives every run a logger of its own. Under `mlflow-sysmetrics run` and the project backend that command
records the program, so there the runs are only measured, and the command reads in a file, the channel, when each run
began and ended, and its summary. It decides what is written into which run.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

from mlflow_sysmetrics.channel import CHANNEL, emit
from mlflow_sysmetrics.host import is_on

if TYPE_CHECKING:
    from mlflow_sysmetrics.logger import SystemMetricsLogger
    from mlflow_sysmetrics.measurement import Measurement

_enabled = _hooked = False
_open: dict[tuple[int, str], Measurement | SystemMetricsLogger] = {}  # by process and run
_statuses: dict[str, str] = {}  # of runs that are to end otherwise than FINISHED


def autolog(disable: bool = False) -> None:
    """Measure each later `mlflow.start_run()` of this process, nested ones too, until the run ends.

    Each has a `SystemMetricsLogger` of its own, which is stopped before MLflow ends the run. No-op if it is on already,
    where MLFLOW_SYSMETRICS=0, and under `mlflow-sysmetrics run`, which records the program and its runs.

    Args:
        disable: do so no more. Runs that are open are recorded to their end.
    """
    global _enabled
    if os.environ.get(CHANNEL) or not is_on():
        return
    _enabled = not disable
    if _enabled:
        _hook_now()


def end_as(run_id: str, status: str) -> None:
    """Have a run of this process end with this status where MLflow would say FINISHED."""
    _statuses[run_id] = status
    _hook_now()


def follow() -> None:
    """Tell the command around this process of its runs from now on. Called while `mlflow` is being imported."""
    global _enabled
    from mlflow.utils.import_hooks import register_post_import_hook

    _enabled = True
    emit(mlflow=os.getpid())
    register_post_import_hook(_hook, "mlflow.tracking.fluent")


def _hook_now() -> None:
    if not _hooked:
        from mlflow.tracking import fluent

        _hook(fluent)


def _hook(fluent: Any) -> None:
    """Have MLflow call us when a run was opened, and before it is ended, by whichever of its functions."""
    global _hooked
    run_class, client_class = fluent.ActiveRun, fluent.MlflowClient
    init, set_terminated = run_class.__init__, client_class.set_terminated

    @functools.wraps(init)
    def opened(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        with contextlib.suppress(Exception):  # the program matters more
            _opened(self, fluent.active_run())

    @functools.wraps(set_terminated)
    def ended(self: Any, run_id: str, status: str | None = None, end_time: int | None = None) -> Any:
        with contextlib.suppress(Exception):
            _ended(run_id)
        other = _statuses.pop(run_id, None)
        if status in (None, "FINISHED"):
            status = other or status
        return set_terminated(self, run_id, status, end_time)

    run_class.__init__, client_class.set_terminated = opened, ended
    _hooked = True


def _opened(run: Any, around: Any) -> None:
    run_id = run.info.run_id
    if not _enabled or (os.getpid(), run_id) in _open:  # the latter: suspended, and taken up again
        return
    if not os.environ.get(CHANNEL):
        from mlflow_sysmetrics.logger import SystemMetricsLogger

        recorder: Measurement | SystemMetricsLogger = SystemMetricsLogger(run_id)
    else:
        import mlflow

        from mlflow_sysmetrics.measurement import Measurement
        from mlflow_sysmetrics.redact import lasting_uri

        recorder = Measurement()
        parent = run.data.tags.get("mlflow.parentRunId") or (around.info.run_id if around else None)
        uri = lasting_uri(mlflow.get_tracking_uri())
        emit(start=run_id, experiment_id=run.info.experiment_id, tracking_uri=uri, parent=parent)
    _open[os.getpid(), run_id] = recorder
    recorder.start()


def _ended(run_id: str) -> None:
    if (recorder := _open.pop((os.getpid(), run_id), None)) is not None:
        summary = recorder.stop()
        emit(end=run_id, summary=summary)
