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
from mlflow_sysmetrics.sampling import GROUPS, Sampler, find_folders, import_nvml, open_gpus

_PACKAGES = ("mlflow-sysmetrics-bundle", "mlflow", "mlflow-skinny", "psutil", "ray", "nvidia-ml-py")


def examine() -> tuple[list[str], bool]:
    """A line for each thing that was looked at, and whether anything could be recorded here. Writes nothing."""
    read = {group: sorted(Sampler((group,))()) for group in GROUPS}
    lines = [_line(group, names, ", ".join(names) or _why_not(group)) for group, names in read.items()]
    uri, folder = mlflow.get_tracking_uri(), journal_folder()
    silent = _why_silent(uri)
    lines.append(_line(f"store {redacted(uri)}", not silent, silent or "answers"))
    near = next(each for each in (folder, *folder.parents) if each.exists())  # it is made when it is needed
    has_room, waiting = os.access(near, os.W_OK | os.X_OK), len(list(folder.glob(f"*{SUFFIX}")))
    said = f"{waiting} files of loggers that run, or for `mlflow-sysmetrics sync`" if waiting else "nothing waits"
    lines.append(_line(f"journals in {folder}", has_room, said if has_room else "cannot be written by this user"))
    found = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    lines.append("versions: " + ", ".join(f"{name} {found[name]}" for name in _PACKAGES if name in found))
    return lines, bool(read["process"]) and (not silent or has_room)


def _line(what: str, works: object, said: str) -> str:
    return f"{'yes' if works else ' no'}  {what}: {said}"


def _why_not(group: str) -> str:
    if group == "container":
        return "no limits, and no usage" if find_folders() else "this process is in no control group of version 2"
    if group == "gpu" and import_nvml() is None:
        return "nvidia-ml-py is not installed; pip install nvidia-ml-py"
    if group == "gpu":
        has_gpu = open_gpus(import_nvml())
        return "the driver reports nothing about its GPUs" if has_gpu else "no NVIDIA driver, or no GPU"
    return "/proc is missing, or hides this process"


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
