"""LightGBM: what a training costs, in its MLflow run, and limits that end it. The only module that imports lightgbm."""

from __future__ import annotations

import sys

from lightgbm.callback import CallbackEnv, EarlyStopException

from mlflow_sysmetrics.boosters import BoosterCosts


class Costs(BoosterCosts):
    __doc__ = BoosterCosts.__doc__

    def _reset(self) -> None:
        super()._reset()
        self.order, self.before_iteration = 25, False  # after what keeps the scores, and before early stopping

    def __call__(self, env: CallbackEnv) -> None:
        results, first = env.evaluation_result_list or [], env.begin_iteration
        if env.iteration == first:
            self._begin(env.end_iteration - first, sys._getframe(1).f_locals.get("callbacks_after_iter"))
        model = getattr(env.model, "boosters", [env.model])[0]  # of cv: that of the first fold

        def size(first_round: int, rounds: int) -> int:
            return len(model.model_to_string(num_iteration=rounds, start_iteration=first_round))

        scores = {f"{result[0]}/{result[1]}": result[2] for result in results}
        if self._iterated(env.iteration + 1, scores, size):
            raise EarlyStopException(env.iteration, results)
