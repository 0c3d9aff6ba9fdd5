"""What a trained model shows: its loss and score on some rows, what inference takes, its size."""

from __future__ import annotations

import pickle
from statistics import fmean, median
from time import perf_counter
from typing import NamedTuple

import numpy as np

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.splits import Rows
from entrypoints.datasets.sysmetrics_rows import Preprocessing
from entrypoints.models.learners import Learner, Outputs
from entrypoints.models.losses import Array, Target
from entrypoints.models.scores import Score

FEW_ROWS = 50  # enough for a median
BATCH_ROWS = 1024  # predicted at once
_CHUNK_ROWS = 8192  # rows that are normalised and scored at once, which bounds the memory that scoring takes
_COPIED_BYTES = 100_000  # of an array that is pickled to count it; a larger one is counted where it is


class Model(NamedTuple):
    """A model, trained or not, and what it takes to predict rows of its dataset."""

    learner: Learner
    preprocessing: Preprocessing
    score: Score
    data: Prepared

    def features(self, rows: Rows) -> Array:
        """What the model predicts from."""
        return self.preprocessing.transform(self.data.X[rows])

    def target(self, rows: Rows) -> Target:
        """Scaled for these rows alone: a copy of the whole target for each fold would take 8 bytes a row."""
        y = self.data.y[rows]
        if self.data.task == "regression":
            return self.preprocessing.scaling.transform_target(y)
        return y

    def part(self, rows: Rows) -> tuple[Array, Target]:
        """What it is trained on, and the target there."""
        return self.preprocessing.transform(self.data.X[rows], self.data.parts[rows]), self.target(rows)

    def untrained_loss(self, rows: Rows) -> float:
        """The loss on these rows before any training."""
        return self.learner.untrained_loss(self.target(rows))

    def outputs(self, rows: Rows) -> Array:
        """What the score is computed from, of each of these rows."""
        return self._in_chunks(self._decisions or self.learner.outputs, rows)

    def scored(self, outputs: Array, rows: Rows) -> float:
        """The score of the outputs of these rows, in the target's own units."""
        scaling = self.preprocessing.scaling
        if self.score.in_numpy:
            return self.score.in_numpy(outputs, self.target(rows)) * scaling.y_scale
        in_units = outputs * scaling.y_scale + scaling.y_mean
        return self.score.of(in_units, self.data.y[rows], self.learner.loss)

    def evaluated(self, part: str, rows: Rows) -> dict[str, float]:
        """``<part>_loss`` and ``<part>_<score>`` on these rows."""
        outputs = self._in_chunks(self.learner.outputs, rows)
        loss = self.learner.loss(outputs, self.target(rows))
        if self._decisions is not None:
            outputs = self._in_chunks(self._decisions, rows)
        return {f"{part}_loss": loss, f"{part}_{self.score.name}": self.scored(outputs, rows)}

    @property
    def _decisions(self) -> Outputs | None:
        """What the score is computed from, where that is not what the loss is."""
        return self.learner.decisions if self.score.needs == ["predict"] else None

    def _in_chunks(self, outputs: Outputs, rows: Rows) -> Array:
        starts = range(0, len(rows), _CHUNK_ROWS)
        return np.concatenate([outputs(self.features(rows[start : start + _CHUNK_ROWS])) for start in starts])


class Shown(NamedTuple):
    """What the model of a fold shows once it is trained."""

    validation: dict[str, float]
    test: dict[str, float]
    latencies_ms: list[float]
    rows_per_s: float
    model_size_kb: float


def show(model: Model, held_out: Rows, latency_rows: int) -> Shown:
    """All that a trained model shows: on its held-out rows, on the test part, and of inference.

    Args:
        model: trained.
        held_out: rows to validate on.
        latency_rows: how many rows are predicted one at a time.
    """
    return Shown(
        validation=model.evaluated("val", held_out),
        test=model.evaluated("test", model.data.split.test_of_trials),
        latencies_ms=latencies_ms(model, latency_rows),
        rows_per_s=rows_per_s(model),
        model_size_kb=size_kb(model),
    )


def inference(shown: list[Shown]) -> dict[str, float]:
    """One row at a time, median and 99th percentile; rows a second in a batch; and the size: of the models of folds."""
    latencies = [latency_ms for each in shown for latency_ms in each.latencies_ms]
    return {
        "inference_latency_ms": median(latencies),
        "inference_p99_ms": float(np.quantile(latencies, 0.99)),
        "rows_per_s": median(each.rows_per_s for each in shown),
        "model_size_kb": fmean(each.model_size_kb for each in shown),
    }


def latencies_ms(model: Model, rows: int) -> list[float]:
    """The times to preprocess and predict one row, of this number."""
    return [1e3 * _predict_s(model, row, row + 1) for row in np.resize(model.data.split.test, rows).tolist()]


def rows_per_s(model: Model) -> float:
    """How many rows are preprocessed and predicted in a second, in one call."""
    stop = min(len(model.data.X), BATCH_ROWS)
    return stop / _predict_s(model, 0, stop)


def size_kb(model: Model) -> float:
    """The size of the pickled estimator in units of 1000 bytes.

    It is counted and not kept, large arrays where they are: a copy would be part of the trial's peak of memory.
    """
    size = _Size()

    def copy(array: pickle.PickleBuffer) -> bool:
        if array.raw().nbytes <= _COPIED_BYTES:
            return True
        size.bytes += array.raw().nbytes
        return False

    pickle.Pickler(size, protocol=5, buffer_callback=copy).dump(model.learner.estimator)
    return size.bytes / 1e3


class _Size:
    """A file that keeps nothing but its size."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Count what is written."""
        self.bytes += memoryview(data).nbytes


def _predict_s(model: Model, start: int, stop: int) -> float:
    X = model.data.X[start:stop]
    started = perf_counter()
    model.learner.estimator.predict(model.preprocessing.transform(X))
    return perf_counter() - started
