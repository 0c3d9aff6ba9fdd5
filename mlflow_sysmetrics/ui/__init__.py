"""The MLflow UI: what a page of runs shows, how an experiment keeps it as a view, and `mlflow-sysmetrics ui`."""

from typing import TYPE_CHECKING

from mlflow_sysmetrics.lazy import lazy
from mlflow_sysmetrics.ui.page import (
    FIRST,
    MODE,
    PORT,
    Page,
    Section,
    Shown,
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

if TYPE_CHECKING:  # what needs MLflow
    from mlflow_sysmetrics.ui.saved import MAX_STUDIES, save, save_costs, saved_link

__getattr__ = lazy(__name__, {"saved": "MAX_STUDIES save save_costs saved_link"})
