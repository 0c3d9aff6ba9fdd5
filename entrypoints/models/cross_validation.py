"""One configuration on all folds, a few steps of each in turn: at each point of a curve all are equally far."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from statistics import fmean, median
from time import perf_counter
from typing import NamedTuple

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from entrypoints.compute import memory
from entrypoints.compute.contention import CoreWait, own_share
from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.splits import Rows
from entrypoints.datasets.sysmetrics_raw_rows import Preprocessing
from entrypoints.models import scores
from entrypoints.models.configuration import Configuration
from entrypoints.models.convergence import Convergence
from entrypoints.models.learners import Learner, Outputs
from entrypoints.models.losses import Array, Target

DIVERGED_LOSS = 100.0  # times that of the untrained model; no log loss is so large
_CHUNK_ROWS = 8192  # rows that are normalised and scored at once, which bounds the memory that scoring takes
_COPIED_BYTES = 100_000  # of an array that is pickled to count it; a larger one is counted where it is
LATENCY_ROWS = 150  # predicted one at a time, by the models of all folds together
FEW_ROWS = 50  # enough for a median
BATCH_ROWS = 1024  # predicted at once
LOSS_ROWS = 1000  # about as many training rows, evenly spread, have the training loss of a fit on all of them
MEASURED_MODELS = MEASURED_STEPS = 2  # whose memory is measured: later models and steps take no more
TURN_STEPS = 5  # of a fold before the next one's: what a change of folds costs the core's caches is shared by them
TURN_S = 0.005  # long steps need no such turns, and limits are looked at in between


def batches(rows: Rows, batch_size: int, seed: tuple[int, int]) -> Iterator[Rows]:
    """Row numbers, batch by batch without end: each epoch is a new random order, its last batch may be smaller."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(rows)
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size].astype(np.intp)  # with which numpy is fastest


def balanced(y: Rows) -> dict[int, float]:
    """The weight of each class for which all classes count the same: scikit-learn's ``balanced``."""
    classes = np.unique(y)
    return dict(zip(classes.tolist(), compute_class_weight("balanced", classes=classes, y=y).tolist(), strict=True))


def _quiet() -> np.errstate:
    """A diverging model overflows on its way; that is recorded as such and needs no warning per step."""
    return np.errstate(over="ignore", invalid="ignore")


class _Size:
    """A file that keeps nothing but its size."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Count what is written."""
        self.bytes += memoryview(data).nbytes


class FoldResult(NamedTuple):
    """What a trained model shows: loss and score on the held-out rows and on the test part, inference and size."""

    validation: dict[str, float]
    test: dict[str, float]
    latencies_ms: list[float]
    rows_per_s: float
    model_size_kb: float


class Fold:
    """One model with its rows, its preprocessing and its batches, and the time that its steps took.

    Args:
        number: the fold's number; with the configuration's seed it fixes the order of the batches.
        fit: row numbers to train on.
        held_out: row numbers to validate on.
        preprocessing: fitted on ``fit`` alone.
        learner: the model, where it is not that of the configuration.
    """

    def __init__(
        self,
        configuration: Configuration,
        data: Prepared,
        number: int,
        fit: Rows,
        held_out: Rows,
        preprocessing: Preprocessing,
        learner: Learner | None = None,
    ) -> None:
        weights = {"class_weight": balanced(data.y[fit])} if configuration.class_weight else {}
        self.learner = learner or configuration.find_algorithm(data.task).learner(
            weights | dict(configuration.hyperparameters), data.n_classes, configuration.seed
        )
        self.by_batch = configuration.batch_size is not None
        self.score = scores.find(configuration.metric, data.task)
        self.preprocessing = preprocessing
        self._scaling = preprocessing.scaling
        self.number = number
        self.steps = 0
        self.training_time_s = 0.0  # without the time in which other processes had the core
        self.memory_mb: float | None = None  # known after a measured step
        self._kept_mb = self._last_kept_mb = self._rows_mb = 0.0
        self.train_losses: list[float] = []
        self._loss_sum, self._loss_rows = 0.0, 0
        self._data = data
        self._held_out = held_out
        self._fit = fit
        self._batches = batches(fit, configuration.batch_size or len(fit), (configuration.seed, number))
        self._core_wait = CoreWait()

    def step(self, steps: int = 1) -> None:
        """Train on each of the next batches, or go on with the fit, timed, and note the loss after it."""
        if self.by_batch:
            self._train(map(self._rows, islice(self._batches, steps)))
        else:
            self._train([self._rows(self._fit)], steps)

    def measured_step(self, steps: int = 1) -> None:
        """Like ``step``, and see by how many megabytes it raises the memory of this process, if the OS tells.

        ``memory_mb`` is then the most that the model and its step have taken, with what its earlier steps have left:
        what the first one only allocates, as a moment of zeros, takes memory when the second one writes to it. The
        rows of a batch are part of it. All rows, of which a user has such a table anyway, are not.
        """
        if self.by_batch:
            rows = next(self._batches)
            self._data.X[rows]  # pages of shared memory count as the process's when it first reads them
            raised = memory.raised(lambda: self._train(map(self._rows, [rows])))
        else:
            whole = self._rows(self._fit)
            self._rows_mb = whole[0].nbytes / 1e6
            raised = memory.raised(lambda: self._train([whole], steps))
        if raised is None:
            return
        self.memory_mb = max(self.memory_mb or 0.0, self._kept_mb + raised.peak_mb)
        self._kept_mb += raised.kept_mb
        self._last_kept_mb = raised.kept_mb

    def _train(self, parts: Iterable[tuple[Array, Target]], iterations: int = 1) -> None:
        took_s = 0.0
        began = perf_counter()
        waited_s = self._core_wait()
        try:
            for X, y in parts:
                self.steps += iterations
                started = perf_counter()
                self.learner.step(X, y, iterations)
                took_s += perf_counter() - started
                if not self.by_batch:
                    every = max(1, len(y) // LOSS_ROWS)
                    X, y = X[::every], y[::every]
                loss = self.learner.loss(self.learner.outputs(X), y)
                self.train_losses.append(loss)
                self._loss_sum += loss * len(y)
                self._loss_rows += len(y)
        finally:
            self.training_time_s += took_s * own_share(perf_counter() - began, self._core_wait() - waited_s)

    def _rows(self, rows: Rows) -> tuple[Array, Target]:
        return self.preprocessing.transform(self._data.X[rows]), self._target(rows)

    def _target(self, rows: Rows) -> Target:
        """Scaled for these rows alone: a copy of the whole target for each fold would take 8 bytes a row."""
        y = self._data.y[rows]
        return self._scaling.transform_target(y) if self._data.task == "regression" else y

    def take_train_loss(self) -> float:
        """The mean loss of the steps since the last call."""
        mean = fmean(self.train_losses)
        self.train_losses.clear()
        return mean

    def take_row_loss(self) -> float:
        """The mean loss of the rows that were trained on since the last call."""
        mean = self._loss_sum / self._loss_rows
        self._loss_sum, self._loss_rows = 0.0, 0
        return mean

    def memory_at_end_mb(self, steps: int) -> float:
        """What a fit on all rows will hold: its rows and what it makes of them; or trees, by that of the second step.

        The first one may load a library.
        """
        if self.learner.holds_rows:
            return self._kept_mb + self._rows_mb
        return self._last_kept_mb * steps if self.steps > 1 else 0.0

    def forget_model(self) -> None:
        """Keep of the training its last loss alone."""
        del self.train_losses[:-1]
        del self.learner

    def result(self, latency_rows: int) -> FoldResult:
        """What the trained model shows; its latency on this number of rows."""
        return FoldResult(
            validation=self.validate(),
            test=self.test(),
            latencies_ms=self.latencies_ms(latency_rows),
            rows_per_s=self.rows_per_s(),
            model_size_kb=self.model_size_kb(),
        )

    def validate(self) -> dict[str, float]:
        """``val_loss`` and ``val_<score>``: on the held-out rows; the score is in the target's own units."""
        return self._evaluate("val", self._held_out)

    def test(self) -> dict[str, float]:
        """``test_loss`` and ``test_<score>``: on the test part, which no choice ever sees."""
        return self._evaluate("test", self._data.split.test)

    def untrained_loss(self) -> float:
        """The loss of an untrained model on the held-out rows."""
        return self.learner.untrained_loss(self._target(self._held_out))

    def latencies_ms(self, rows: int) -> list[float]:
        """The times to preprocess and predict one row, of this number."""
        return [1e3 * self._predict_s(row, row + 1) for row in np.resize(self._data.split.test, rows).tolist()]

    def rows_per_s(self) -> float:
        """How many rows are preprocessed and predicted in a second, in one call."""
        stop = min(len(self._data.X), BATCH_ROWS)
        return stop / self._predict_s(0, stop)

    def _predict_s(self, start: int, stop: int) -> float:
        X = self._data.X[start:stop]
        started = perf_counter()
        self.learner.estimator.predict(self.preprocessing.transform(X))
        return perf_counter() - started

    def model_size_kb(self) -> float:
        """The size of the pickled estimator in units of 1000 bytes.

        It is counted and not kept, large arrays where they are: a copy would be part of the trial's peak of memory.
        """
        size = _Size()

        def copy(array: pickle.PickleBuffer) -> bool:
            if array.raw().nbytes <= _COPIED_BYTES:
                return True
            size.bytes += array.raw().nbytes
            return False

        pickle.Pickler(size, protocol=5, buffer_callback=copy).dump(self.learner.estimator)
        return size.bytes / 1e3

    def _evaluate(self, part: str, rows: Rows) -> dict[str, float]:
        outputs = self._in_chunks(self.learner.outputs, rows)
        loss = self.learner.loss(outputs, self._target(rows))
        if self._decisions is not None:
            outputs = self._in_chunks(self._decisions, rows)
        return {f"{part}_loss": loss, f"{part}_{self.score.name}": self.scored(outputs, rows)}

    @property
    def _decisions(self) -> Outputs | None:
        """What the score is computed from, where that is not what the loss is."""
        return self.learner.decisions if self.score.needs == ["predict"] else None

    def outputs(self, rows: Rows) -> Array:
        """What the score is computed from, of each of these rows."""
        return self._in_chunks(self._decisions or self.learner.outputs, rows)

    def scored(self, outputs: Array, rows: Rows) -> float:
        """The score of the outputs of these rows."""
        scaling = self._scaling
        if self.score.in_numpy:
            return self.score.in_numpy(outputs, self._target(rows)) * scaling.y_scale
        in_units = outputs * scaling.y_scale + scaling.y_mean
        return self.score.of(in_units, self._data.y[rows], self.learner.loss)

    def _in_chunks(self, outputs: Outputs, rows: Rows) -> Array:
        chunks = (rows[start : start + _CHUNK_ROWS] for start in range(0, len(rows), _CHUNK_ROWS))
        return np.concatenate([outputs(self.preprocessing.transform(self._data.X[each])) for each in chunks])


def _fold(configuration: Configuration, data: Prepared, number: int) -> Fold:
    (fit, held_out), preprocessing = data.split.folds[number], data.preprocessings[number]
    return Fold(configuration, data, number, fit, held_out, preprocessing)


class CrossValidation:
    """All folds of one configuration. The figures have the names and units of the project's metrics."""

    def __init__(self, configuration: Configuration, data: Prepared) -> None:
        self._make_fold = partial(_fold, configuration, data)
        self.folds = [self._make_fold(number) for number in range(len(data.split.folds))]
        self.by_batch = configuration.batch_size is not None
        self.steps = configuration.steps(data.split.fit_rows)
        self._report_steps = configuration.report_steps(data.split.fit_rows)
        # Each fold to its end, and its model forgotten, before the next one.
        self._one_by_one = not self.by_batch and self.steps == 1
        self._results: list[FoldResult] = []  # of the trained models, in the order of the folds
        self._latency_rows = math.ceil(LATENCY_ROWS / len(self.folds))
        self.step_number = 0
        self.diverged = False
        self._convergence = Convergence(configuration, data.split.fit_rows)
        self.overflowed = False
        self._was_hopeless = False
        self._reported = 0.0, 0.0  # steps and training time of the last report
        self.untrained_loss = fmean(fold.untrained_loss() for fold in self.folds)
        self.hopeless_loss = DIVERGED_LOSS * self.untrained_loss

    @property
    def ended(self) -> bool:
        """Whether all steps are done, it has converged, or there are no finite weights left to train."""
        return self.step_number >= self.steps or self._convergence.reached or self.overflowed

    @property
    def report_due(self) -> bool:
        """Whether each curve gets a point after the last step."""
        return self.ended or self.step_number % self._report_steps == 0

    @property
    def converged(self) -> bool:
        """Whether its training loss no longer improves."""
        return self._convergence.reached and not self.diverged

    @property
    def training_time_s(self) -> float:
        """Total ``partial_fit`` time of one fold, mean over folds, without waiting for a core."""
        return fmean(fold.training_time_s for fold in self.folds)

    def step(self, stop: Callable[[], bool] = lambda: False, turn: int = 1) -> None:
        """Advance every fold by one step, unless ``stop`` says before one of them that the trial is over.

        With ``turn`` by up to that many, one fold after the other, but never past a report that is due. Where fits on
        all rows would not fit into memory together, and where one is a single step, each goes to its end.
        """
        target = self.step_number + self._turn(turn)
        try:
            with _quiet():
                self._choose_order(target)
                all_did = self._each_to_its_end(stop) if self._one_by_one else self._all_to(target, stop)
        except FloatingPointError:
            self.overflowed = all_did = True
        if not all_did:
            return
        self.step_number = max(fold.steps for fold in self.folds)
        if self._convergence.due(self.step_number) and not self.overflowed:
            self._convergence.see(fmean(fold.take_row_loss() for fold in self.folds))

    def _choose_order(self, target: int) -> None:
        """Let the first steps of the first fold show whether fits on all rows have to be made one by one."""
        if self.by_batch or self._one_by_one or self.step_number >= MEASURED_STEPS:
            return
        first = self.folds[0]
        self._advance(first, target)
        self._one_by_one = len(self.folds) * first.memory_at_end_mb(self.steps) > memory.share_mb()

    def _all_to(self, target: int, stop: Callable[[], bool]) -> bool:
        """Advance every fold to this step; False if the trial was over before one of them."""
        for fold in self.folds:
            if stop():
                return False
            self._advance(fold, target)
        return True

    def _each_to_its_end(self, stop: Callable[[], bool]) -> bool:
        """Train one fold after the other, and keep what its model shows; False if the trial was over before one."""
        for fold in self.folds:
            if stop():
                return False
            self._advance(fold, self.steps)
            self._results.append(fold.result(self._latency_rows))
            fold.forget_model()
        return True

    def _advance(self, fold: Fold, target: int) -> None:
        """Train a fold up to this step, its memory measured where that says something new."""
        steps = target - fold.steps
        if steps <= 0:
            return
        # What a fit on all rows adds, such as trees, is memory of the model.
        grows = self.step_number < MEASURED_STEPS or not self.by_batch
        if grows and fold.number < MEASURED_MODELS:
            fold.measured_step(steps)
        else:
            fold.step(steps)

    def _turn(self, most: int) -> int:
        """How many steps each fold takes in its turn."""
        if most == 1 or self.step_number < MEASURED_STEPS:
            return 1
        to_report = self._report_steps - self.step_number % self._report_steps
        rest = min(to_report, self.steps - self.step_number)
        if not self.by_batch:  # each turn of a fit has a cost of its own
            return rest
        short = TURN_S * self.step_number / max(self.training_time_s, 1e-9)
        to_epoch = self._convergence.epoch_steps - self.step_number % self._convergence.epoch_steps
        return max(1, min(most, int(short), to_epoch, rest))

    def untrained(self) -> dict[str, float]:
        """The points of the curves before the first step. A score is not among them: no model can predict yet."""
        return {"val_loss": self.untrained_loss, "training_time_s": 0.0}

    def report(self) -> dict[str, float]:
        """The curves' next points, of the steps since the last report; what is not finite is left out.

        Losses and score are means over folds, ``val_loss_sd`` and ``val_<score>_sd`` standard deviations over folds.
        ``step_time_ms`` is the mean time of a ``partial_fit`` since the last report, ``training_time_s`` that of one
        fold so far. Sets ``diverged``: the loss is not finite; or a validation loss has been beyond ``hopeless_loss``,
        and this one is not below that of the untrained model. A loss that jumps about may end below the former by
        chance. A score that is not defined for the predictions, such as the logarithm of a negative one, says nothing
        of the training.
        """
        figures = self._interval()
        if self.overflowed:
            self.diverged = True
            return figures
        with _quiet():
            validations = [result.validation for result in self._results] or [fold.validate() for fold in self.folds]
            for name in validations[0]:
                values = [of_fold[name] for of_fold in validations]
                figures[name] = fmean(values)
                figures[f"{name}_sd"] = float(np.std(values, ddof=1))
            figures["train_loss"] = fmean(fold.take_train_loss() for fold in self.folds)
        self._was_hopeless |= not figures["val_loss"] <= self.hopeless_loss
        hopeless = self._was_hopeless and not figures["val_loss"] <= self.untrained_loss
        self.diverged = hopeless or not math.isfinite(figures["val_loss"])
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def times(self) -> dict[str, float]:
        """The mean time of a step and the time trained so far; empty before the first step."""
        steps, total_s = self._fold_steps, self.training_time_s
        return {"mean_step_time_ms": total_s / steps * 1e3, "training_time_s": total_s} if steps else {}

    @property
    def _fold_steps(self) -> float:
        """The steps of one fold, mean over folds, which differ where a trial ends within a turn."""
        return fmean(fold.steps for fold in self.folds)

    def model_memory(self) -> dict[str, float]:
        """``model_memory_mb``: what one model and its training step add to a process. Absent where unknown.

        The lowest measurement of several: the first one in a process includes memory of the libraries.
        """
        measured = [fold.memory_mb for fold in self.folds if fold.memory_mb is not None]
        return {"model_memory_mb": min(measured)} if measured else {}

    def _interval(self) -> dict[str, float]:
        """The time of the steps since the last report, and of all."""
        steps_before, time_before_s = self._reported
        steps, total_s = self._reported = self._fold_steps, self.training_time_s
        figures = {"training_time_s": total_s}
        if steps > steps_before:
            figures["step_time_ms"] = (total_s - time_before_s) / (steps - steps_before) * 1e3
        return figures

    def untrained_facts(self) -> dict[str, float]:
        """Latency and size of a model of this shape after one batch, which are those of the trained one.

        What a fit on all rows makes grows with it: nothing is known of that.
        """
        if not self.by_batch:
            return {}
        fold = self._make_fold(0)  # not one of those that train: they begin with their own first batch
        fold.step()
        return {"inference_latency_ms": median(fold.latencies_ms(FEW_ROWS)), "model_size_kb": fold.model_size_kb()}

    def fold_figures(self) -> list[dict[str, float]]:
        """One row per fold of the trained models: validation and test loss and score, and the time trained."""
        return [
            {"fold": fold.number, **result.validation, **result.test, "training_time_s": fold.training_time_s}
            for fold, result in zip(self.folds, self._final_results(), strict=True)
        ]

    def final_figures(self) -> dict[str, float]:
        """The one-off figures: the means of those on the test part, inference, size.

        Inference: one row at a time, median and 99th percentile, and rows a second in a batch.
        """
        results = self._final_results()
        figures = {name: fmean(result.test[name] for result in results) for name in results[0].test}
        latencies_ms = [latency_ms for result in results for latency_ms in result.latencies_ms]
        return figures | {
            "inference_latency_ms": median(latencies_ms),
            "inference_p99_ms": float(np.quantile(latencies_ms, 0.99)),
            "rows_per_s": median(result.rows_per_s for result in results),
            "model_size_kb": fmean(result.model_size_kb for result in results),
        }

    def _final_results(self) -> list[FoldResult]:
        self._results = self._results or [fold.result(self._latency_rows) for fold in self.folds]
        return self._results
