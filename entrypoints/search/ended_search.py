"""A study whose search has ended: what its summaries are of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from entrypoints.datasets.prepared import Prepared
from entrypoints.limits.forecast import Forecast
from entrypoints.runs import RecordedRun
from entrypoints.search.measured import Measured, measured
from entrypoints.search.record import Record
from entrypoints.settings import StudySettings


@dataclass(frozen=True)
class EndedSearch:
    """The study's run, what was asked for, what was searched on, what came of it, and how long that was to take."""

    run: RecordedRun
    settings: StudySettings
    data: Prepared
    record: Record
    forecast: Forecast

    @cached_property
    def measured(self) -> Measured:
        """How well it has measured."""
        return measured(self.record)
