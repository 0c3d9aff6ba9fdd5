"""Each MLflow run that this process opens is measured: because it asks for it, or for the command around it.

`autolog` gives every run a logger of its own. Under `mlflow-sysmetrics run` and the project backend that command
records the program, so there the runs are only measured, and the command reads in a file, the channel, when each run
began and ended, and its summary. It decides what is written into which run.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mlflow_sysmetrics.host import CHANNEL, is_on

_FLUENT = "mlflow.tracking.fluent"


class _Recorder(Protocol):
    def start(self) -> object: ...

    def stop(self) -> Mapping[str, float]: ...


_make: Callable[[str], _Recorder] | None = None  # of a run that was opened
_open: dict[str, tuple[int, _Recorder]] = {}  # by run: the process that measures it, and what does
_hooked = False


def autolog(disable: bool = False) -> None:
    """Measure each later `mlflow.start_run()` of this process, nested ones too, until the run ends.

    Each has a `SystemMetricsLogger` of its own, which is stopped before MLflow ends the run. No-op if it is on already,
    where MLFLOW_SYSMETRICS=0, and under `mlflow-sysmetrics run`, which records the program and its runs.

    Args:
        disable: do so no more. Runs that are open are recorded to their end.
    """
    global _make
    if os.environ.get(CHANNEL) or not is_on():
        return
    _make = None if disable else _logger
    if not disable:
        import mlflow.tracking.fluent  # noqa: F401

        hook()


def follow() -> None:
    """Tell the command around this process of its runs from now on. Called while `mlflow` is being imported."""
    global _make
    _make = _measurement
    _say(mlflow=os.getpid())
    with contextlib.suppress(Exception):  # then it begins at the first run that is new
        from mlflow.utils.import_hooks import register_post_import_hook

        register_post_import_hook(hook, _FLUENT)


def hook(fluent: Any = None) -> None:
    """Have MLflow call us when a run was opened, and before it is ended, by whichever of its functions. Idempotent."""
    global _hooked
    fluent = fluent or sys.modules[_FLUENT]
    run_class, client_class = fluent.ActiveRun, fluent.MlflowClient
    if _hooked:
        return
    init, set_terminated = run_class.__init__, client_class.set_terminated

    @functools.wraps(init)
    def opened(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        with contextlib.suppress(Exception):  # the program matters more
            _opened(self, fluent.active_run())

    @functools.wraps(set_terminated)
    def ended(self: Any, run_id: str, *args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(Exception):
            _ended(run_id)
        return set_terminated(self, run_id, *args, **kwargs)

    run_class.__init__, client_class.set_terminated = opened, ended
    _hooked = True


def _opened(run: Any, around: Any) -> None:
    run_id = run.info.run_id
    if _make is None or _open.get(run_id, (0, None))[0] == os.getpid():  # the latter: suspended, and taken up again
        return
    recorder = _make(run_id)
    _open[run_id] = os.getpid(), recorder
    if os.environ.get(CHANNEL):
        import mlflow

        from mlflow_sysmetrics.redact import lasting_uri

        parent = run.data.tags.get("mlflow.parentRunId") or (around.info.run_id if around else None)
        uri = lasting_uri(mlflow.get_tracking_uri())
        _say(start=run_id, experiment_id=run.info.experiment_id, tracking_uri=uri, parent=parent)
    recorder.start()


def _ended(run_id: str) -> None:
    pid, recorder = _open.pop(run_id, (0, None))
    if recorder is not None and pid == os.getpid():  # a fork has what its parent measures
        summary = recorder.stop()
        if os.environ.get(CHANNEL):
            _say(end=run_id, summary=summary)


def _measurement(run_id: str) -> _Recorder:
    from mlflow_sysmetrics.measurement import Measurement

    return Measurement()


def _logger(run_id: str) -> _Recorder:
    from mlflow_sysmetrics.logger import SystemMetricsLogger

    return SystemMetricsLogger(run_id)


def _say(**line: object) -> None:
    """Append a line to the channel, at once: several processes may write there. Nothing raises."""
    said = json.dumps(line | {"pid": os.getpid(), "time_ms": time.time_ns() // 1_000_000}).encode() + b"\n"
    with contextlib.suppress(OSError):
        descriptor = os.open(os.environ[CHANNEL], os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, said)
        finally:
            os.close(descriptor)
