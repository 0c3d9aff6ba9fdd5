"""LightGBM: what a training costs, in its MLflow run, and limits that end it. The only module that imports lightgbm."""

from __future__ import annotations

import lightgbm
from lightgbm.callback import CallbackEnv, EarlyStopException

from mlflow_sysmetrics.common.guard import require_version
from mlflow_sysmetrics.integrations.boosters import BoosterCallback

require_version(lightgbm, 4)


class SystemMetricsCallback(BoosterCallback):
    __doc__ = BoosterCallback.__doc__

    def __init__(self, limits: str | None = None) -> None:
        super().__init__(limits)
        self.order = 25  # after what keeps the scores, and before early stopping
        self.before_iteration = False

    def __call__(self, env: CallbackEnv) -> None:
        if env.iteration == env.begin_iteration:
            self._begin()
            self._training.stopped_early = lambda: env.model.best_iteration > 0
        results = env.evaluation_result_list or []
        scores = {f"{result[0]}/{result[1]}": result[2] for result in results}
        if self._training.iterated(scores):
            raise EarlyStopException(env.iteration, results)
        if env.iteration + 1 == env.end_iteration:
            self._training.complete()
