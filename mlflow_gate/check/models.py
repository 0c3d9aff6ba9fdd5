"""Two models as MLflow serves them: their predictions of the same rows, and the costs of pairs of fresh servers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd

from mlflow_gate.check.asked_in_turn import costs_of_pair, how_asked, record
from mlflow_gate.check.contest import BASELINE, CANDIDATE, Metrics, failure
from mlflow_gate.check.scores import PROBABILITIES, SCORES, HeldOut, judge_score, read_answers
from mlflow_gate.check.verdict import ComparedMetric, Finding
from mlflow_gate.served import (
    ServedError,
    ServedModel,
    Server,
    Table,
    downloaded,
    in_batches,
    one_by_one,
    serving,
    table_of,
)
from mlflow_sysmetrics.delivery import RunRef

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
        rows = len(self.held_out.truth)
        return f"{how_asked(self.rate)}; scores hold if neither was trained on these {rows} rows"

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
            costs = costs_of_pair(servers, requests, self.rate)
        for model, figures in zip(self.models, costs, strict=True):
            compared = {metric.name: figures[metric.name] for metric in self.metrics if metric.name in figures}
            record(parent, pair, model.side, compared)
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
