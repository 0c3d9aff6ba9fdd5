"""XGBoost: each boosting round is a step, and the run has what training took."""

import mlflow
import xgboost
from sklearn.datasets import make_regression

from mlflow_sysmetrics import SystemMetricsLogger


class Steps(xgboost.callback.TrainingCallback):
    """One step of the logger around each round."""

    def __init__(self, logger: SystemMetricsLogger) -> None:
        super().__init__()
        self.logger = logger

    def before_iteration(self, model, epoch, evals_log):
        self.step = self.logger.step()
        self.step.__enter__()
        return False

    def after_iteration(self, model, epoch, evals_log):
        self.step.__exit__(None, None, None)
        return False


X, y = make_regression(n_samples=20_000, n_features=50, random_state=0)
with mlflow.start_run(run_name="xgboost"), SystemMetricsLogger() as logger:
    data = xgboost.DMatrix(X, y)
    history = {}
    xgboost.train(
        {"max_depth": 6, "nthread": 2},
        data,
        num_boost_round=100,
        evals=[(data, "train")],
        evals_result=history,
        verbose_eval=False,
        callbacks=[Steps(logger)],
    )
    mlflow.log_metric("train_rmse", history["train"]["rmse"][-1])
    print(f"train_rmse {history['train']['rmse'][-1]:.1f}")
