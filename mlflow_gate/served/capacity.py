"""How many requests a second a served model takes before it breaks a limit on a percentile."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mlflow_gate.served.client import Client
from mlflow_gate.served.contention import Contention
from mlflow_gate.served.figures import served_table, warm_up
from mlflow_gate.served.latency import CONNECTIONS, MIN_REQUESTS, PERCENTS, THREADS, Asked, percentiles_ms
from mlflow_gate.served.pacing import Poisson, stream
from mlflow_gate.served.requests import one_by_one
from mlflow_gate.served.server import ServerError
from mlflow_sysmetrics.limits import Limit

_SATURATED_S = 2.0
_FIRST, _LOWEST = 0.6, 0.03  # as parts of what the server answers if it always has something to do
_STEP = 1.4
_APART = 1.1
_SERVICES = 1500  # a rate is asked for the time in which the saturated server answers this many requests,
_MIN_S, _MAX_S = 5.0, 14.0  # but not less or more than this
_FEWEST = 59  # requests, also of a slow model
_NOISE = 6.0  # two standard deviations of the result, if it were of one request; simulated
_LONG, _LONG_S = 10, 1.0  # limits, and seconds: who waits so long shows that the server does not keep up


@dataclass(frozen=True)
class Capacity:
    """Requests a second, with an interval that held nine of ten times in simulated queues of fixed service time."""

    per_s: float
    low: float
    high: float
    at_rates: Mapping[float, Mapping[str, float]]  # percentiles at each rate that meets the limit
    contention: Contention
    model_id: str | None = None


def served_capacity(
    model_uri: str,
    limit: Limit,
    rows: pd.DataFrame | None = None,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> Capacity:
    """Serve a model alone on this machine, and find the highest rate at which it meets a limit on a percentile.

    It takes 70 to 100 s. `say` is told of each rate. For the rest see `served_costs`.

    Raises:
        ServerError: no rate meets the limit, or the model does not start here, or does not answer.
        ServedError: there is no such model, or no rows for it.
    """
    with served_table(model_uri, rows, workers) as (server, table):
        requests = one_by_one(table)
        warm_up(server, requests, CONNECTIONS)
        loops = Client(server, requests, stream, lambda time_s, _: time_s > _SATURATED_S, THREADS * workers)
        loops.run()
        done_s = [request.done_s for request in loops.asked if request.is_answered]
        saturated = len(done_s) / max(done_s)
        seconds = min(max(_SERVICES / saturated, _MIN_S), _MAX_S)
        fewest = max(MIN_REQUESTS[limit.metric.name], _FEWEST)
        at_rates: dict[float, Mapping[str, float]] = {}
        contentions: list[Contention] = []

        def holds(rate: float) -> bool:
            judge = Judge(limit, max(rate * seconds, fewest))
            pacer = Poisson(rate, seed=len(contentions))
            client = Client(
                server, requests, pacer, lambda time_s, asked: time_s > seconds and asked >= fewest, CONNECTIONS
            )
            client.run(judge.is_lost)
            contentions.append(client.contention)
            is_met = judge.is_met(client.asked)
            if is_met:
                at_rates[rate] = percentiles_ms(client.asked)
            say(f"{rate:.4g} requests a second {'meet' if is_met else 'break'} {limit}")
            return is_met

        low, high = bracketed(holds, _FIRST * saturated, _LOWEST * saturated)
        if not low:
            raise ServerError(model_uri, f"breaks {limit} even at {high:.2g} requests a second")
    per_s = math.sqrt(low * high)
    noise = 1 + _NOISE / math.sqrt(max(per_s * seconds, fewest))
    contention = max(contentions, key=lambda contention: contention.is_busy)
    return Capacity(per_s, per_s / noise, per_s * noise, at_rates, contention, server.model.model_id)


def bracketed(holds: Callable[[float], bool], first: float, lowest: float) -> tuple[float, float]:
    """The highest rate that holds, and the lowest that does not: at most 10 % apart, or else 0 and at most `lowest`."""
    low, high = 0.0, math.inf
    rate = first
    while high > _APART * low and high > lowest:
        if holds(rate):
            low = rate
        else:
            high = rate
        if high == math.inf:
            rate = low * _STEP
        elif low == 0:
            rate = high / _STEP
        else:
            rate = math.sqrt(low * high)
    return low, high


class Judge:
    """Whether a percentile of about this many requests meets its limit.

    It may say no early, but never yes: a queue is empty at first.
    """

    def __init__(self, limit: Limit, requests: float) -> None:
        self._limit_s = limit.number / 1e3
        self._allowed = 1 - PERCENTS[limit.metric.name] / 100
        self._requests = requests

    def is_met(self, asked: Sequence[Asked]) -> bool:
        return self._slow(asked, math.inf) <= self._allowed * len(asked)

    def is_lost(self, asked: Sequence[Asked], now_s: float) -> bool:
        """Whether more are slow than the rest can make up for, or one waits for an answer for too long."""
        if self._slow(asked, now_s) > 1.2 * self._allowed * self._requests:
            return True
        long_s = max(_LONG * self._limit_s, _LONG_S)
        return any(request.done_s > now_s > request.due_s + long_s for request in asked)

    def _slow(self, asked: Sequence[Asked], now_s: float) -> int:
        return sum(min(request.done_s, now_s) - request.due_s > self._limit_s for request in asked)
