"""What MLflow loads at `import mlflow`: tags of the host for each fluent run, and events for the command around it.

MLflow finds it by the entry point group `mlflow.run_context_provider`. So this module imports next to nothing, and
reads nothing before the first run starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from mlflow_sysmetrics.recording.events import EVENT_FILE, is_on
from mlflow_sysmetrics.recording.host import Host


class HostContext:
    """MLflow's provider of the tags of `Host`. They are gathered in a process's first run, and once. Never raises."""

    def __init__(self) -> None:
        self._tags: dict[int, Mapping[str, str]] = {}  # by process: a forked worker may have been given other cores

    def in_context(self) -> bool:
        return is_on()

    def tags(self) -> dict[str, str]:
        """The tags of a run that starts in this process."""
        if (pid := os.getpid()) not in self._tags:
            self._tags = {pid: Host().tags()}
        return dict(self._tags[pid])


if os.environ.get(EVENT_FILE) and is_on():
    from mlflow_sysmetrics.recording.autologging import emit_events

    emit_events()
