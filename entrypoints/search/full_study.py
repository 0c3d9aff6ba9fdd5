"""The earlier study without limits that a saving is counted against, if there is one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.tables import Table
from entrypoints.mlflow_io import load_json, search_runs
from entrypoints.models.configuration import Configuration, key
from entrypoints.search.budget import Spending, spent
from entrypoints.settings import StudySettings
from mlflow_sysmetrics.tags import CRITERIA, SEARCHED, STUDY_KEY

_SAME = ("max_rows", "folds", "seed", "max_steps", "max_epochs", "report_every")


def study_key(settings: StudySettings, data: Prepared | Table) -> str:
    """Studies with the same key train the same configurations in the same way."""
    same = {name: getattr(settings, name) for name in _SAME}
    return hashlib.sha256(json.dumps([data.digest, data.target, same]).encode()).hexdigest()[:16]


def find(
    client: MlflowClient, experiment_id: str, wanted: str, configurations: list[Configuration]
) -> tuple[str, dict[str, Spending]] | None:
    """The newest finished study without limits that has run all of these configurations, and what each cost it."""
    wanted_keys = {configuration.key for configuration in configurations}
    wanted_names = searched_names(configurations)
    conditions = f"attributes.status = 'FINISHED' and tags.`{STUDY_KEY}` = '{wanted}'"
    for run in search_runs(client, experiment_id, conditions):
        if CRITERIA in run.data.tags:
            continue
        try:
            rows = trial_rows(client, run.info.run_id)
        except (MlflowException, OSError):
            continue  # its artifacts are gone
        names = json.loads(run.data.tags.get(SEARCHED, "null")) or wanted_names
        costs = {
            key({name: row.get(name) for name in names}): spent(row)
            for row in rows
            if row["status"] == "FINISHED" and not row.get("repeat")
        }
        if wanted_keys <= costs.keys():
            return run.info.run_id, costs
    return None


def searched_names(configurations: Iterable[Configuration]) -> list[str]:
    """What tells them apart: the names of their hyperparameters, in order of appearance."""
    return list(dict.fromkeys(name for configuration in configurations for name in configuration.searched))


def trial_rows(client: MlflowClient, run_id: str) -> list[dict[str, Any]]:
    """The table of a study's trials; what is missing in a row is None."""
    table = load_json(client, run_id, "trials.json")
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
