"""LightGBM: what a training costs, in its MLflow run, and limits that end it. The only module that imports lightgbm."""

from __future__ import annotations

import sys

import lightgbm
from lightgbm.callback import CallbackEnv, EarlyStopException

from mlflow_sysmetrics.boosters import BoosterCosts

if int(lightgbm.__version__.partition(".")[0]) < 4:
    raise ImportError(f"lightgbm {lightgbm.__version__} does not tell what may stop it early; install lightgbm>=4")


class Costs(BoosterCosts):
    __doc__ = BoosterCosts.__doc__

    def __init__(self, limits: str | None = None) -> None:
        super().__init__(limits)
        self.order, self.before_iteration = 25, False  # after what keeps the scores, and before early stopping

    def __call__(self, env: CallbackEnv) -> None:
        caller = sys._getframe(1)
        if env.iteration == env.begin_iteration:
            self._begin(env.end_iteration - env.begin_iteration, caller.f_locals.get("callbacks_after_iter"))
        model = getattr(env.model, "boosters", [env.model])[0]  # of cv: that of the first fold
        results = env.evaluation_result_list or []
        scores = {f"{result[0]}/{result[1]}": result[2] for result in results}
        if self._training.iterated(
            env.iteration + 1, scores, lambda first, last: len(model.model_to_string(last - first, first))
        ):
            for each in caller.f_locals.get("callbacks_after_iter", ()):  # early stopping knows the best iteration
                if any(getattr(each, "best_score_list", ())):
                    raise EarlyStopException(each.best_iter[0], each.best_score_list[0])
            raise EarlyStopException(env.iteration, results)
