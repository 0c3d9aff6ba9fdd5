"""The file in which a program tells the command around it what it does: a line of JSON for each event.

That command, `mlflow-sysmetrics run`, `check` or the project backend, measures the program from outside, and reads it.
The events are imported (MLflow), opened, ended and not_ended (an MLflow run, by a store that did not do it), and
peak_rss (a mark that was reset).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

EVENT_FILE = "MLFLOW_SYSMETRICS_EVENT_FILE"  # names it, in the environment of the program


def is_on() -> bool:
    """Whether runs are tagged and measured: not where MLFLOW_SYSMETRICS=0."""
    return os.environ.get("MLFLOW_SYSMETRICS") != "0"


def emit(event: str, **fields: object) -> None:
    """Append an event, at once: several processes may write there. No-op without a file; nothing raises."""
    path = os.environ.get(EVENT_FILE)
    if path:
        line = json.dumps({"event": event, "time_ms": time.time_ns() // 1_000_000, **fields}) + "\n"
        with contextlib.suppress(OSError), Path(path).open("ab", buffering=0) as file:
            file.write(line.encode())
