"""What a LightGBM training costs: ``callbacks=[SystemMetricsCallback()]``."""

from mlflow_sysmetrics.integrations.lightgbm import SystemMetricsCallback as SystemMetricsCallback
