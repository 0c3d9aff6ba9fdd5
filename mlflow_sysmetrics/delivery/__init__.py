"""Where a measurement goes: MLflow runs, through outages of the store, and to disk.

What a run is to get are `operations`. They wait, in order, in its `outbox`, which may copy them to a `journal` on disk.
`replay` brings them to the `store`: in the thread of a `writer`, or in `sync`, which reads the journals that ended
processes have left.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlflow_sysmetrics.delivery.operations import SYSTEM_PREFIX, Point, now_ms, points_now, window_points
from mlflow_sysmetrics.delivery.waiting import within

if TYPE_CHECKING:
    from mlflow_sysmetrics.delivery.journal import InUseError, Journal, journal_folder
    from mlflow_sysmetrics.delivery.outbox import Outbox
    from mlflow_sysmetrics.delivery.store import DeletedRunError, NoSuchRunError, Store, StoredRun, find_run  # isort: skip
    from mlflow_sysmetrics.delivery.store import named_experiment, one_line, why_unknown
    from mlflow_sysmetrics.delivery.sync import Delivered, deliver
    from mlflow_sysmetrics.delivery.writer import Writer, keep_end

__all__ = [
    "SYSTEM_PREFIX", "DeletedRunError", "Delivered", "InUseError", "Journal", "NoSuchRunError", "Outbox", "Point",
    "Store", "StoredRun", "Writer", "deliver", "find_run", "journal_folder", "keep_end", "named_experiment", "now_ms",
    "one_line", "points_now", "why_unknown", "window_points", "within",
]  # fmt: skip
_HOME = {
    "journal": "InUseError Journal journal_folder",
    "store": "DeletedRunError NoSuchRunError Store StoredRun find_run named_experiment one_line why_unknown",
    "sync": "Delivered deliver",
    "outbox": "Outbox",
    "writer": "Writer keep_end",
}


def __getattr__(name: str) -> Any:
    """Import at the first use what needs MLflow (PEP 562): points do not."""
    for module, names in _HOME.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
