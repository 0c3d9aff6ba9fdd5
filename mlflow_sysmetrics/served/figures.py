"""What a model costs as an application calls it: one stream of requests to a server that nothing else asks."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import pandas as pd

from mlflow_sysmetrics.served.contention import Contention, CoreClocks
from mlflow_sysmetrics.served.model import ServedModel, downloaded
from mlflow_sysmetrics.served.requests import BATCH, one_batch, one_by_one, table_of
from mlflow_sysmetrics.served.server import Connection, Server, ServerError, serving

WARM_UP = 30  # requests: the first takes ten times as long
_WARM_UP_S = 3.0
_MAX_REQUESTS = 1000
_STREAM_S = 8.0
_SLOW_STREAM_S = 15.0  # where so few requests were answered in 8 s that p95 is not known
_BATCHES = 10
# With so many requests the largest lies above the percentile in 95 % of samples: 0.95^59 < 0.05, 0.99^299 < 0.05.
MIN_REQUESTS = {"served_p50_ms": 1, "served_p95_ms": 59, "served_p99_ms": 300}
_PERCENTS = {"served_p50_ms": 50, "served_p95_ms": 95, "served_p99_ms": 99}
_BY_THE_CLOCK = (*MIN_REQUESTS, "served_cold_start_s", "served_rows_per_s")


@dataclass(frozen=True)
class ServedCosts:
    """Figures of a served model, by the names of docs/metrics.md; one that cannot be measured is absent."""

    figures: Mapping[str, float]
    requests: int  # of one row each, that were measured
    contention: Contention
    model_id: str | None = None

    @property
    def untrusted(self) -> list[str]:
        """On a busy machine the figures that are taken by the clock: they tell of other programs, too."""
        return [name for name in self.figures if self.contention.is_busy and name in _BY_THE_CLOCK]

    @property
    def trusted(self) -> dict[str, float]:
        """The other figures."""
        return {name: value for name, value in self.figures.items() if name not in self.untrusted}


def served_costs(model_uri: str, rows: pd.DataFrame | None = None, max_seconds: float | None = None) -> ServedCosts:
    """Serve a model alone on this machine, and ask it for one row after another; 10 to 20 s.

    `rows` may have more columns than the model takes; without them it is asked for its input example. `max_seconds` is
    the time for these requests, of which a slow model may then answer too few for its p95. Call it from a thread that
    waits for it: the server is killed when that thread ends.

    Raises:
        ServerError: the model does not start here, or does not answer.
        ServedError: there is no such model, or no rows for it.
    """
    with downloaded(model_uri) as model:
        table = table_of(model, rows)
        requests = one_by_one(table)
        batch = one_batch(table)
        with serving(model) as (server,), server.connected() as connection:
            warm_up(connection, requests)
            return _measured(model, server, connection, requests, batch, max_seconds)


def warm_up(connection: Connection, requests: Sequence[bytes]) -> None:
    end = time.monotonic() + _WARM_UP_S
    for number in range(WARM_UP):
        connection.ask(requests[number % len(requests)])
        if time.monotonic() > end:
            return


def asked(connection: Connection, request: bytes) -> float:
    """Seconds from the first byte of a request to the last of its answer."""
    began = time.perf_counter()
    connection.ask(request)
    return time.perf_counter() - began


def _measured(
    model: ServedModel,
    server: Server,
    connection: Connection,
    requests: Sequence[bytes],
    batch: bytes,
    max_seconds: float | None,
) -> ServedCosts:
    figures = {"served_cold_start_s": server.cold_start_s}
    server.find_processes()
    cpu_s = server.cpu_seconds()
    clocks = CoreClocks.read(server.pids, cpu_s)
    times = _stream(connection, requests, max_seconds)
    cpu_s_later = server.cpu_seconds()
    contention = clocks.until(CoreClocks.read(server.pids, cpu_s_later), sum(times))
    figures["served_cpu_ms"] = 1e3 * (cpu_s_later - cpu_s) / len(times)
    for name, count in MIN_REQUESTS.items():
        if len(times) >= count:
            figures[name] = 1e3 * percentile(times, _PERCENTS[name])
    memory_mb = server.memory_mb()
    if memory_mb is not None:
        figures["served_memory_mb"] = memory_mb
    with contextlib.suppress(ServerError):  # it takes too long for so many rows
        figures["served_rows_per_s"] = BATCH / median(asked(connection, batch) for _ in range(_BATCHES))
    return ServedCosts(figures, len(times), contention, model.model_id)


def _stream(connection: Connection, requests: Sequence[bytes], max_seconds: float | None) -> list[float]:
    began = time.monotonic()
    times: list[float] = []
    while len(times) < _MAX_REQUESTS:
        times.append(asked(connection, requests[len(times) % len(requests)]))
        enough = _STREAM_S if len(times) >= MIN_REQUESTS["served_p95_ms"] else _SLOW_STREAM_S
        if time.monotonic() - began > (max_seconds or enough):
            break
    return times


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many per cent of all do not exceed."""
    return sorted(values)[math.ceil(percent * len(values) / 100) - 1]
