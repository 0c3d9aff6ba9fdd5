"""Two models as MLflow serves them: their predictions of the same rows, and the costs of pairs of fresh servers.

The servers of a pair live at once. They are asked for one row in turn, in an order that a coin decides, so that both
meet the same machine.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import pandas as pd

from mlflow_sysmetrics import tags
from mlflow_sysmetrics.check.sides import CandidateError, CheckError
from mlflow_sysmetrics.delivery import RunRef, child_run
from mlflow_sysmetrics.outcome import FINISHED
from mlflow_sysmetrics.served import (
    ServedModel,
    Server,
    Table,
    asked,
    downloaded,
    in_batches,
    one_by_one,
    serving,
    table_of,
    warm_up,
)

_ROUNDS = 120  # of one request each: in blocks of five, CPU times of two servers of one model differ more
_ROUNDS_S = 15.0
_AFTER_ANSWER_S = 0.002  # what a server does then is part of its CPU time
_CLOSE_S = 5.0


@dataclass(frozen=True)
class ModelSide:
    """A model: ``baseline`` or ``candidate``, and the rows that it is asked for."""

    name: str
    model: ServedModel
    table: Table

    def failed(self, how: str) -> CheckError:
        kind = CandidateError if self.name == "candidate" else CheckError
        return kind(f"the {self.name} {how}")

    def number(self, metrics: Mapping[str, float], name: str) -> float:
        """A metric of one of its servers. CheckError: it could not be read."""
        if name not in metrics:
            raise self.failed(f"has no {name}: it cannot be read here")
        return metrics[name]


@contextmanager
def of_models(baseline: str, candidate: str, rows: pd.DataFrame, group: str | None) -> Iterator[list[ModelSide]]:
    """Both sides, with copies of the models. The column of groups is only for a model that names it.

    ServedError: there is no such model, or it does not take these rows.
    """
    with ExitStack() as stack:
        sides = []
        for name, uri in (("baseline", baseline), ("candidate", candidate)):
            model = stack.enter_context(downloaded(uri))
            features = rows.drop(columns=group) if group and not model.takes(group) else rows
            sides.append(ModelSide(name, model, table_of(model, features)))
        yield sides


@dataclass
class ModelPairs:
    """Serves baseline and candidate, and records what each server of them costs below `parent`, the run of the check.

    `predictions` are known after the warm-up.
    """

    sides: Sequence[ModelSide]
    parent: RunRef
    predictions: list[np.ndarray] = field(default_factory=list)

    @property
    def how(self) -> str:
        """How the servers of a pair are asked, and what nobody can see from here."""
        rows = len(self.sides[0].table)
        return f"both served at once and asked in turn; losses hold if neither was trained on these {rows} rows"

    def warm_up(self) -> None:
        """Have both predict all rows."""
        with serving(*(side.model for side in self.sides)) as servers:
            self.predictions = [_predictions(side, server) for side, server in zip(self.sides, servers, strict=True)]

    def run(self, pair: int) -> list[Mapping[str, float]]:
        """What each costs with new servers."""
        requests = [one_by_one(side.table) for side in self.sides]
        with serving(*(side.model for side in self.sides)) as servers:
            costs = _asked_in_turn(servers, requests)
        for side, figures in zip(self.sides, costs, strict=True):
            about = {tags.KIND: "check run", tags.SIDE: side.name, tags.PAIR: str(pair)}
            handle = child_run(self.parent, f"{side.name} {pair}", about)
            handle.log(summary=figures)
            handle.end(FINISHED)
            handle.close(_CLOSE_S)
        return costs


def _asked_in_turn(servers: Sequence[Server], requests: Sequence[Sequence[bytes]]) -> list[Mapping[str, float]]:
    cpu_s: list[list[float]] = [[] for _ in servers]
    times: list[list[float]] = [[] for _ in servers]
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connected()) for server in servers]
        for connection, rows in zip(connections, requests, strict=True):
            warm_up(connection, rows)
        for server in servers:
            server.find_processes()
        end = time.monotonic() + _ROUNDS_S
        for number in range(_ROUNDS):
            for place in random.sample(range(len(servers)), len(servers)):
                before = servers[place].cpu_seconds()
                times[place].append(asked(connections[place], requests[place][number % len(requests[place])]))
                time.sleep(_AFTER_ANSWER_S)
                cpu_s[place].append(servers[place].cpu_seconds() - before)
            if time.monotonic() > end:
                break
    costs: list[Mapping[str, float]] = []
    for place, server in enumerate(servers):
        figures = {"served_cpu_ms": 1e3 * median(cpu_s[place]), "served_p50_ms": 1e3 * median(times[place])}
        memory_mb = server.memory_mb()
        if memory_mb is not None:
            figures["served_memory_mb"] = memory_mb
        costs.append(figures)
    return costs


def _predictions(side: ModelSide, server: Server) -> np.ndarray:
    """One for each row. CheckError: there are more, or fewer."""
    found: list[object] = []
    with server.connected() as connection:
        for request in in_batches(side.table):
            found += json.loads(connection.ask(request))["predictions"]
    predictions = pd.DataFrame(found)  # of values, of lists, or of records as MLflow writes a Series
    if predictions.shape != (len(side.table), 1):
        shape = " x ".join(map(str, predictions.shape))
        raise side.failed(f"predicts {shape} values for {len(side.table)} rows, of which only one a row can be judged")
    values: np.ndarray = predictions.iloc[:, 0].to_numpy()
    return values
