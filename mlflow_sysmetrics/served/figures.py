"""What a model costs as an application calls it: the figures of a server that nothing else asks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import pandas as pd

from mlflow_sysmetrics.served.client import CONNECTIONS, Client, IsDecided, undecided
from mlflow_sysmetrics.served.contention import Contention, CoreClocks
from mlflow_sysmetrics.served.latency import MIN_REQUESTS, THREADS, answered_per_s, is_late, keeps_up, percentiles_ms
from mlflow_sysmetrics.served.model import downloaded
from mlflow_sysmetrics.served.pacing import Poisson, stream
from mlflow_sysmetrics.served.requests import BATCH, Table, one_batch, one_by_one, table_of
from mlflow_sysmetrics.served.server import Connection, Server, ServerError, serving

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

    `cannot_keep_up` is half a sentence on a model that does not answer as many requests as its rate asks for.
    """

    figures: Mapping[str, float]
    requests: int  # of one row each, that were measured
    contention: Contention
    model_id: str | None = None
    cannot_keep_up: str | None = None

    @property
    def untrusted(self) -> list[str]:
        """On a busy machine the figures that are taken by the clock: they tell of other programs, too."""
        return [name for name in self.figures if self.contention.is_busy and name in _BY_THE_CLOCK]

    @property
    def trusted(self) -> dict[str, float]:
        """The other figures."""
        return {name: value for name, value in self.figures.items() if name not in self.untrusted}


def served_costs(
    model_uri: str,
    rows: pd.DataFrame | None = None,
    max_seconds: float | None = None,
    rate: float | None = None,
    workers: int = 1,
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

    def is_enough(time_s: float, requests: int) -> bool:
        if rate is None and requests >= _MAX_REQUESTS:
            return True
        enough_s = _ASKED_S if requests >= MIN_REQUESTS["served_p95_ms"] else _SLOWLY_ASKED_S
        return requests > 0 and time_s > (max_seconds or enough_s)

    with served_table(model_uri, rows, workers) as (server, table):
        requests = one_by_one(table)
        pacer = stream if rate is None else Poisson(rate)
        connections = 1 if rate is None else CONNECTIONS
        warm_up(server, requests, connections)
        client = Client(server, requests, pacer, is_enough, connections)
        cpu_s, contention = measured(server, client)
        answers = sum(request.is_answered for request in client.asked)
        figures = {"served_cold_start_s": server.cold_start_s}
        if answers:
            figures["served_cpu_ms"] = 1e3 * cpu_s / answers
        memory_mb = server.memory_mb()
        if memory_mb is not None:
            figures["served_memory_mb"] = memory_mb
        cannot_keep_up = None
        if rate is not None and not keeps_up(client.asked, rate, workers):
            answered = answered_per_s(client.asked)
            cannot_keep_up = f"it answers only {answered:.3g} of {rate:g} requests a second"
        else:
            figures |= percentiles_ms(client.asked)
            with contextlib.suppress(ServerError):  # a batch takes too long
                figures["served_rows_per_s"] = _rows_per_s(server, one_batch(table))
    return ServedCosts(figures, len(client.asked), contention, server.model.model_id, cannot_keep_up)


@contextlib.contextmanager
def served_table(model_uri: str, rows: pd.DataFrame | None, workers: int) -> Iterator[tuple[Server, Table]]:
    """A model's server, and the rows that it is asked for."""
    with downloaded(model_uri) as model:
        table = table_of(model, rows)
        with serving(model, workers=workers) as (server,):
            yield server, table


def warm_up(server: Server, requests: Sequence[bytes], connections: int = 1) -> None:
    """Ask what does not count: the first answer of each thread of the server takes longer."""

    def is_enough(time_s: float, asked: int) -> bool:
        return asked >= _WARM_UP * server.workers or time_s > _WARM_UP_S

    Client(server, requests, stream, is_enough, min(connections, THREADS * server.workers)).run()


class Measured(NamedTuple):
    """CPU time of the server while it was asked, and whether that was on a busy machine."""

    cpu_s: float
    contention: Contention


def measured(server: Server, client: Client, is_decided: IsDecided = undecided) -> Measured:
    """Let the client ask; it has the answers then."""
    server.find_processes()
    cpu_s = server.cpu_seconds()
    clocks = CoreClocks.read(server.pids, cpu_s)
    client.run(is_decided)
    cpu_s_later = server.cpu_seconds()
    later = CoreClocks.read(server.pids, cpu_s_later, client.waited_s)
    requests_s = sum(request.latency_s for request in client.asked if request.is_answered)
    return Measured(cpu_s_later - cpu_s, clocks.until(later, requests_s, is_late(client.asked)))


def asked(connection: Connection, request: bytes) -> float:
    """Seconds from the first byte of a request to the last of its answer."""
    began = time.perf_counter()
    connection.ask(request)
    return time.perf_counter() - began


def _rows_per_s(server: Server, batch: bytes) -> float:
    with server.connected() as connection:
        return BATCH / median(asked(connection, batch) for _ in range(_BATCHES))
