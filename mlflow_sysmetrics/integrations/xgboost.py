"""XGBoost: what a training costs, in its MLflow run, and limits that end it. The only module that imports xgboost."""

from __future__ import annotations

from typing import Any

import xgboost
from xgboost.callback import TrainingCallback

from mlflow_sysmetrics.common.guard import require_version
from mlflow_sysmetrics.integrations.boosters import BoosterCallback

require_version(xgboost, 2)


class SystemMetricsCallback(BoosterCallback, TrainingCallback):
    __doc__ = BoosterCallback.__doc__

    def before_training(self, model: Any) -> Any:
        self._begin()
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        scores = {}
        for data, metrics in evals_log.items():
            for name, values in metrics.items():
                score = values[-1]
                scores[f"{data}/{name}"] = score[0] if isinstance(score, tuple) else score  # of cv: mean and deviation
        ends = self._training.iterated(scores)
        if ends and hasattr(model, "cvfolds") and model.attr("best_iteration") is None:
            model.set_attr(best_iteration=str(epoch))  # which cv reads after any end
        return ends

    def after_training(self, model: Any) -> Any:
        self._training.complete()
        return model
