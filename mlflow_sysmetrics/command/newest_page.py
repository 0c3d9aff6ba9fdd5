"""The page of the MLflow UI to open first, as a path with a fragment: it works on any server."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.views.costs import OF_RUNS
from mlflow_sysmetrics.views.page import Page, runs_page, trials_of
from mlflow_sysmetrics.views.saved import first_link

# What is looked for, one after the other: a study, a run with our figures, any run.
_WANTED = (f"tags.`{KIND}` = 'study'", "metrics.elapsed_s >= 0", "")
_NAMES_SHOWN = 10


class NoExperimentError(Exception):
    """No experiment has this name; the text lists those that exist."""


def newest_run(client: MlflowClient, experiment_name: str | None) -> Run | None:
    """The newest study, or else the newest run with figures, or else the newest run; None where there are none.

    It is looked for in the experiment of this name, or else in all.

    Raises:
        NoExperimentError: there is no such experiment.
    """
    experiments = all_experiments(client)
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


def page_of(client: MlflowClient, run: Run | None) -> str:
    """The first view of a study or of a run's siblings under the same parent, or else the plain page of these runs."""
    if run is None:
        return "#/experiments"
    tags, experiment_id = run.data.tags, run.info.experiment_id
    parent = run.info.run_id if tags.get(KIND) == "study" else tags.get(MLFLOW_PARENT_RUN_ID)
    saved = first_link(client.get_experiment(experiment_id).tags, experiment_id, parent or OF_RUNS)
    if saved or parent is None:
        return saved or runs_page(experiment_id)
    siblings = f"tags.{MLFLOW_PARENT_RUN_ID} = '{parent}'"
    wanted = trials_of(parent) if tags.get(KIND) in ("study", "trial") else siblings
    return Page("", wanted).plain_link(experiment_id)


def all_experiments(client: MlflowClient) -> list[Experiment]:
    """All that are not deleted, the newest first."""
    page = client.search_experiments()
    found = list(page)
    while page.token:
        page = client.search_experiments(page_token=page.token)
        found += page
    return found
