"""Pages of the MLflow UI, as paths with fragments: they work on any server."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from urllib.parse import quote

from mlflow_sysmetrics.addresses import redacted
from mlflow_sysmetrics.tags import FEASIBLE, KIND
from mlflow_sysmetrics.views.page import MODE, Page, Shown

IS_FEASIBLE = f"tags.`{FEASIBLE}` = 'true'"
UI_PORT = 5000


def trials_view(
    experiment_id: str,
    parent_run_id: str,
    sort_by: str | None,
    *,
    ascending: bool,
    also: str = "",
    shown: Shown = "CHART",
) -> str:
    """The page of exactly the trials of one study: flat, best first.

    Args:
        experiment_id: where the study is.
        parent_run_id: the study's run.
        sort_by: a metric; None where trials are not sorted.
        ascending: whether its smallest value is first.
        also: a further condition of MLflow's search, such as ``IS_FEASIBLE``.
        shown: ``CHART`` or ``TABLE``.
    """
    wanted = f"tags.mlflow.parentRunId = '{parent_run_id}' and tags.`{KIND}` = 'trial'"
    wanted += f" and {also}" if also else ""
    return Page("", wanted, shown, sort_by, ascending).plain_link(experiment_id)


def compare_view(experiment_id: str, run_ids: Iterable[str | None]) -> str:
    """The comparison of some runs, which opens with parallel coordinates."""
    runs = json.dumps(list(run_ids), separators=(",", ":"))
    return f"#/compare-runs?runs={quote(runs)}&experiments={quote(json.dumps([experiment_id]))}&{MODE}"


def run_view(experiment_id: str, run_id: str | None, tab: str = "overview") -> str:
    """The page of one run: its ``overview``, ``system-metrics`` or ``artifacts``."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/{tab}?{MODE}"


def how_to_open(page: str, tracking_uri: str) -> str:
    """What to type to see a page, and its address, in lines for a terminal."""
    if tracking_uri.startswith("http"):
        return f"  {redacted(tracking_uri)}/{page}"
    # A password stands neither on the screen nor in the list of processes: the command reads MLFLOW_TRACKING_URI, too.
    store = f" --tracking-uri {shlex.quote(tracking_uri)}" if redacted(tracking_uri) == tracking_uri else ""
    return f"  mlflow-sysmetrics ui{store}\n  http://127.0.0.1:{UI_PORT}/{page}"
