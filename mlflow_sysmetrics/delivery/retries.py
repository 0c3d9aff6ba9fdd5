"""A store that does not answer: how long to wait for it, when to try again, and what to tell the user."""

from __future__ import annotations

import random
from collections.abc import Callable

from mlflow_sysmetrics.delivery.store import one_line
from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)

MIN_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0
MIN_TIMEOUT_S, MAX_TIMEOUT_S = 5.0, 30.0
_MAX_DOUBLINGS = 10


def pause_after(
    failures: int, *, closing: bool = False, jitter: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds to the next attempt after this number of failures in a row. While `closing` they do not grow.

    Jitter, so that clients do not reconnect at the same moment.
    """
    longest = MIN_PAUSE_S if closing else MAX_PAUSE_S
    return min(MIN_PAUSE_S * 2.0 ** min(failures - 1, _MAX_DOUBLINGS), longest) * jitter(0.5, 1.0)


def timeout_after(failures: int, *, closing: bool = False) -> float:
    """Seconds for an answer after this number of failures in a row.

    Few at first, so that an outage is noticed soon; more later, so that a slow server can answer.
    """
    doublings = 0 if closing else min(failures, _MAX_DOUBLINGS)
    return min(MIN_TIMEOUT_S * 2.0**doublings, MAX_TIMEOUT_S)


class Outages:
    """For how long a store took nothing. One warning when an outage begins, one when it is over.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._past_s = 0.0
        self._since: float | None = None
        self._told: str | None = None  # the run whose failure was logged

    @property
    def total_s(self) -> float:
        """Seconds of all outages up to now."""
        return self._past_s + (0.0 if self._since is None else self._clock() - self._since)

    @property
    def is_away(self) -> bool:
        """Whether the store did not take what it was sent last."""
        return self._since is not None

    def failed(self, run: str, failures: int, error: Exception) -> None:
        """The store did not take what waits for a run, this number of times in a row."""
        if failures == 1 and self._since is None:
            self._told = run
            logger.warning("MLflow does not take the data of run %r; it waits. %s", run, one_line(error))
        if self._since is None:
            self._since = self._clock()

    def answered(self) -> None:
        """The store is there, whatever it said."""
        self._past_s, self._since = self.total_s, None

    def succeeded(self, run: str) -> None:
        """The store took what waited for a run."""
        self.answered()
        if self._told == run:
            self._told = None
            logger.warning("MLflow takes the data of run %r again", run)
