"""The earlier study without limits that a saving is counted against, if there is one."""

from __future__ import annotations

import hashlib
import json

from mlflow import MlflowClient

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.tables import Table
from entrypoints.errors import UserError
from entrypoints.frame import Frame, StudyRows, frame_of
from entrypoints.mlflow_io import search_runs
from entrypoints.reading import rows_of
from entrypoints.settings import StudySettings
from entrypoints.tags import CRITERIA, STUDY_KEY

_SAME = ("max_rows", "folds", "seed", "max_steps", "max_epochs", "report_every")


def study_key(settings: StudySettings, data: Prepared | Table) -> str:
    """Studies with the same key train the same configurations in the same way."""
    same = {name: getattr(settings, name) for name in _SAME}
    return hashlib.sha256(json.dumps([data.digest, data.target, same]).encode()).hexdigest()[:16]


def beside_full(client: MlflowClient, own: StudyRows) -> Frame | None:
    """A study under limits, and the newest finished one without that ran all its configurations to their end.

    On the same machine if there is one.
    """
    elsewhere: Frame | None = None
    wanted = f"attributes.status = 'FINISHED' and tags.`{STUDY_KEY}` = '{own.about['key']}'"
    for run in search_runs(client, own.about["experiment_id"], wanted):
        if CRITERIA in run.data.tags:
            continue
        try:
            frame = frame_of([own, rows_of(client, run)])
        except UserError:  # its trials were deleted
            continue
        trials = frame.trials.assign(configuration=frame.configurations)
        ours, theirs = trials[trials["study"] == own.study], trials[trials["study"] != own.study]
        ran = theirs[(theirs["status"] == "FINISHED") & theirs["elapsed_s"].notna()]
        if set(ours["configuration"]) <= set(ran["configuration"]):
            if not other_hosts(frame):
                return frame
            elsewhere = elsewhere or frame
    return elsewhere


def other_hosts(frame: Frame) -> str:
    """How the machines of the two studies differ, in words; empty if they share one, or that is not known."""
    hosts = frame.trials.dropna(subset=["host"]).groupby("study")["host"].unique()
    ours, theirs = (set(hosts.get(study, ())) for study in frame.studies.index)
    if not ours or not theirs or ours & theirs:
        return ""
    return f"{' or '.join(sorted(theirs))}, not {' or '.join(sorted(ours))}"
