"""What a study leaves in its run, so that another command can continue it: its settings, and which process runs it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException

from entrypoints import search_space
from entrypoints.runs import RecordedRun
from entrypoints.settings import Limits, StudySettings

SETTINGS = "settings.json"
EXECUTION = ("cpus", "time_limit_s", "ray_address")  # how a study is run, which does not change what it searches
NODE, PID, SINCE = "sysmetrics.node", "sysmetrics.pid", "sysmetrics.pid_since"
_SAME_START_S = 2.0  # the kernel's clock, from which a process's start is counted, is set now and then


def begin(run: RecordedRun, settings: StudySettings, limits: Limits | None) -> None:
    """Write down what is searched, and that this process does it."""
    run.client.log_text(run.run_id, json.dumps(described(settings, limits), indent=1), SETTINGS)
    claim(run)


def claim(run: RecordedRun) -> None:
    """Write down that this process runs the study from now on."""
    process = psutil.Process()
    about = {NODE: platform.node(), PID: str(process.pid), SINCE: str(process.create_time())}
    run.client.log_batch(run.run_id, tags=[RunTag(name, value) for name, value in about.items()])


def described(settings: StudySettings, limits: Limits | None) -> dict[str, Any]:
    """What defines a search, by the names of the options, as JSON has it. Execution is left out."""
    searched = {each.name: getattr(settings, each.name) for each in fields(settings) if each.name not in EXECUTION}
    grid = None if settings.grid is None else search_space.described(settings.grid)
    about = {**searched, "grid": grid, **(asdict(limits) if limits else {})}
    return dict(json.loads(json.dumps(about, default=str)))


def restored(
    about: Mapping[str, Any], given: StudySettings, limits: Limits | None
) -> tuple[StudySettings, Limits | None]:
    """The settings and limits that were ``described``, with the execution of those that are given now."""

    def made(of: Any) -> dict[str, Any]:
        kept = {each.name: about.get(each.name, getattr(of, each.name)) for each in fields(of)}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}

    settings = made(given)
    if settings["grid"] is not None:
        settings["grid"] = search_space.parse(json.dumps(settings["grid"]), Path())
    return StudySettings(**settings), None if limits is None else Limits(**made(limits))


def read(client: MlflowClient, run_id: str) -> dict[str, Any] | None:
    """What ``described`` said of a study when it began; None where that is not there, or cannot be read."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            uri = client.tracking_uri
            path = download_artifacts(run_id=run_id, artifact_path=SETTINGS, dst_path=folder, tracking_uri=uri)
            return dict(json.loads(Path(path).read_text()))
        except (MlflowException, OSError, ValueError):
            return None


def is_run_here(tags: Mapping[str, str]) -> bool:
    """Whether the process that runs a study is one of this machine."""
    return tags.get(NODE, platform.node()) == platform.node()


def lives(tags: Mapping[str, str]) -> bool:
    """Whether that process lives, as far as this machine can tell: numbers of processes are given again."""
    if not is_run_here(tags) or PID not in tags or int(tags[PID]) == os.getpid():
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(tags[PID]))
        same = abs(process.create_time() - float(tags[SINCE])) <= _SAME_START_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False
