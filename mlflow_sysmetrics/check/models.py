"""Two models as MLflow serves them: their predictions of the same rows, and the costs of pairs of fresh servers.

The servers of a pair live at once. They are asked for one row in turn, in an order that a coin decides, so that both
meet the same machine.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import pandas as pd

from mlflow_sysmetrics import tags
from mlflow_sysmetrics.check.contest import BASELINE, CANDIDATE, Metrics, failure
from mlflow_sysmetrics.check.scores import PROBABILITIES, SCORES, judge_score, read_answers
from mlflow_sysmetrics.check.verdict import ComparedMetric, Finding
from mlflow_sysmetrics.delivery import RunRef, child_run
from mlflow_sysmetrics.outcome import FINISHED
from mlflow_sysmetrics.served import (
    ServedError,
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
from mlflow_sysmetrics.time_limits import DELIVER_S

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
    """A `Contest` of two models, baseline and candidate, with the truth of each row, and the number of its group.

    `scores` are compared on the rows; `together` metrics share the error. `positive` is the class whose probability is
    judged, where one is.
    """

    models: Sequence[AskedModel]
    scores: Sequence[ComparedMetric]
    truth: np.ndarray
    groups: np.ndarray
    together: int
    positive: str = ""

    @property
    def how(self) -> str:
        """How the servers of a pair are asked, and what nobody can see from here."""
        rows = len(self.truth)
        return f"both served at once and asked in turn; scores hold if neither was trained on these {rows} rows"

    def warm_up(self, parent: RunRef) -> list[Finding]:
        """Have both predict all rows, which says how their scores differ. CheckError: one has no score."""
        predictions = {}
        with serving(*(model.model for model in self.models)) as servers:
            for predicted in {SCORES[metric.name].predicted for metric in self.scores}:
                sides = zip(self.models, servers, strict=True)
                predictions[predicted] = [self._predicted(predicted, *side) for side in sides]
        return [self.judge(metric, *predictions[SCORES[metric.name].predicted]) for metric in self.scores]

    def run(self, parent: RunRef, pair: int) -> Sequence[Metrics]:
        """What each costs with new servers."""
        requests = [one_by_one(model.table) for model in self.models]
        with serving(*(model.model for model in self.models)) as servers:
            costs = _asked_in_turn(servers, requests)
        for model, figures in zip(self.models, costs, strict=True):
            about = {tags.KIND: "check run", tags.SIDE: model.side, tags.PAIR: str(pair)}
            run = child_run(parent, f"{model.side} {pair}", about)
            run.log(summary=figures)
            run.end(FINISHED)
            run.close(DELIVER_S)
        return costs

    def judge(self, metric: ComparedMetric, a: np.ndarray, b: np.ndarray) -> Finding:
        """How a score differs between the predictions of baseline and candidate."""
        truth = self.truth
        if SCORES[metric.name].predicted == PROBABILITIES:
            truth = truth.astype(str) == self.positive
        return judge_score(metric, truth, a, b, self.groups, self.together)

    def _predicted(self, predicted: str, model: AskedModel, server: Server) -> np.ndarray:
        answers: list[object] = []
        with server.connected() as connection:
            for request in in_batches(model.table, _PARAMS if predicted == PROBABILITIES else None):
                answers += json.loads(connection.ask(request))["predictions"]
        try:
            return read_answers(answers, predicted, self.truth, self.positive)
        except ValueError as error:
            raise failure(model.side, str(error)) from None


def _asked_in_turn(servers: Sequence[Server], requests: Sequence[Sequence[bytes]]) -> list[Metrics]:
    cpu_s: list[list[float]] = [[] for _ in servers]
    times: list[list[float]] = [[] for _ in servers]
    with ExitStack() as stack:
        for server, rows in zip(servers, requests, strict=True):
            warm_up(server, rows)
        connections = [stack.enter_context(server.connected()) for server in servers]
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
    costs: list[Metrics] = []
    for place, server in enumerate(servers):
        figures = {"served_cpu_ms": 1e3 * median(cpu_s[place]), "served_p50_ms": 1e3 * median(times[place])}
        memory_mb = server.memory_mb()
        if memory_mb is not None:
            figures["served_memory_mb"] = memory_mb
        costs.append(figures)
    return costs
