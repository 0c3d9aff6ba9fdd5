"""What the trials of an Optuna study cost: ``@system_metrics()`` above the objective."""

from mlflow_sysmetrics.integrations.optuna import system_metrics as system_metrics
