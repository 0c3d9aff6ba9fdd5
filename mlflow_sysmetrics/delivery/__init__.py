"""Where a measurement goes: MLflow runs, through outages of the store, and to disk.

What a run is to get are `operations`. They wait, in order, in its `outbox`, which may copy them to a `journal` on disk.
`replay` brings them to the `store`: in the thread of a `writer`, or in `sync`, which reads the journals that ended
processes have left.
"""

from typing import TYPE_CHECKING

from mlflow_sysmetrics.delivery.operations import Point, log, now_ms, points_now, window_points
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.waiting import within
from mlflow_sysmetrics.lazy import lazy

if TYPE_CHECKING:  # what needs MLflow
    from mlflow_sysmetrics.delivery.door_runs import write_to
    from mlflow_sysmetrics.delivery.store import one_line
    from mlflow_sysmetrics.delivery.writer import keep_end

__all__ = ["Outbox", "Point", "keep_end", "log", "now_ms", "one_line", "points_now", "window_points"]
__all__ += ["within", "write_to"]
__getattr__ = lazy(__name__, {"door_runs": "write_to", "store": "one_line", "writer": "keep_end"})
