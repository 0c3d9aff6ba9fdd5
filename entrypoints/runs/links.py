"""Pages of the MLflow UI, as paths with fragments: they work on any server."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable

from mlflow_sysmetrics.common.redact import redacted
from mlflow_sysmetrics.ui import MODE, PORT, address


def run_view(experiment_id: str, run_id: str | None, tab: str = "overview") -> str:
    """The page of one run: its ``overview``, ``system-metrics`` or ``artifacts``."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/{tab}?{MODE}"


def how_to_resume(command: str, run_id: str) -> str:
    """What to type to continue a study of this command, tune or early_stop."""
    return f"mlflow run . -e {command} -P resume={run_id} --env-manager local"


def how_to_open(page: str, tracking_uri: str, which: Callable[[str], str | None] = shutil.which) -> str:
    """What to type to see a page, and its address, in lines for a terminal.

    Args:
        page: one of the above.
        tracking_uri: of its store.
        which: where a command is. An environment made from conda.yaml does not have ``mlflow-sysmetrics``.
    """
    if tracking_uri.startswith("http"):
        return f"  {address(page, tracking_uri)}"
    # A password stands neither on the screen nor in the list of processes: it stays in MLFLOW_TRACKING_URI.
    server, store = f"mlflow server --port {PORT}", shlex.quote(tracking_uri)
    is_secret = redacted(tracking_uri) != tracking_uri
    if which("mlflow-sysmetrics"):
        command = "mlflow-sysmetrics ui" if is_secret else f"mlflow-sysmetrics ui --tracking-uri {store}"
    elif is_secret:
        command = f"MLFLOW_BACKEND_STORE_URI=$MLFLOW_TRACKING_URI {server}"
    else:
        command = f"{server} --backend-store-uri {store}"
    return f"  {command}\n  {address(page, tracking_uri)}"
