"""What the times of requests tell: percentiles, whether the server kept up, and whether the client did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONNECTIONS = 64  # at a rate: a request that finds none free waits for one, and that time counts, too
PERCENTS = {"served_p50_ms": 50, "served_p95_ms": 95, "served_p99_ms": 99}
# With this many requests the largest lies above the percentile in 95 % of samples: 0.95^59 < 0.05, 0.99^299 < 0.05.
MIN_REQUESTS = {"served_p50_ms": 1, "served_p95_ms": 59, "served_p99_ms": 300}
THREADS = 6  # in which a worker of MLflow's server predicts, at least
_QUEUE = 10  # requests that wait for a thread: a queue that is longer, and was so a while ago, grows
_ANSWERED = 0.98
_LATE, _LATE_S = 0.1, 0.002


@dataclass
class Asked:
    """A request, in seconds since the start. What has not happened is infinitely late."""

    due_s: float
    free_s: float  # when there was a connection for it
    sent_s: float = math.inf
    done_s: float = math.inf

    @property
    def is_answered(self) -> bool:
        return self.done_s < math.inf

    @property
    def latency_s(self) -> float:
        """As its user finds it: time that it waited for a connection counts."""
        return self.done_s - self.due_s

    @property
    def lateness_s(self) -> float:
        """The client's own, and not the server's."""
        return self.sent_s - max(self.due_s, self.free_s)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that this percentage of all do not exceed."""
    return sorted(values)[math.ceil(percent * len(values) / 100) - 1]


def percentiles_ms(asked: Sequence[Asked]) -> dict[str, float]:
    """Of the latency; left out where there are too few requests."""
    latencies_s = [request.latency_s for request in asked]
    figures = {}
    for name, percent in PERCENTS.items():
        value_ms = 1e3 * percentile(latencies_s, percent)
        if len(asked) >= MIN_REQUESTS[name] and value_ms < math.inf:
            figures[name] = value_ms
    return figures


def answered_per_s(asked: Sequence[Asked]) -> float:
    """How many requests were answered a second, until the last was sent; of none, what one would be."""
    end_s = _end_s(asked)
    return max(1, sum(request.done_s <= end_s for request in asked)) / end_s


def keeps_up(asked: Sequence[Asked], rate: float) -> bool:
    """Whether a server answers as many requests as fall due.

    If it does not, its queue grows: it is long at the end and was so at three quarters of the time, and fewer were
    answered than the rate asks for. Simulated 200 times with 400 requests, one at a time: at 0.95 of what the server
    can do none were taken for too many, at 1.1 nine of ten, at 1.25 all.
    """
    end_s = _end_s(asked)
    long = min(THREADS + min(_QUEUE, len(asked) / 4), CONNECTIONS)
    for at_s in (0.75 * end_s, end_s):
        if sum(request.due_s <= at_s < request.done_s for request in asked) < long:
            return True
    return answered_per_s(asked) > _ANSWERED * rate


def is_late(asked: Sequence[Asked]) -> bool:
    """Whether the client was, by so much that latencies tell of it."""
    answered = [request for request in asked if request.is_answered]
    if not answered:
        return False
    late_s = percentile([request.lateness_s for request in answered], 99)
    return late_s > max(_LATE_S, _LATE * percentile([request.latency_s for request in answered], 95))


def _end_s(asked: Sequence[Asked]) -> float:
    return max(max(request.due_s, request.free_s) for request in asked)
