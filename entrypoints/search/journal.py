"""What a study leaves in its run, so that another command can continue it: its settings, and which process runs it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from entrypoints import search_space
from entrypoints.mlflow_io import load_json
from entrypoints.runs import RecordedRun
from entrypoints.settings import Limits, StudySettings
from entrypoints.tags import PID_SINCE
from mlflow_sysmetrics.tags import NODE, PID

SETTINGS = "settings.json"
EXECUTION = ("cpus", "time_limit_s", "ray_address")  # how a study is run, which does not change what it searches
RESUMED_BY = "resumed_by_"  # and a number: params of a study, each the run of a command that continues it
_SAME_START_S = 2.0  # the kernel's clock, from which a process's start is counted, is set now and then


def begin(run: RecordedRun, settings: StudySettings, limits: Limits | None) -> None:
    """Record the settings of the search, and that this process runs it."""
    run.client.log_text(run.run_id, json.dumps(described(settings, limits), indent=1), SETTINGS)
    claim(run.client, run.run_id)


def claim(client: MlflowClient, run_id: str) -> None:
    """Record that this process writes to the run from now on."""
    process = psutil.Process()
    about = {NODE: platform.node(), PID: str(process.pid), PID_SINCE: str(process.create_time())}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in about.items()])


def take(study: Run, by: RecordedRun) -> bool:
    """Whether this command may continue a study, which several may try at the same time.

    Each tries to set the same param of the study, and MLflow lets only one succeed.
    """
    claim(by.client, by.run_id)
    try:
        by.client.log_param(study.info.run_id, f"{RESUMED_BY}{_times_resumed(study) + 1}", by.run_id)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        return False
    claim(by.client, study.info.run_id)
    return True


def last_command(client: MlflowClient, study: Run) -> Run:
    """The run of the last command that continued a study; the study's own run if none has."""
    run_id = study.data.params.get(f"{RESUMED_BY}{_times_resumed(study)}")
    with contextlib.suppress(MlflowException):  # it may have been deleted for good
        return client.get_run(run_id) if run_id else study
    return study


def _times_resumed(study: Run) -> int:
    return sum(name.startswith(RESUMED_BY) for name in study.data.params)


def described(settings: StudySettings, limits: Limits | None) -> dict[str, Any]:
    """What defines a search, by the names of the options, as JSON has it. Execution is left out."""
    searched = {each.name: getattr(settings, each.name) for each in fields(settings) if each.name not in EXECUTION}
    about = {**searched, "space": search_space.described(settings.space), **(asdict(limits) if limits else {})}
    return dict(json.loads(json.dumps(about, default=str)))


def restored(
    about: Mapping[str, Any], given: StudySettings, limits: Limits | None
) -> tuple[StudySettings, Limits | None]:
    """The settings and limits that were ``described``, with the execution of those that are given now."""

    def made(of: Any) -> dict[str, Any]:
        kept = {each.name: about.get(each.name, getattr(of, each.name)) for each in fields(of)}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}

    settings = made(given)
    if settings["space"]:
        settings["space"] = search_space.parse(json.dumps(settings["space"]), Path())
    return StudySettings(**settings), None if limits is None else Limits(**made(limits))


def read(client: MlflowClient, run_id: str) -> dict[str, Any] | None:
    """The result of ``described`` from when a study began; None if it is missing or unreadable."""
    try:
        return dict(load_json(client, run_id, SETTINGS))
    except (MlflowException, OSError, ValueError):
        return None


def is_run_here(tags: Mapping[str, str]) -> bool:
    """Whether the process that runs a study is one of this machine."""
    return tags.get(NODE, platform.node()) == platform.node()


def lives(tags: Mapping[str, str]) -> bool:
    """Whether that process still runs. Its start time is compared too, since process ids are reused."""
    if not is_run_here(tags) or PID not in tags or int(tags[PID]) == os.getpid():
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(tags[PID]))
        same = abs(process.create_time() - float(tags[PID_SINCE])) <= _SAME_START_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False
