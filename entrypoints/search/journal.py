"""What a study leaves in its run, so that another command can continue it: its settings, and which process runs it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from entrypoints import search_space
from entrypoints.mlflow_io import load_json
from entrypoints.runs import RecordedRun
from entrypoints.settings import LimitOptions, StudySettings
from entrypoints.tags import PID_SINCE
from mlflow_sysmetrics.tags import NODE, PID

SETTINGS = "settings.json"
RESUMED_BY = "resumed_by_"  # and a number: params of a study, each the run of a command that continues it
_SAME_START_S = 2.0  # the kernel's clock, from which a process's start is counted, is set now and then


def begin(run: RecordedRun, settings: StudySettings, limits: LimitOptions | None) -> None:
    """Record the settings of the search, and that this process runs it."""
    about = {
        "settings": asdict(settings) | {"space": search_space.described(settings.space)},
        "limits": limits and asdict(limits),
    }
    run.client.log_text(run.run_id, json.dumps(about, indent=1, default=str), SETTINGS)
    claim(run.client, run.run_id)


def read(
    client: MlflowClient, run_id: str, execution: Mapping[str, Any]
) -> tuple[StudySettings, LimitOptions | None] | None:
    """What ``begin`` has recorded, but for how it is run now; None if it is missing or unreadable."""
    try:
        about = load_json(client, run_id, SETTINGS)
        kept: dict[str, Any] = about["settings"] | execution
        kept["groups"] = tuple(kept["groups"])
        kept["space"] = kept["space"] and search_space.parse(json.dumps(kept["space"]), Path())
        return StudySettings(**kept), about["limits"] and LimitOptions(**about["limits"])
    except (MlflowException, OSError, ValueError, KeyError, TypeError):
        return None


def claim(client: MlflowClient, run_id: str) -> None:
    """Record that this process writes to the run from now on."""
    process = psutil.Process()
    about = {NODE: platform.node(), PID: str(process.pid), PID_SINCE: str(process.create_time())}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in about.items()])


def take(study: Run, by: RecordedRun) -> bool:
    """Whether this command may continue a study, which several may try at the same time.

    Each tries to set the same param of the study, and MLflow lets only one succeed.
    """
    times = sum(name.startswith(RESUMED_BY) for name in study.data.params)
    try:
        by.client.log_param(study.info.run_id, f"{RESUMED_BY}{times + 1}", by.run_id)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        return False
    claim(by.client, study.info.run_id)
    return True


def lives(tags: Mapping[str, str]) -> bool | None:
    """Whether the process that runs a study still does; None if it is one of another machine."""
    if tags.get(NODE, platform.node()) != platform.node():
        return None
    if PID not in tags or int(tags[PID]) == os.getpid():
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(tags[PID]))
        same = abs(process.create_time() - float(tags[PID_SINCE])) <= _SAME_START_S  # ids are used again
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False
