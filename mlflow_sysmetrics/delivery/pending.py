"""What of one run still has to be written."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import Header
from mlflow_sysmetrics.delivery.steps import Steps


@dataclass(eq=False)
class PendingRun:
    """A run that is known by ``key`` to whoever writes it, as the store does not have it yet."""

    key: Hashable
    experiment_id: str
    name: str | None
    tags: dict[str, str]
    start_ms: int
    parent: Hashable | None = None
    run_id: str | None = None
    asked_for: bool = False  # a request to create it was sent, whose answer never came
    goes_on: bool = False  # it was ended, and has to be RUNNING again
    unread: bool = False  # others wrote it before, and how far is not known yet
    steps: Steps = field(default_factory=Steps)
    points: deque[Point] = field(default_factory=deque)
    params: dict[str, str] = field(default_factory=dict)
    new_tags: dict[str, str] = field(default_factory=dict)
    status: str | None = None
    end_ms: int | None = None
    next_write: float = 0.0
    retry_s: float = 0.0

    @property
    def is_new(self) -> bool:
        """Whether it has still to be created, or to be ``RUNNING`` again."""
        return self.run_id is None or self.goes_on

    @property
    def has_something(self) -> bool:
        """Whether anything has to be written."""
        return self.is_new or self.status is not None or bool(self.points or self.params or self.new_tags)

    def header(self, tracking_uri: str, parent: Header | None = None) -> Header:
        """What a spool for this store says of it, beside its points. `parent` is for a run that is not created yet."""
        return Header(
            self.run_id or "",
            tracking_uri,
            dict(self.tags),
            dict(self.params),
            self.status,
            self.end_ms,
            self.experiment_id,
            self.start_ms,
            self.name,
            dict(self.new_tags),
            parent,
        )
