"""Any trainable, with what its process used in each of its results: for schedulers, stop rules and other loggers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from ray.tune import Trainable
from ray.tune.result import RESULT_DUPLICATE
from ray.tune.trainable.function_trainable import wrap_function

from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.metrics import SUMMARY
from mlflow_sysmetrics.ray_tune.results import OWN_KEY

_WINDOW_S = 3600.0  # a result cuts its window short: only the newest 1200 windows are kept


def system_metrics(trainable: type[Trainable] | Callable[..., Any]) -> type[Trainable]:
    """Return a class trainable like this function or class whose results also hold what its process used.

    Each result has means since the last result, such as ``process_memory_mb``, and maxima, ``process_memory_mb_max``;
    ``cpu_percent`` since the last result and ``memory_mb`` now; and the summary of the trial's present process so far,
    such as ``peak_memory_mb``. What the trainable itself reports under such a name stays. A ``SystemMetricsCallback``
    does not log this summary: it has its own, of the whole trial.

    Parameters come first, ``system_metrics(tune.with_parameters(train, data=data))``, and resources last,
    ``tune.with_resources(system_metrics(train), {"cpu": 2})``.

    Args:
        trainable: a function of one ``config``, or a subclass of ``tune.Trainable``.
    """
    is_class = isinstance(trainable, type) and issubclass(trainable, Trainable)
    base: Any = trainable if is_class else wrap_function(trainable)

    class Measured(base):
        def _measure(self) -> None:
            self._measurement = Measurement(window_s=_WINDOW_S).start()

        def setup(self, config: dict[str, Any], **parameters: Any) -> None:
            self._measure()
            super().setup(config, **parameters)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._measurement.stop()
            gc.collect()  # what the last trial left is not this one's
            self._measure()
            return bool(super().reset_config(new_config))

        def step(self) -> dict[str, Any]:
            result: dict[str, Any] = super().step()
            if RESULT_DUPLICATE in result:  # only says that the function has returned
                return result
            own = tuple(name for name in SUMMARY if name in result)  # a list would be drawn by Ray's TensorBoard logger
            return {**self._measurement.so_far(), **result, OWN_KEY: own}

        def cleanup(self) -> None:
            self._measurement.stop()
            super().cleanup()

    Measured.__name__ = Measured.__qualname__ = base.__name__
    if not is_class:
        Measured._name = base._name
    return Measured
