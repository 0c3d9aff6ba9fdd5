"""Where a measurement goes: MLflow runs, through outages of the store, and to disk.

What a run is to get are `operations`. They wait, in order, in its `outbox`, which may copy them to a `journal` on disk.
`replay` brings them to the `store`: in the thread of a `writer`, or in `sync`, which reads the journals that ended
processes have left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow_sysmetrics import lazy
from mlflow_sysmetrics.delivery.operations import SYSTEM_PREFIX, Point, now_ms, points_now, window_points
from mlflow_sysmetrics.delivery.waiting import within

if TYPE_CHECKING:  # what needs MLflow
    from mlflow_sysmetrics.delivery.journal import Journal
    from mlflow_sysmetrics.delivery.outbox import Outbox
    from mlflow_sysmetrics.delivery.store import Store, StoredRun, named_experiment, one_line, why_unknown
    from mlflow_sysmetrics.delivery.sync import deliver
    from mlflow_sysmetrics.delivery.writer import Writer, keep_end

__getattr__ = lazy(
    __name__,
    {
        **{"journal": "Journal", "outbox": "Outbox", "sync": "deliver", "writer": "Writer keep_end"},
        "store": "Store StoredRun named_experiment one_line why_unknown",
    },
)
