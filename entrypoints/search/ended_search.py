"""A study after its search: the input of its summaries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from entrypoints.datasets.prepared import Prepared
from entrypoints.limits.duration_forecast import Forecast
from entrypoints.runs import RecordedRun
from entrypoints.search.measured import Measured, measured
from entrypoints.search.record import Record
from entrypoints.settings import StudySettings


@dataclass(frozen=True)
class EndedSearch:
    """The study's run, its settings and data, the record of its trials, and the forecast of its time."""

    run: RecordedRun
    settings: StudySettings
    data: Prepared
    record: Record
    forecast: Forecast

    @cached_property
    def measured(self) -> Measured:
        """How well it has measured."""
        return measured(self.record)
