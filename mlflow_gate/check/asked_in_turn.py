"""The costs of two servers that live at once, of which each answers for one side.

They are asked for one row in turn, in an order that a coin decides, so that both meet the same machine. At a rate first
the one is asked and then the other, as at once each would wait for the other's requests.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from statistics import median

from mlflow_gate.check.contest import CheckError, Metrics
from mlflow_gate.check.verdict import ANSWERED
from mlflow_gate.served import Endpoint, ServedCosts, asked, costs_of, warm_up
from mlflow_sysmetrics.common.time_limits import DELIVER_S
from mlflow_sysmetrics.delivery import RunRef, child_run
from mlflow_sysmetrics.recording import tags
from mlflow_sysmetrics.recording.outcome import FINISHED

_ROUNDS = 120  # of one request each: in blocks of five, CPU times of two servers of one model differ more
_ROUNDS_S = 15.0
_AFTER_ANSWER_S = 0.002  # what a server does then is part of its CPU time


def how_asked(rate: float | None) -> str:
    """How the servers of a pair are asked, for the last line of the verdict."""
    if rate is None:
        return "both served at once, asked in turn"
    return f"asked one after the other at {rate:g} requests a second"


def costs_of_pair(
    servers: Sequence[Endpoint], requests: Sequence[Sequence[bytes]], rate: float | None
) -> list[Metrics]:
    """The costs of each server. CheckError: neither keeps up with the rate, on a machine that is not busy."""
    return _in_turn(servers, requests) if rate is None else _at_rate(servers, requests, rate)


def record(parent: RunRef, pair: int, side: str, costs: Metrics) -> None:
    """Leave what one side of a pair has cost in a run below that of the check."""
    about = {tags.KIND: "check run", tags.SIDE: side, tags.PAIR: str(pair)}
    run = child_run(parent, f"{side} {pair}", about)
    run.log(summary=costs)
    run.end(FINISHED)
    run.close(DELIVER_S)


def _in_turn(servers: Sequence[Endpoint], requests: Sequence[Sequence[bytes]]) -> list[Metrics]:
    streams = list(map(_stream, servers, requests))
    for stream in streams:
        next(stream)  # its server is warm then
    spent: list[list[tuple[float, float]]] = [[] for _ in servers]
    end = time.monotonic() + _ROUNDS_S
    while len(spent[0]) < _ROUNDS and time.monotonic() < end:
        for place in random.sample(range(len(servers)), len(servers)):
            spent[place].append(next(streams[place]))
    costs: list[Metrics] = []
    for server, of_requests in zip(servers, spent, strict=True):
        cpu_ms, p50_ms = map(median, zip(*of_requests, strict=True))
        costs.append({"served_cpu_ms": cpu_ms, "served_p50_ms": p50_ms, **server.memory()})
    return costs


def _stream(server: Endpoint, requests: Sequence[bytes]) -> Iterator[tuple[float, float]]:
    """CPU and wall time of one request after another, in ms."""
    warm_up(server, requests)
    with server.connected() as connection:
        server.find_processes()
        for request in cycle(requests):
            before_s = server.cpu_seconds()
            time_s = asked(connection, request)
            time.sleep(_AFTER_ANSWER_S)
            yield 1e3 * (server.cpu_seconds() - before_s), 1e3 * time_s


def _at_rate(servers: Sequence[Endpoint], requests: Sequence[Sequence[bytes]], rate: float) -> list[Metrics]:
    costs: dict[int, ServedCosts] = {}
    for place in random.sample(range(len(servers)), len(servers)):
        costs[place] = costs_of(servers[place], requests[place], rate)
    if all(each.cannot_keep_up and not each.contention.is_busy for each in costs.values()):
        of_rate = f"{costs[0].answered_per_s:.3g} of {rate:g} requests a second"
        raise CheckError(f"neither side can keep up: the baseline answers only {of_rate}")
    return [_trusted(costs[place]) for place in sorted(costs)]


def _trusted(costs: ServedCosts) -> Metrics:
    figures = costs.trusted
    if not (costs.cannot_keep_up and costs.contention.is_busy):  # it may keep up elsewhere
        figures[ANSWERED.name] = costs.answered_per_s
    return figures
