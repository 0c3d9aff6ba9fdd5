"""The MLflow UI: what a `page` of runs shows, how it is `saved` as a view of an experiment, and `opening` it."""

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
