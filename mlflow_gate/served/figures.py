"""What a model costs as an application calls it: the figures of a server that nothing else asks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import pandas as pd

from mlflow_gate.served.client import Client
from mlflow_gate.served.contention import Contention
from mlflow_gate.served.latency import (
    CONNECTIONS,
    MIN_REQUESTS,
    THREADS,
    answered_per_s,
    keeps_up,
    percentiles_ms,
)
from mlflow_gate.served.model import downloaded
from mlflow_gate.served.pacing import Poisson, stream
from mlflow_gate.served.requests import BATCH, Table, one_batch, one_by_one, table_of
from mlflow_gate.served.server import Connection, Server, ServerError, serving

_WARM_UP = 30  # requests: the first takes ten times as long
_WARM_UP_S = 3.0
_MAX_REQUESTS = 1000  # of a stream
_ASKED_S = 8.0
_SLOWLY_ASKED_S = 15.0  # where there were so few requests in 8 s that p95 is not known
_BATCHES = 10
_BY_THE_CLOCK = (*MIN_REQUESTS, "served_cold_start_s", "served_rows_per_s")


@dataclass(frozen=True)
class ServedCosts:
    """Figures of a served model, by the names of docs/metrics.md; one that cannot be measured is absent.

    `cannot_keep_up` is half a sentence on a model that does not answer as many requests as its rate asks for, and
    `answered_per_s` how many it answers, or else the rate.
    """

    figures: dict[str, float]
    requests: int  # of one row each, that were measured
    contention: Contention
    model_id: str | None = None
    cannot_keep_up: str | None = None
    answered_per_s: float = 0.0

    @property
    def trusted(self) -> dict[str, float]:
        """Without those that are taken by the clock on a busy machine: they tell of other programs, too."""
        left_out = _BY_THE_CLOCK if self.contention.is_busy else ()
        return {name: value for name, value in self.figures.items() if name not in left_out}


def served_costs(
    model_uri: str,
    rows: pd.DataFrame | None = None,
    max_seconds: float | None = None,
    rate: float | None = None,
) -> ServedCosts:
    """Serve a model alone on this machine, and ask it for one row after another; 10 to 20 s.

    `rows` may have more columns than the model takes; without them it is asked for its input example. `max_seconds` is
    the time for these requests, of which a slow model may then answer too few for its p95. At a `rate`, requests fall
    due at random moments, on average this many a second, and their time counts from there. Call it from a thread that
    waits for it: the server is killed when that thread ends.

    Raises:
        ServerError: the model does not start here, or does not answer.
        ServedError: there is no such model, or no rows for it.
    """
    with served_table(model_uri, rows) as (server, table):
        costs = costs_of(server, one_by_one(table), rate, max_seconds)
        if costs.cannot_keep_up is None:
            batch = one_batch(table)
            with contextlib.suppress(ServerError), server.connected() as connection:  # a batch may take too long
                seconds = median(asked(connection, batch) for _ in range(_BATCHES))
                costs.figures["served_rows_per_s"] = BATCH / seconds
    return costs


def costs_of(
    server: Server, requests: Sequence[bytes], rate: float | None = None, max_seconds: float | None = None
) -> ServedCosts:
    """The costs of a server that is asked for these, over and over. See `served_costs`."""

    def is_enough(time_s: float, asked: int) -> bool:
        if rate is None and asked >= _MAX_REQUESTS:
            return True
        enough_s = _ASKED_S if asked >= MIN_REQUESTS["served_p95_ms"] else _SLOWLY_ASKED_S
        return asked > 0 and time_s > (max_seconds or enough_s)

    pacer = stream if rate is None else Poisson(rate)
    connections = 1 if rate is None else CONNECTIONS
    warm_up(server, requests, connections)
    client = Client(server, requests, pacer, is_enough, connections)
    client.run()
    answers = sum(request.is_answered for request in client.asked)
    figures = {"served_cold_start_s": server.cold_start_s, **server.memory()}
    if answers:
        figures["served_cpu_ms"] = 1e3 * client.cpu_s / answers
    cannot_keep_up = None
    answered = rate or 0.0
    if rate is not None and not keeps_up(client.asked, rate):
        answered = answered_per_s(client.asked)
        cannot_keep_up = f"it answers only {answered:.3g} of {rate:g} requests a second"
    else:
        figures |= percentiles_ms(client.asked)
    return ServedCosts(figures, len(client.asked), client.contention, server.model.model_id, cannot_keep_up, answered)


@contextlib.contextmanager
def served_table(model_uri: str, rows: pd.DataFrame | None) -> Iterator[tuple[Server, Table]]:
    """A model's server, and the rows that it is asked for."""
    with downloaded(model_uri) as model:
        table = table_of(model, rows)
        with serving(model) as (server,):
            yield server, table


def warm_up(server: Server, requests: Sequence[bytes], connections: int = 1) -> None:
    """Ask what does not count: the first answer of each thread of the server takes longer."""
    at_once = min(connections, THREADS)
    Client(server, requests, stream, lambda time_s, asked: asked >= _WARM_UP or time_s > _WARM_UP_S, at_once).run()


def asked(connection: Connection, request: bytes) -> float:
    """Seconds from the first byte of a request to the last of its answer."""
    began = time.perf_counter()
    connection.ask(request)
    return time.perf_counter() - began
