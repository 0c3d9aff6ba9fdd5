"""How many pairs a check may run, and what it can be expected to find in them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlflow_gate.check.verdict import LOOKS, MAX_PAIRS, UNDECIDED, ComparedMetric, Finding, detectable_after

MAX_MINUTES = 20.0
_SOME_MINUTES_S = 90.0


@dataclass(frozen=True)
class Budget:
    """The pairs and minutes of a check, which begins as this is made. Three pairs run in any case."""

    max_pairs: int = MAX_PAIRS
    max_minutes: float = MAX_MINUTES
    _began_s: float = field(default_factory=time.monotonic)

    @property
    def looks(self) -> list[int]:
        """The numbers of pairs after which the metrics are judged, unless the minutes are over."""
        return [*(look for look in LOOKS if look < self.max_pairs), self.max_pairs]

    def fitting(self, pairs: int, took_s: float) -> int:
        """How many pairs fit in all, if the next ones take as long as these have taken."""
        if pairs < LOOKS[0]:
            return LOOKS[0]
        left_s = 60 * self.max_minutes - (time.monotonic() - self._began_s)
        return min(self.max_pairs, pairs + max(0, int(left_s / (took_s / pairs))))


def forecast(metrics: Sequence[ComparedMetric], findings: Sequence[Finding], pairs: int, more_s: float) -> str:
    """What so many pairs in all will find, such as ``about 6 more minutes at most; .. will then be found``.

    `findings` are those of the `metrics` so far.
    """
    more = f"about {more_s:.0f} more seconds at most"
    if more_s >= _SOME_MINUTES_S:
        more = f"about {more_s / 60:.0f} more minutes at most"
    changes = []
    for metric, finding in zip(metrics, findings, strict=True):
        if finding.verdict == UNDECIDED and finding.noise:
            amount = f"{detectable_after(pairs, metric, finding):.2g} {finding.unit}".rstrip()
            changes.append(f"{amount} of {metric.name}")
    return f"{more}; a change of {' or '.join(changes)} will then be found" if changes else more
