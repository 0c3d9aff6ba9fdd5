"""What a model costs as an application calls it: the figures of a server that nothing else asks."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import mlflow
import pandas as pd

from mlflow_gate.served.client import Client
from mlflow_gate.served.connection import Connection, Endpoint, ServerError
from mlflow_gate.served.contention import Contention
from mlflow_gate.served.latency import (
    CONNECTIONS,
    MIN_REQUESTS,
    THREADS,
    answered_per_s,
    keeps_up,
    percentiles_ms,
)
from mlflow_gate.served.model import ServedModel, downloaded
from mlflow_gate.served.pacing import Poisson, stream
from mlflow_gate.served.requests import BATCH, Table, one_batch, one_by_one, table_of
from mlflow_gate.served.server import serving

_WARM_UP = 30  # requests: the first takes ten times as long
_WARM_UP_S = 3.0
_MAX_REQUESTS = 1000  # of a stream
_ASKED_S = 8.0
_SLOWLY_ASKED_S = 15.0  # where there were so few requests in 8 s that p95 is not known
_BATCHES = 10
_NOTHING_S = 2.0  # to ask a model of nothing
_BY_THE_CLOCK = (*MIN_REQUESTS, "served_cold_start_s", "served_rows_per_s")


@dataclass(frozen=True)
class ServedCosts:
    """Figures of a served model, by the names of docs/metrics.md; one that cannot be measured is absent.

    Attributes:
        requests: how many of one row each were measured.
        rate: requests a second that fell due; None: each waited for the answer to the one before.
        cannot_keep_up: half a sentence on a model that answers fewer requests than fall due.
        answered_per_s: how many it answers at the rate.
        server_ms: the part of served_p50_ms that MLflow's server takes; None: it was not measured.
    """

    figures: dict[str, float]
    requests: int
    contention: Contention
    model_id: str | None = None
    rate: float | None = None
    cannot_keep_up: str | None = None
    answered_per_s: float = 0.0
    server_ms: float | None = None

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
    seed: int = 0,
) -> ServedCosts:
    """Serve a model alone on this machine, and ask it for one row after another; 10 to 20 s.

    `rows` may have more columns than the model takes; without them it is asked for its input example. `max_seconds` is
    the time for these requests, of which a slow model may then answer too few for its p95. At a `rate`, requests fall
    due at random moments, which `seed` fixes, on average this many a second, and their time counts from there. Call it
    from a thread that waits for it: the server is killed when that thread ends.

    Raises:
        ServerError: the model does not start here, or does not answer.
        ServedError: there is no such model, or no rows for it.
    """
    rates = [] if rate is None else [rate]
    return served_at_rates(model_uri, rows, rates, seed, max_seconds)[0]


def served_at_rates(
    model_uri: str,
    rows: pd.DataFrame | None,
    rates: Sequence[float],
    seed: int = 0,
    max_seconds: float | None = None,
) -> list[ServedCosts]:
    """The costs of one server at each rate in turn; without rates those of a stream. See `served_costs`."""
    with downloaded(model_uri) as model:
        table = table_of(model, rows)
        requests = one_by_one(table)
        with serving(model) as (server,):
            costs = endpoint_costs(server, requests, rates, seed, max_seconds)
            last = costs[-1]
            last.figures["served_cold_start_s"] = server.cold_start_s
            if last.cannot_keep_up is None:
                last.figures.update(_batch_figures(server, table))
        if not rates:
            costs = [replace(last, server_ms=_server_ms(model, requests))]
    return costs


def endpoint_costs(
    server: Endpoint,
    requests: Sequence[bytes],
    rates: Sequence[float],
    seed: int = 0,
    max_seconds: float | None = None,
) -> list[ServedCosts]:
    """The costs of a server that runs, at each rate; without rates those of a stream. ServerError: no answer."""
    if not rates:
        return [costs_of(server, requests, None, max_seconds)]
    return [costs_of(server, requests, rate, max_seconds, seed) for rate in rates]


def costs_of(
    server: Endpoint,
    requests: Sequence[bytes],
    rate: float | None = None,
    max_seconds: float | None = None,
    seed: int = 0,
) -> ServedCosts:
    """The costs of a server that is asked for these, over and over. See `served_costs`."""

    def is_enough(time_s: float, asked: int) -> bool:
        if rate is None and asked >= _MAX_REQUESTS:
            return True
        enough_s = _ASKED_S if asked >= MIN_REQUESTS["served_p95_ms"] else _SLOWLY_ASKED_S
        return asked > 0 and time_s > (max_seconds or enough_s)

    pacer = stream if rate is None else Poisson(rate, seed)
    connections = 1 if rate is None else CONNECTIONS
    warm_up(server, requests, connections)
    client = Client(server, requests, pacer, is_enough, connections)
    client.run()
    answers = sum(request.is_answered for request in client.asked)
    figures = server.memory()
    if answers and client.cpu_s:
        figures["served_cpu_ms"] = 1e3 * client.cpu_s / answers
    cannot_keep_up = None
    answered = rate or 0.0
    if rate is not None and not keeps_up(client.asked, rate):
        answered = answered_per_s(client.asked)
        cannot_keep_up = f"it answers only {answered:.3g} of {rate:g} requests a second"
    else:
        figures |= percentiles_ms(client.asked)
    return ServedCosts(figures, len(client.asked), client.contention, server.model_id, rate, cannot_keep_up, answered)


def _batch_figures(server: Endpoint, table: Table) -> dict[str, float]:
    """Rows a second where each request has 100; nothing if such a request takes too long."""
    batch = one_batch(table)
    try:
        with server.connected() as connection:
            seconds = median(asked(connection, batch) for _ in range(_BATCHES))
    except ServerError:
        return {}
    return {"served_rows_per_s": BATCH / seconds}


def _server_ms(model: ServedModel, requests: Sequence[bytes]) -> float | None:
    """Median time that MLflow's server takes for these: that of a model of nothing with the same signature.

    None: the machine was busy.
    """
    with tempfile.TemporaryDirectory(prefix="mlflow-sysmetrics-") as target:
        folder = str(Path(target, "model"))
        code = str(Path(__file__).with_name("nothing.py"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has neither type hints nor an input example
            mlflow.pyfunc.save_model(folder, python_model=code, signature=model.metadata.signature, pip_requirements=[])
        with downloaded(folder) as nothing, serving(nothing) as (server,):
            costs = costs_of(server, requests, max_seconds=_NOTHING_S)
    return costs.trusted.get("served_p50_ms")


def warm_up(server: Endpoint, requests: Sequence[bytes], connections: int = 1) -> None:
    """Ask what does not count: the first answer of each thread of the server takes longer."""
    at_once = min(connections, THREADS)
    Client(server, requests, stream, lambda time_s, asked: asked >= _WARM_UP or time_s > _WARM_UP_S, at_once).run()


def asked(connection: Connection, request: bytes) -> float:
    """Seconds from the first byte of a request to the last of its answer."""
    began = time.perf_counter()
    connection.ask(request)
    return time.perf_counter() - began
