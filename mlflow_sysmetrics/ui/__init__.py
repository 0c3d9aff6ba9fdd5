"""The MLflow UI: what a page of runs shows, how an experiment keeps it as a view, and `mlflow-sysmetrics ui`."""

from mlflow_sysmetrics.ui.page import (
    FIRST,
    MODE,
    PORT,
    Page,
    Section,
    address,
    bars,
    lines,
    metric,
    parallel,
    param,
    scatter,
    tag,
    trials_of,
)
from mlflow_sysmetrics.ui.saved import save, save_costs, saved_link
