"""What could be recorded here, and why not the rest: the groups, the store, the journals and the versions."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import click
import mlflow

from mlflow_sysmetrics.command.ask_store import ask_store
from mlflow_sysmetrics.delivery.journal import SUFFIX, journal_folder
from mlflow_sysmetrics.redact import absolute_uri, redacted
from mlflow_sysmetrics.sampling import GROUPS, Sampler

_PACKAGES = {"mlflow-sysmetrics-bundle", "mlflow", "mlflow-skinny", "psutil", "ray", "nvidia-ml-py"}
_WHY_NOT = {
    "process": "/proc is missing, or hides this process",
    "container": "this process is in no control group of version 2 that has limits or tells its usage",
    "gpu": "there is no NVIDIA GPU with its driver, or nvidia-ml-py is not installed",
}


def examine() -> tuple[list[str], bool]:
    """A line for each thing that was looked at, and whether anything could be recorded here. Writes nothing."""
    lines = []
    for group in GROUPS:
        names = ", ".join(sorted(Sampler((group,))()))
        lines.append(_line(group, names, _WHY_NOT[group]))
    uri = mlflow.get_tracking_uri()
    why_silent = _why_silent(uri)
    lines.append(_line(f"store {redacted(uri)}", "" if why_silent else "answers", why_silent))
    folder = journal_folder()
    near = next(each for each in (folder, *folder.parents) if each.exists())  # it is made when it is needed
    has_room = os.access(near, os.W_OK | os.X_OK)
    waiting = len(list(folder.glob(f"*{SUFFIX}")))
    text = f"{waiting} files of loggers that run, or for `mlflow-sysmetrics sync`" if waiting else "nothing waits"
    lines.append(_line(f"journals in {folder}", text if has_room else "", "cannot be written by this user"))
    found = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    lines.append("versions: " + ", ".join(f"{name} {found[name]}" for name in sorted(_PACKAGES & found.keys())))
    return lines, lines[0].startswith("yes") and (has_room or not why_silent)


def _line(what: str, found: str, why_not: str) -> str:
    return f"yes  {what}: {found}" if found else f" no  {what}: {why_not}"


def _why_silent(uri: str) -> str:
    """Why the store does not answer; empty if it does."""
    file = absolute_uri(uri).partition("sqlite:///")[2]
    if file and not Path(file).exists():  # asked, MLflow would make it
        return f"there is no {file} yet; the first run makes it"
    try:
        ask_store(uri, lambda: mlflow.MlflowClient(uri).search_experiments(max_results=1))
    except click.ClickException as error:
        return str(error).removeprefix(f"{redacted(uri)}: ")
    return ""
