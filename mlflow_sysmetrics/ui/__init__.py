"""The MLflow UI: what a page of runs shows, how an experiment keeps it as a view, and `mlflow-sysmetrics ui`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlflow_sysmetrics.ui.page import FIRST, MODE, Page, Section, Shown, bars, lines, metric, parallel, param

from mlflow_sysmetrics.ui.page import runs_page, scatter, tag, trials_of  # isort: skip

if TYPE_CHECKING:
    from mlflow_sysmetrics.ui.opening import newest_page, show
    from mlflow_sysmetrics.ui.saved import MAX_STUDIES, OF_RUNS, save, save_costs, saved_link

__all__ = ["FIRST", "MAX_STUDIES", "MODE", "OF_RUNS", "Page", "Section", "Shown", "bars", "lines"]
__all__ += ["metric", "newest_page", "parallel", "param", "runs_page", "save", "save_costs", "saved_link"]
__all__ += ["scatter", "show", "tag", "trials_of"]


def __getattr__(name: str) -> Any:  # what needs MLflow is imported at its first use
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "opening" if name in ("newest_page", "show") else "saved"
    return getattr(import_module(f"{__name__}.{home}"), name)
