"""The channel: a file in which a program tells the command around it of itself, a line of JSON for each event.

That command, `mlflow-sysmetrics run`, `check` or the project backend, measures the program from outside, and reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

CHANNEL = "MLFLOW_SYSMETRICS_CHANNEL"  # names the file, in the environment of the program


def emit(**event: object) -> None:
    """Append an event, at once: several processes may write there. No-op without a channel. Nothing raises."""
    path = os.environ.get(CHANNEL)
    if not path:
        return
    line = json.dumps(event | {"pid": os.getpid(), "time_ms": time.time_ns() // 1_000_000}).encode() + b"\n"
    with contextlib.suppress(OSError), Path(path).open("ab", buffering=0) as channel:
        channel.write(line)
