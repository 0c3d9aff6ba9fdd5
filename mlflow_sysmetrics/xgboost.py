"""XGBoost: what a training costs, in its MLflow run, and limits that end it. The only module that imports xgboost."""

from __future__ import annotations

import sys
from typing import Any

from xgboost.callback import TrainingCallback

from mlflow_sysmetrics.boosters import BoosterCosts


class Costs(BoosterCosts, TrainingCallback):
    __doc__ = BoosterCosts.__doc__

    def before_training(self, model: Any) -> Any:
        caller = sys._getframe(2).f_locals  # train or cv: nothing else says how many rounds there are to be
        self._begin(caller.get("num_boost_round"), caller.get("callbacks"))
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        booster = model.cvfolds[0].bst if hasattr(model, "cvfolds") else model

        def size(first_round: int, rounds: int) -> int:
            return len(booster[first_round : first_round + rounds].save_raw())

        last = {f"{data}/{metric}": each[-1] for data, metrics in evals_log.items() for metric, each in metrics.items()}
        scores = {name: score[0] if isinstance(score, tuple) else score for name, score in last.items()}
        ends = self._iterated(booster.num_boosted_rounds(), scores, size)
        if ends and booster is not model and model.attr("best_iteration") is None:
            model.set_attr(best_iteration=str(epoch))  # which cv reads after any end
        return ends

    def after_training(self, model: Any) -> Any:
        self._end()
        return model
