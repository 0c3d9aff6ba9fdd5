"""What an XGBoost training costs: ``callbacks=[SystemMetricsCallback()]``."""

from mlflow_sysmetrics.integrations.xgboost import SystemMetricsCallback as SystemMetricsCallback
