"""One configuration, all folds in lockstep: the Ray trainable."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import time
from typing import Any

import sklearn
from ray import tune
from ray.actor import ActorHandle

from entrypoints.cross_validation import Configuration, CrossValidation
from entrypoints.prepared import Prepared
from entrypoints.workers import wait_for_all
from mlflow_sysmetrics.monitor import Monitor
from mlflow_sysmetrics.points import Point, window_points
from mlflow_sysmetrics.ray_tune import payload
from mlflow_sysmetrics.sampling import ProcessSampler

RESULT_EVERY_S = 1.0  # a result a second keeps a long trial live at little cost to the driver
MEMORY = "process_memory_mb"


class Cost:
    """What this process uses from now on, watched by a thread."""

    def __init__(self) -> None:
        _release_memory()
        self._began = time.perf_counter()
        self._sampler = ProcessSampler()
        self._baseline_mb = self._sampler().get(MEMORY)
        self._monitor = Monitor(self._sampler)
        self._monitor.start()
        self.memory_definition = self._sampler.memory_definition

    @property
    def elapsed_s(self) -> float:
        """Wall time since the start."""
        return time.perf_counter() - self._began

    def figures(self) -> dict[str, float]:
        """CPU share, peak memory and its growth since the start; what cannot be read is absent."""
        self._monitor.read()
        figures = {"cpu_percent": self._sampler.cpu_seconds / self.elapsed_s * 100}
        peak_mb = self._monitor.peaks.get(MEMORY)
        if peak_mb is not None and self._baseline_mb is not None:
            figures |= {"peak_memory_mb": peak_mb, "memory_growth_mb": peak_mb - self._baseline_mb}
        return figures

    def points(self) -> list[Point]:
        """The thread's series since the last call."""
        return window_points(self._monitor.drain())

    def stop(self) -> None:
        """Take the last reading and end the thread. Idempotent."""
        self._monitor.stop()


class Trial(tune.Trainable):
    """A trial that trains for about a second per result and sends all points since the last one with it.

    The process is kept for the next trial, so each trial's memory and CPU are counted from its own start.
    """

    def setup(self, config: dict[str, Any], data: Prepared, barrier: ActorHandle | None = None) -> None:
        """Start the first trial of this process once all processes of the study are up."""
        # Loading refuses infinity and preprocessing fills what is missing; checking every batch again costs 10 %.
        sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
        gc.collect()
        gc.freeze()  # what the imports left is permanent: later collections need not look at it
        self._data = data
        wait_for_all(barrier)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this process."""
        self.cleanup()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """Stop watching, also when Tune ends the trial before its own end."""
        self._cost.stop()

    def _begin(self, config: dict[str, Any]) -> None:
        self._report_every: int = config["report_every"]
        self._points: list[Point] = []
        self._cost = Cost()
        self._training = CrossValidation(Configuration.from_dict(config), self._data)

    def step(self) -> dict[str, Any]:
        """Train for about a second, whether a report is due or not, or to the trial's end."""
        began = time.monotonic()
        training = self._training
        while not training.ended and time.monotonic() - began < RESULT_EVERY_S:
            training.step()
            if training.step_number % self._report_every == 0 or training.ended:
                self._figures = training.report()
                self._add(self._figures, training.step_number)
                if not training.ended:
                    self._add(self._cost.figures(), training.step_number)
        return self._end() if training.ended else self._result()

    def _end(self) -> dict[str, Any]:
        """The last result: the one-off figures, at step 0 so that the UI draws them as bars, and the final cost."""
        training = self._training
        folds = [] if training.diverged else training.fold_figures()
        final = (training.final_figures(folds) if folds else {}) | {"elapsed_s": self._cost.elapsed_s}
        self._add(final, step=0)
        self._cost.stop()
        cost = self._cost.figures()  # after the last reading, so that the peak is that of the whole trial
        self._add(cost, training.step_number)
        tags = {"sysmetrics.diverged": str(training.diverged).lower()}
        return self._result(tags, ended=True) | {
            "done": True,
            "figures": self._figures | final | cost,
            "folds": folds,
            "diverged": training.diverged,
        }

    def _result(self, tags: dict[str, str] | None = None, *, ended: bool = False) -> dict[str, Any]:
        points, self._points = self._points + self._cost.points(), []
        where = {
            "sysmetrics.node": platform.node(),
            "sysmetrics.pid": str(os.getpid()),
            "sysmetrics.memory_definition": self._cost.memory_definition,
        }
        return {"step": self._training.step_number, **payload(points, tags={**where, **(tags or {})}, ended=ended)}

    def _add(self, figures: dict[str, float], step: int) -> None:
        now_ms = int(time.time() * 1000)
        self._points += [Point(name, value, now_ms, step) for name, value in figures.items()]


def _release_memory() -> None:
    """Give memory of the last trial back to the OS, so that this one's growth is its own."""
    gc.collect()
    if platform.system() == "Linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
