"""Where a measurement goes: MLflow runs, through outages of the store, and to disk.

Whoever measures has a `Run` for each MLflow run. What it logs are `operations`. They wait in it, in order, and in a
`journal` on disk if it keeps one. `send` brings them to the `store`: in the thread of the store's `writer`, or in
`sync`, which reads the journals that ended processes have left. `location` says which run is active.
"""

from typing import TYPE_CHECKING

from mlflow_sysmetrics.common.lazy import lazy
from mlflow_sysmetrics.delivery.operations import Point, now_ms, points_now, window_points

if TYPE_CHECKING:  # what needs MLflow
    from mlflow_sysmetrics.delivery.location import RunRef, current_run, open_store, source_tags
    from mlflow_sysmetrics.delivery.run import Run
    from mlflow_sysmetrics.delivery.store import one_line
    from mlflow_sysmetrics.delivery.writer import Writer, child_run, writer_for

__all__ = ["Point", "Run", "RunRef", "Writer", "child_run", "current_run", "open_store"]
__all__ += ["now_ms", "one_line", "points_now", "source_tags", "window_points", "writer_for"]
__getattr__ = lazy(
    __name__,
    {
        "location": "RunRef open_store current_run source_tags",
        "run": "Run",
        "store": "one_line",
        "writer": "Writer child_run writer_for",
    },
)
