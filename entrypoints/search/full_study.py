"""The earlier study without limits that a saving is counted against, if there is one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.tables import Table
from entrypoints.mlflow_io import load_rows, search_runs
from entrypoints.models.configuration import Configuration, key
from entrypoints.search.budget import Spending, spent
from entrypoints.settings import StudySettings
from entrypoints.tags import CRITERIA, SEARCHED, STUDY_KEY
from entrypoints.trial_run import TrialRun, hosts
from mlflow_sysmetrics.host import SYSTEM_FACTS
from mlflow_sysmetrics.ui import trials_of

Hosts = Mapping[str, frozenset[str]]  # the values of each fact about the machines of a study's trials

_SAME = ("max_rows", "folds", "seed", "max_steps", "max_epochs", "report_every")


def study_key(settings: StudySettings, data: Prepared | Table) -> str:
    """Studies with the same key train the same configurations in the same way."""
    same = {name: getattr(settings, name) for name in _SAME}
    return hashlib.sha256(json.dumps([data.digest, data.target, same]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FullStudy:
    """The id of its run, what each configuration cost it, and how its hosts differ, in words; empty if they do not."""

    run_id: str
    costs: Mapping[str, Spending]
    other_hosts: str

    def __str__(self) -> str:
        said = f"the study without limits in run {self.run_id}"
        return (
            f"{said}, on another host ({self.other_hosts}): part of it may be the host's" if self.other_hosts else said
        )


def find(
    client: MlflowClient, experiment_id: str, wanted: str, configurations: list[Configuration], hosts: Hosts
) -> FullStudy | None:
    """The newest finished study without limits with all of these configurations, on these hosts if there is one.

    Args:
        client: of the store.
        experiment_id: where to look.
        wanted: its ``study_key``.
        configurations: that it must have run.
        hosts: where the trials ran that it is to be compared with.
    """
    elsewhere: FullStudy | None = None
    wanted_keys = {configuration.key for configuration in configurations}
    wanted_names = searched_names(configurations)
    conditions = f"attributes.status = 'FINISHED' and tags.`{STUDY_KEY}` = '{wanted}'"
    for run in search_runs(client, experiment_id, conditions):
        if CRITERIA in run.data.tags:
            continue
        try:
            rows = load_rows(client, run.info.run_id, "trials.json")
        except (MlflowException, OSError):
            continue  # its artifacts are gone
        names = json.loads(run.data.tags.get(SEARCHED, "null")) or wanted_names
        costs = {
            key({name: row.get(name) for name in names}): cost
            for row in rows
            if row["status"] == "FINISHED" and not row.get("repeat") and (cost := spent(row)).is_known
        }
        if wanted_keys <= costs.keys():
            differ = _differ(_host_of_one(client, experiment_id, run.info.run_id), hosts)
            found = FullStudy(run.info.run_id, costs, differ)
            if not differ:
                return found
            elsewhere = elsewhere or found
    return elsewhere


def hosts_of(client: MlflowClient, experiment_id: str, run_id: str) -> Hosts:
    """Where the trials of a study have run."""
    return hosts(map(TrialRun.of, search_runs(client, experiment_id, trials_of(run_id))))


def _host_of_one(client: MlflowClient, experiment_id: str, run_id: str) -> Hosts:
    """Where one trial of a study has run: a store may hold many studies of many trials."""
    return hosts(map(TrialRun.of, client.search_runs([experiment_id], trials_of(run_id), max_results=1)))


def _differ(theirs: Hosts, ours: Hosts) -> str:
    """In which facts of those that both know, as `usable_cores 8, not 2`."""
    known = sorted(theirs.keys() & ours.keys() - SYSTEM_FACTS)
    facts = [fact for fact in known if theirs[fact].isdisjoint(ours[fact])]
    said = [[" or ".join(sorted(each[fact])) for each in (theirs, ours)] for fact in facts]
    return "; ".join(f"{fact} {their}, not {our}" for fact, (their, our) in zip(facts, said, strict=True))


def searched_names(configurations: Iterable[Configuration]) -> list[str]:
    """What tells them apart: the names of their hyperparameters, in order of appearance."""
    return list(dict.fromkeys(name for configuration in configurations for name in configuration.searched))
