"""Two models as MLflow serves them: their predictions of the same rows, and the costs of pairs of fresh servers.

The servers of a pair live at once. They are asked for one row in turn, in an order that a coin decides, so that both
meet the same machine; at a rate first the one and then the other, as at once each would wait for the other's requests.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from statistics import median

import mlflow
import numpy as np
import pandas as pd

from mlflow_gate.check.contest import BASELINE, CANDIDATE, CheckError, Metrics, failure
from mlflow_gate.check.scores import PROBABILITIES, SCORES, HeldOut, judge_score, read_answers
from mlflow_gate.check.verdict import ANSWERED, ComparedMetric, Finding
from mlflow_gate.served import (
    ServedCosts,
    ServedError,
    ServedModel,
    Server,
    Table,
    asked,
    costs_of,
    downloaded,
    in_batches,
    one_by_one,
    serving,
    table_of,
    warm_up,
)
from mlflow_sysmetrics.common.time_limits import DELIVER_S
from mlflow_sysmetrics.delivery import RunRef, child_run
from mlflow_sysmetrics.recording import tags
from mlflow_sysmetrics.recording.outcome import FINISHED

_ROUNDS = 120  # of one request each: in blocks of five, CPU times of two servers of one model differ more
_ROUNDS_S = 15.0
_AFTER_ANSWER_S = 0.002  # what a server does then is part of its CPU time
_PARAMS = {"predict_method": "predict_proba"}  # models that do not know it ignore it


@dataclass(frozen=True)
class AskedModel:
    """A model: of which side, and the rows that it is asked for."""

    side: str
    model: ServedModel
    table: Table


@contextmanager
def both_models(baseline: str, candidate: str, rows: pd.DataFrame, group: str | None) -> Iterator[list[AskedModel]]:
    """Both sides, with copies of the models. The column of groups is only for a model that names it.

    ServedError: there is no such model, it does not take these rows, or both are one.
    """
    with ExitStack() as stack:
        models = []
        for side, uri in ((BASELINE, baseline), (CANDIDATE, candidate)):
            model = stack.enter_context(downloaded(uri))
            features = rows.drop(columns=group) if group and not model.takes(group) else rows
            models.append(AskedModel(side, model, table_of(model, features)))
        if model.model_id and model.model_id == models[0].model.model_id:
            raise ServedError(f"{baseline} and {candidate} are one logged model, {model.model_id}; give two")
        yield models


@dataclass(frozen=True)
class Models:
    """A `Contest` of two models, baseline and candidate: their `scores` on rows that are held out, and `metrics`.

    `rate` is that of requests; None: each waits for the answer to the one before.
    """

    models: Sequence[AskedModel]
    scores: Sequence[ComparedMetric]
    metrics: Sequence[ComparedMetric]
    held_out: HeldOut
    rate: float | None = None

    @property
    def how(self) -> str:
        """How the servers of a pair are asked, and what nobody can see from here."""
        served = "both served at once and asked in turn"
        if self.rate is not None:
            served = f"asked one after the other at {self.rate:g} requests a second"
        return f"{served}; scores hold if neither was trained on these {len(self.held_out.truth)} rows"

    def warm_up(self, parent: RunRef) -> list[Finding]:
        """Have both predict all rows, which says how their scores differ. CheckError: one has no score."""
        kinds = [SCORES[metric.name].predicted for metric in self.scores]
        predictions = {}
        with serving(*(model.model for model in self.models)) as servers:
            for predicted in set(kinds):
                sides = zip(self.models, servers, strict=True)
                predictions[predicted] = [self._predicted(predicted, *side) for side in sides]
        of_scores = zip(self.scores, kinds, strict=True)
        return [judge_score(metric, self.held_out, *predictions[predicted]) for metric, predicted in of_scores]

    def run(self, parent: RunRef, pair: int) -> Sequence[Metrics]:
        """What each costs with new servers."""
        requests = [one_by_one(model.table) for model in self.models]
        with serving(*(model.model for model in self.models)) as servers:
            costs = _in_turn(servers, requests) if self.rate is None else _at_rate(servers, requests, self.rate)
        for model, figures in zip(self.models, costs, strict=True):
            about = {tags.KIND: "check run", tags.SIDE: model.side, tags.PAIR: str(pair)}
            run = child_run(parent, f"{model.side} {pair}", about)
            run.log(summary={metric.name: figures[metric.name] for metric in self.metrics if metric.name in figures})
            run.end(FINISHED)
            run.close(DELIVER_S)
        return costs

    def _predicted(self, predicted: str, model: AskedModel, server: Server) -> np.ndarray:
        answers: list[object] = []  # values, lists, or records as MLflow writes a Series or a frame
        with server.connected() as connection:
            for request in in_batches(model.table, _PARAMS if predicted == PROBABILITIES else None):
                answers += json.loads(connection.ask(request))["predictions"]
        try:
            frame = pd.DataFrame(answers)
            if predicted == PROBABILITIES and list(frame) == [0, 1]:  # lists, which have no names
                frame.columns = pd.Index(_classes_of(model.model))
            return read_answers(frame, predicted, self.held_out)
        except ValueError as error:
            raise failure(model.side, str(error)) from None


def _classes_of(model: ServedModel) -> list[object]:
    """The classes of a model in the order of its probabilities. ValueError: nobody knows."""
    if "sklearn" in model.metadata.flavors:
        estimator = mlflow.sklearn.load_model(model.folder)
        if hasattr(estimator, "classes_"):
            return list(estimator.classes_)
    wanted = "let it answer with a frame that names the columns by class, or with the probability of --positive alone"
    raise ValueError(f"answers with two columns, and nothing says which class each is of; {wanted}")


def _in_turn(servers: Sequence[Server], requests: Sequence[Sequence[bytes]]) -> list[Metrics]:
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


def _stream(server: Server, requests: Sequence[bytes]) -> Iterator[tuple[float, float]]:
    """CPU and wall time of one request after another, in ms."""
    warm_up(server, requests)
    with server.connected() as connection:
        server.find_processes()
        for request in cycle(requests):
            before_s = server.cpu_seconds()
            time_s = asked(connection, request)
            time.sleep(_AFTER_ANSWER_S)
            yield 1e3 * (server.cpu_seconds() - before_s), 1e3 * time_s


def _at_rate(servers: Sequence[Server], requests: Sequence[Sequence[bytes]], rate: float) -> list[Metrics]:
    """The costs of each. CheckError: neither keeps up, on a machine that is not busy."""
    costs: dict[int, ServedCosts] = {}
    for place in random.sample(range(len(servers)), len(servers)):
        costs[place] = costs_of(servers[place], requests[place], rate)
    if all(each.cannot_keep_up and not each.contention.is_busy for each in costs.values()):
        of_rate = f"{costs[0].answered_per_s:.3g} of {rate:g} requests a second"
        raise CheckError(f"neither model can keep up: the baseline answers only {of_rate}")
    return [_trusted(costs[place]) for place in sorted(costs)]


def _trusted(costs: ServedCosts) -> Metrics:
    figures = costs.trusted
    if not (costs.cannot_keep_up and costs.contention.is_busy):  # it may keep up elsewhere
        figures[ANSWERED.name] = costs.answered_per_s
    return figures
