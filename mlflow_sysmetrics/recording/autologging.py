"""Each MLflow run that this process opens is measured: because it asks for it, or for the command around it.

`autolog` gives every run a logger of its own. Under `mlflow-sysmetrics run` and the project backend that command
records the program, so there the runs are only measured, and the command reads in a file of events when each run was
opened and ended, and its summary. It decides what is written into which run.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.recording.events import EVENT_FILE, emit, is_on

if TYPE_CHECKING:
    from mlflow_sysmetrics.measurement import Measurement
    from mlflow_sysmetrics.recording.logger import SystemMetricsLogger

logger = get_logger(__name__)
_enabled = False
_hooked = False
_open: dict[tuple[int, str], Measurement | SystemMetricsLogger] = {}  # by process and run
_statuses: dict[str, str] = {}  # of runs that end otherwise than MLflow says


def autolog(disable: bool = False) -> None:
    """Measure each later `mlflow.start_run()` of this process, nested ones too, until the run ends.

    Each has a `SystemMetricsLogger` of its own, which is stopped before MLflow ends the run. No-op if it is on already,
    where MLFLOW_SYSMETRICS=0, and under `mlflow-sysmetrics run`, which records the program and its runs.

    Args:
        disable: do so no more. Runs that are open are recorded to their end.
    """
    global _enabled
    if os.environ.get(EVENT_FILE) or not is_on():
        return
    _enabled = not disable
    if _enabled:
        _hook_now()
        _warn_of_open_run()


def _warn_of_open_run() -> None:
    import mlflow

    run = mlflow.active_run()
    if run is not None and (os.getpid(), run.info.run_id) not in _open:
        name = run.info.run_name
        logger.warning("run %r is not measured: call autolog() before mlflow.start_run()", name)


def is_measured(run_id: str) -> bool:
    """Whether a run gets its summary from a logger of this process, or from the command around it."""
    from mlflow_sysmetrics.recording.logger import recorded_runs

    return (os.getpid(), run_id) in _open or run_id in recorded_runs()


def override_status(run_id: str, status: str) -> None:
    """Have a run of this process end with this status where MLflow would say FINISHED."""
    _statuses[run_id] = status
    _hook_now()


def emit_events() -> None:
    """Tell the command around this process that it imports `mlflow`, and from now on of its runs."""
    global _enabled
    from mlflow.utils.import_hooks import register_post_import_hook

    emit("imported")
    _enabled = True
    register_post_import_hook(_hook, "mlflow.tracking.fluent")


def _hook_now() -> None:
    if not _hooked:
        from mlflow.tracking import fluent

        _hook(fluent)


def _hook(fluent: Any) -> None:
    """Have MLflow call us when a run was opened, and before it ends, by whichever of its functions."""
    global _hooked
    run_class = fluent.ActiveRun
    client_class = fluent.MlflowClient
    init = run_class.__init__
    set_terminated = client_class.set_terminated

    @functools.wraps(init)
    def opened(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        with never_raises("measuring an MLflow run"):
            _opened(self, fluent.active_run())

    @functools.wraps(set_terminated)
    def ended(self: Any, run_id: str, status: str | None = None, end_time: int | None = None) -> Any:
        with never_raises("measuring an MLflow run"):
            _ended(run_id)
        override = _statuses.pop(run_id, None)
        if status in (None, "FINISHED"):
            status = override or status
        try:
            return set_terminated(self, run_id, status, end_time)
        except BaseException:  # the store is away: the command around this process ends the run
            emit("not_ended", run_id=run_id)
            raise

    run_class.__init__ = opened
    client_class.set_terminated = ended
    _hooked = True


def _opened(run: Any, around: Any) -> None:
    run_id = run.info.run_id
    if not _enabled or (os.getpid(), run_id) in _open:  # the latter: suspended, and taken up again
        return
    recorder: Measurement | SystemMetricsLogger
    if not os.environ.get(EVENT_FILE):
        from mlflow_sysmetrics.recording.logger import SystemMetricsLogger

        recorder = SystemMetricsLogger(run_id)
    else:
        import mlflow

        from mlflow_sysmetrics.common.redact import lasting_uri
        from mlflow_sysmetrics.measurement import Measurement

        recorder = Measurement()
        parent_id = run.data.tags.get("mlflow.parentRunId") or (around.info.run_id if around else None)
        uri = lasting_uri(mlflow.get_tracking_uri())
        emit("opened", run_id=run_id, experiment_id=run.info.experiment_id, tracking_uri=uri, parent_id=parent_id)
    _open[os.getpid(), run_id] = recorder
    recorder.start()


def _ended(run_id: str) -> None:
    recorder = _open.pop((os.getpid(), run_id), None)
    if recorder is not None:
        emit("ended", run_id=run_id, summary=recorder.stop())
