"""One configuration on all folds, step by step. Its figures have the names and units of the project's metrics."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean, median

import numpy as np

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.splits import thinned
from entrypoints.models import trained
from entrypoints.models.configuration import Configuration
from entrypoints.models.fold import MEASURED_STEPS, Fold, MeasuredFold
from entrypoints.models.trained import FEW_ROWS, Shown
from entrypoints.runs.tags import FOLD, OF_FOLD

DIVERGED_LOSS = 100.0  # times that of the untrained model; no log loss is so large
LATENCY_ROWS = 150  # predicted one at a time, by the models of all folds together
MEASURED_MODELS = 2  # whose memory is measured: later models take no more
TURN_STEPS = 5  # of a fold before the next one's: what a change of folds costs the core's caches is shared by them
TURN_S = 0.005  # long steps need no such turns, and limits are looked at in between

Stop = Callable[[], bool]


def _never() -> bool:
    return False


def _quiet() -> np.errstate:
    """A diverging model overflows on its way; that is recorded as such and needs no warning per step."""
    return np.errstate(over="ignore", invalid="ignore")


class Training(ABC):
    """The models of all folds.

    Args:
        folds: untrained.
        steps: of the trial.

    Attributes:
        steps: of the trial.
        step_number: how many were done.
        diverged: whether the last report showed that.
        overflowed: whether there are no finite weights left to train.
        val_loss: the mean over the models trained so far, at the last report; infinite where it is not finite.
        fold_scores: that of each fold's model at the last report, by the folds' numbers.
    """

    def __init__(self, folds: list[Fold], steps: int) -> None:
        self.folds = folds
        self.score = folds[0].model.score
        self.steps = steps
        self.step_number = 0
        self.diverged = False
        self.overflowed = False
        self.val_loss = math.inf
        self.fold_scores: dict[int, float] = {}
        self._results: list[Shown] = []  # of the trained models
        self._latency_rows = math.ceil(LATENCY_ROWS / len(folds))
        self._was_hopeless = False
        self.untrained_loss = fmean(fold.model.untrained_loss(fold.held_out) for fold in folds)
        self.hopeless_loss = DIVERGED_LOSS * self.untrained_loss

    @abstractmethod
    def advance(self, stop: Stop = _never) -> bool:
        """Train for a step or a few, never past a report that is due; False: ``stop`` said that the trial is over."""

    @property
    def report_due(self) -> bool:
        """Whether each curve gets a point after the last step."""
        return True

    @abstractmethod
    def _validations(self) -> list[dict[str, float]]:
        """Loss and score of each trained model on its held-out rows."""

    @abstractmethod
    def _train_loss(self) -> float:
        """The mean over the models that ``_validations`` has."""

    def _shown(self) -> list[Shown]:
        """What the models show at the end of the trial, in the order of the folds."""
        return self._results

    def untrained_facts(self) -> dict[str, float]:
        """The figures of inference and size that are known before the first step: none."""
        return {}

    @property
    def ended(self) -> bool:
        """Whether all steps are done, or none is possible any more."""
        return self.step_number >= self.steps or self.overflowed

    @property
    def training_time_s(self) -> float:
        """Total time in training calls, mean over all folds, without waiting for a core."""
        return self._totals[1] / len(self.folds)

    @property
    def _totals(self) -> tuple[int, float]:
        """The steps of all folds, which differ where a trial ends on its way round, and their seconds."""
        return sum(fold.steps for fold in self.folds), sum(fold.training_time_s for fold in self.folds)

    @contextmanager
    def _until_overflow(self) -> Iterator[None]:
        """Where a model may overflow, which ends the training."""
        try:
            with _quiet():
                yield
        except FloatingPointError:
            self.step_number = max(self.step_number + 1, *(fold.steps for fold in self.folds))
            self.overflowed = True

    def _show(self, fold: Fold) -> Shown:
        return trained.show(fold.model, fold.held_out, self._latency_rows)

    def untrained(self) -> dict[str, float]:
        """The points of the curves before the first step. A score is not among them: no model can predict yet."""
        return {"val_loss": self.untrained_loss, "training_time_s": 0.0}

    def report(self) -> dict[str, float]:
        """The losses and the score by now; what is not finite is left out.

        They are means over folds, ``val_loss_sd`` and ``val_<score>_sd`` standard deviations over folds.

        Sets ``diverged``: the loss is not finite; or a validation loss has been beyond ``hopeless_loss``, and this one
        is not below that of the untrained model. A loss that jumps about may end below the former by chance. A score
        that is not defined for the predictions, such as the logarithm of a negative one, says nothing of the training.
        """
        self.val_loss = math.inf
        if self.overflowed:
            self.diverged = True
            return {}
        figures = {}
        with _quiet():
            validations = self._validations()
            scores = [validation[self.score.validated] for validation in validations]
            self.fold_scores = {fold.number: score for fold, score in zip(self.folds, scores, strict=False)}
            for name in validations[0]:
                values = [validation[name] for validation in validations]
                figures[name] = fmean(values)
                if len(values) > 1:
                    figures[f"{name}_sd"] = float(np.std(values, ddof=1))
            figures["train_loss"] = self._train_loss()
        val_loss = figures["val_loss"]
        self._was_hopeless |= not val_loss <= self.hopeless_loss
        hopeless = self._was_hopeless and not val_loss <= self.untrained_loss
        self.diverged = hopeless or not math.isfinite(val_loss)
        if math.isfinite(val_loss):
            self.val_loss = val_loss
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def last_fold(self) -> dict[str, float]:
        """What the model of the last fold shows, where folds are trained one by one."""
        return {}

    def times(self) -> dict[str, float]:
        """The mean time of a step and the time trained so far; empty before the first step."""
        steps, seconds = self._totals
        if not steps:
            return {}
        return {"mean_step_time_ms": seconds / steps * 1e3, "training_time_s": self.training_time_s}

    def model_memory(self) -> dict[str, float]:
        """``model_memory_mb``: what one model and its training step add to a process. Absent where unknown.

        The lowest measurement of several: the first one in a process includes memory of the libraries.
        """
        measured = [fold.memory_mb for fold in self.folds if fold.memory_mb is not None]
        return {"model_memory_mb": min(measured)} if measured else {}

    def fold_figures(self) -> list[dict[str, float]]:
        """One row per fold of the trained models: validation and test loss and score, and the time trained."""
        rows: list[dict[str, float]] = []
        for fold, shown in zip(self.folds, self._shown(), strict=True):
            row = {"fold": fold.number, **shown.validation, **shown.test, "training_time_s": fold.training_time_s}
            rows.append(row)
        return rows

    def final_figures(self) -> dict[str, float]:
        """The one-off figures of the trained models: means on the test part, inference, size."""
        shown = self._shown()
        figures = {name: fmean(each.test[name] for each in shown) for name in shown[0].test}
        return figures | trained.inference(shown)


class Lockstep(Training):
    """By ``partial_fit``: a step is a batch on every fold, so that at each point of a curve all are equally far."""

    def __init__(self, folds: list[Fold], configuration: Configuration, rows: int) -> None:
        super().__init__(folds, configuration.steps(rows))
        self._report_steps = configuration.report_steps(rows)
        self._reported = 0, 0.0  # steps and seconds of all folds at the last report

    @property
    def report_due(self) -> bool:
        return self.ended or self.step_number % self._report_steps == 0

    def report(self) -> dict[str, float]:
        """The next point of each curve: also of the mean time of a step since the last one, and of the time in all."""
        steps_before, seconds_before = self._reported
        steps, seconds = self._totals
        self._reported = steps, seconds
        figures = {"training_time_s": self.training_time_s}
        if steps > steps_before:
            figures["step_time_ms"] = (seconds - seconds_before) / (steps - steps_before) * 1e3
        return figures | super().report()

    def advance(self, stop: Stop = _never) -> bool:
        """Train every fold for a turn."""
        with self._until_overflow():
            turn = self._turn()
            for fold in self.folds:
                if stop():
                    return False
                fold.step(turn)
            self.step_number += turn
        return True

    def _turn(self) -> int:
        """How many steps each fold takes before the next one's: up to the next report."""
        if self.step_number < MEASURED_STEPS:
            return 1
        to_report = self._report_steps - self.step_number % self._report_steps
        short = int(TURN_S * self.step_number / max(self.training_time_s, 1e-9))
        return max(1, min(TURN_STEPS, short, to_report, self.steps - self.step_number))

    def _validations(self) -> list[dict[str, float]]:
        return [fold.model.evaluated("val", fold.held_out) for fold in self.folds]

    def _train_loss(self) -> float:
        """Mean over folds and over the steps since the last report."""
        return fmean(fold.step_loss.take() for fold in self.folds)

    def _shown(self) -> list[Shown]:
        if not self._results:
            self._results = [self._show(fold) for fold in self.folds]
        return self._results

    def untrained_facts(self) -> dict[str, float]:
        """Latency and size of a model of this shape after one batch, which are those of the trained one.

        It is not one of those that train, whose first batch is still to come.
        """
        tried = self.folds[0].untrained()
        tried.step()
        latency_ms = median(trained.latencies_ms(tried.model, FEW_ROWS))
        return {"inference_latency_ms": latency_ms, "model_size_kb": trained.size_kb(tried.model)}


class FoldByFold(Training):
    """By ``fit``: a step is a fold, whose model is trained to its end, shown and forgotten."""

    def __init__(self, folds: list[Fold]) -> None:
        super().__init__(folds, len(folds))
        self._train_losses: list[float] = []

    def advance(self, stop: Stop = _never) -> bool:
        """Train the next fold to its end."""
        with self._until_overflow():
            if stop():
                return False
            self.folds[self.step_number].step()
            self.step_number += 1
        return True

    def report(self) -> dict[str, float]:
        """Losses and score after the last fold, and nothing before it: a mean of some folds is not that of all."""
        figures = super().report()
        return figures if self.ended else {}

    def last_fold(self) -> dict[str, float]:
        """Losses and score of the model of the last fold, and what training it took."""
        if self.overflowed:
            return {}
        figures = self._results[-1].validation | {
            "train_loss": self._train_losses[-1],
            "training_time_s": self.folds[self.step_number - 1].training_time_s,
        }
        return {f"{OF_FOLD}{name}": value for name, value in figures.items() if math.isfinite(value)}

    def _validations(self) -> list[dict[str, float]]:
        """Of the folds so far. The last one's model is not needed any more."""
        fold = self.folds[self.step_number - 1]
        self._train_losses.append(fold.step_loss.take())
        self._results.append(self._show(fold))
        del fold.model
        return [shown.validation for shown in self._results]

    def _train_loss(self) -> float:
        """Mean over the folds so far."""
        return fmean(self._train_losses)


def training_of(
    configuration: Configuration, data: Prepared, fit_rows: int | None = None, *, shuffled: bool = False
) -> Training:
    """The training of a configuration on all folds of a dataset.

    Args:
        configuration: what is trained.
        data: the dataset.
        fit_rows: the most rows of a fold to train on; None: all.
        shuffled: whether folds come in random order, so that the first ones stand for all: by time the first ones have
            the fewest rows to learn from. It is fixed by the seed.
    """
    numbers = np.arange(len(data.split.folds))
    if shuffled:
        numbers = np.random.default_rng(configuration.seed).permutation(numbers)
    folds: list[Fold] = []
    for number in numbers.tolist():
        kind = MeasuredFold if len(folds) < MEASURED_MODELS else Fold
        fit, held_out = data.split.folds[number]
        if fit_rows is not None:
            fit = thinned(fit, data.y, fit_rows, in_classes=data.n_classes > 0)
        folds.append(kind(configuration, data, number, fit, held_out, data.preprocessings[number]))
    return training_on(folds, configuration, data.split.fit_rows)


def training_on(folds: list[Fold], configuration: Configuration, rows: int) -> Training:
    """The training of models on their own rows, of which the largest has ``rows``."""
    if configuration.axis == FOLD:
        return FoldByFold(folds)
    return Lockstep(folds, configuration, rows)
