"""XGBoost: what a training costs, in its MLflow run, and limits that end it. The only module that imports xgboost."""

from __future__ import annotations

import sys
from typing import Any

import xgboost
from xgboost.callback import TrainingCallback

from mlflow_sysmetrics.boosters import BoosterCosts

if int(xgboost.__version__.partition(".")[0]) < 2:
    raise ImportError(f"xgboost {xgboost.__version__} is too old to be measured; install xgboost>=2")


class Costs(BoosterCosts, TrainingCallback):
    __doc__ = BoosterCosts.__doc__

    def before_training(self, model: Any) -> Any:
        caller = sys._getframe(2).f_locals  # train or cv: nothing else says how many rounds there are to be
        self._begin(caller.get("num_boost_round", 0), caller.get("callbacks"))
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        booster = model.cvfolds[0].bst if hasattr(model, "cvfolds") else model
        latest = {f"{data}/{name}": each[-1] for data, metrics in evals_log.items() for name, each in metrics.items()}
        scores = {name: score[0] if isinstance(score, tuple) else score for name, score in latest.items()}
        rounds = booster.num_boosted_rounds()
        ends = self._training.iterated(rounds, scores, lambda first, last: len(booster[first:last].save_raw("ubj")))
        if ends and booster is not model and model.attr("best_iteration") is None:
            model.set_attr(best_iteration=str(epoch))  # which cv reads after any end
        return ends

    def after_training(self, model: Any) -> Any:
        self._training.end(is_sound=True)
        return model
