"""What the candidates of a scikit-learn search cost: ``search.set_callbacks(SystemMetricsCallback())``."""

from mlflow_sysmetrics.integrations.sklearn import SystemMetricsCallback as SystemMetricsCallback
