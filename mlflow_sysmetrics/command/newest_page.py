"""The page of the MLflow UI to open first, as a path with a fragment: it works on any server."""

from __future__ import annotations

from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.tags import KIND

_MODE = "workflowType=machine_learning"  # the UI opens in another one
# What is looked for, one after the other: a study, a run with our figures, any run.
_WANTED = (f"tags.`{KIND}` = 'study'", "metrics.elapsed_s >= 0", "")
_NAMES_SHOWN = 10


class NoExperimentError(Exception):
    """There is no experiment of this name: one sentence that says which there are."""


def newest_run(client: MlflowClient, experiment_name: str | None = None) -> Run | None:
    """The newest study, or else the newest run with figures, or else the newest run; None where there are none.

    It is looked for in the experiment of this name, or else in all.

    Raises:
        NoExperimentError: there is no such experiment.
    """
    experiments = _experiments(client)
    ids = [each.experiment_id for each in experiments if experiment_name in (None, each.name)]
    if not ids:
        names = ", ".join(each.name for each in experiments[:_NAMES_SHOWN])
        more = f" and {len(experiments) - _NAMES_SHOWN} more" if len(experiments) > _NAMES_SHOWN else ""
        raise NoExperimentError(f"there is no experiment {experiment_name!r}; there are {names}{more}")
    for wanted in _WANTED:
        found = client.search_runs(ids, wanted, max_results=1, order_by=["attributes.start_time DESC"])
        if found:
            return found[0]
    return None


def page_of(run: Run | None) -> str:
    """The charts of a study's trials, of a run's siblings under the same parent, or the runs of its experiment."""
    if run is None:
        return "#/experiments"
    tags = run.data.tags
    parent = run.info.run_id if tags.get(KIND) == "study" else tags.get(MLFLOW_PARENT_RUN_ID)
    where = f"#/experiments/{run.info.experiment_id}/runs?{_MODE}"
    if parent is None:
        return where
    wanted = f"tags.{MLFLOW_PARENT_RUN_ID} = '{parent}'"
    if tags.get(KIND) in ("study", "trial"):
        wanted += f" and tags.`{KIND}` = 'trial'"
    return f"{where}&searchFilter={quote(wanted, safe='')}&compareRunsMode=CHART"


def newest_page(client: MlflowClient, experiment_name: str | None = None) -> str:
    """The page of the newest run, as `newest_run` finds it, with its errors."""
    return page_of(newest_run(client, experiment_name))


def _experiments(client: MlflowClient) -> list[Experiment]:
    """All that are not deleted, the newest first."""
    page = client.search_experiments()
    found = list(page)
    while page.token:
        page = client.search_experiments(page_token=page.token)
        found += page
    return found
