"""What could be recorded here, and why not the rest: the machine, the store, the spool and the versions."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlflow
import psutil
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.tracking.fluent import _get_experiment_id

from mlflow_sysmetrics.command.ask_store import NoAnswerError, ask_store
from mlflow_sysmetrics.delivery.spool import SUFFIX, spool_folder
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.redact import redacted
from mlflow_sysmetrics.sampling import GROUPS, find_folders, import_nvml, open_gpus, sampler
from mlflow_sysmetrics.stopping.cause_of_death import MemoryKills
from mlflow_sysmetrics.tags import HOST_PREFIX

_PACKAGES = ("mlflow-sysmetrics-bundle", "mlflow", "mlflow-skinny", "psutil", "ray", "nvidia-ml-py", "matplotlib")
_READINGS, _SETTLED_S = 20, 0.05
_ANSWER_S = 20.0  # a new SQLite store takes some seconds to make its tables
_BATCHES, _BATCH = 5, 100  # points: what a logger writes in a few seconds


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it works, and what was found or what to do."""

    what: str
    works: bool
    said: str

    def __str__(self) -> str:
        return f"{'yes' if self.works else ' no'}  {self.what}: {self.said}"


@dataclass(frozen=True)
class Report:
    """What was found, by chapter, and whether anything could be recorded here at all."""

    chapters: dict[str, list[Finding]]
    can_record: bool

    def __str__(self) -> str:
        parts = ["\n".join([title, *(f"  {each}" for each in lines)]) for title, lines in self.chapters.items()]
        end = "Recording works here." if self.can_record else "Nothing could be recorded here."
        return "\n\n".join([*parts, end])


def examine() -> Report:
    """Look at this machine and MLflow's store. A short run is written to the store, and deleted again."""
    groups = list(_groups())
    store, spool = _store(), _spool()
    chapters = {
        "Versions": [_of_package(name) for name in _PACKAGES],
        "Machine": [Finding(name, True, value) for name, value in _host()],
        "What can be read": [*groups, _deaths()],
        "Where it goes": [store, spool],
    }
    return Report(chapters, groups[0].works and (store.works or spool.works))


def _of_package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed")


def _host() -> Iterator[tuple[str, str]]:
    for name, value in Host().tags().items():
        yield name.removeprefix(HOST_PREFIX).replace("_", " "), value


def _groups() -> Iterator[Finding]:
    """Each group, read a few times: its figures, and what a reading takes."""
    for group in GROUPS:
        read = sampler((group,))
        time.sleep(_SETTLED_S)
        values = read()
        if values:
            took = [_seconds(read) for _ in range(_READINGS)] if group == "process" else []
            cost = f"; a reading takes {1e6 * statistics.median(took):.0f} us" if took else ""
            yield Finding(group, True, f"{', '.join(sorted(values))}{cost}")
        else:
            yield Finding(group, False, _why_not(group))


def _why_not(group: str) -> str:
    if group == "container":
        if find_folders():
            return "the control group of this process reports neither its usage nor its limits"
        version_1 = Path("/sys/fs/cgroup/memory").is_dir()
        return "control groups of version 1 are not read" if version_1 else "this process is in no control group"
    if group == "gpu":
        if import_nvml() is None:
            return "nvidia-ml-py is not installed; pip install nvidia-ml-py"
        is_there = bool(open_gpus(import_nvml()))
        return "the driver reports nothing about its GPUs" if is_there else "no NVIDIA driver, or no GPU"
    return "/proc is missing, or hides this process"


def _deaths() -> Finding:
    if MemoryKills().happened() is None:
        return Finding("cause of death", False, "no control group of version 2 has memory.events")
    return Finding("cause of death", True, "a kill by the kernel for lack of memory can be detected")


def _store() -> Finding:
    """Whether the store answers, and how long it takes for a batch."""
    uri = mlflow.get_tracking_uri()
    shown = redacted(uri)
    try:
        first_s, batch_s = ask_store(uri, _ANSWER_S, lambda: _try_store(uri))
    except NoAnswerError as error:
        return Finding(f"store {shown}", False, str(error))
    return Finding(
        f"store {shown}", True, f"answers in {1000 * first_s:.0f} ms; {_BATCH} points take {1000 * batch_s:.0f} ms"
    )


def _try_store(uri: str) -> tuple[float, float]:
    """Seconds for an answer and for a batch."""
    client = MlflowClient(uri)
    client.search_experiments(max_results=1)  # connects, and makes a new store's tables
    answer_s = _seconds(lambda: client.search_experiments(max_results=1))
    run = client.create_run(_get_experiment_id() or "0", run_name="mlflow-sysmetrics doctor")
    try:
        took = []
        for number in range(_BATCHES):
            points = [Metric(f"system/doctor_{name}", 0.0, number, number) for name in range(_BATCH)]
            took.append(_seconds(lambda points=points: client.log_batch(run.info.run_id, metrics=points)))  # type: ignore[misc]
    finally:
        client.set_terminated(run.info.run_id)
        client.delete_run(run.info.run_id)
    return answer_s, statistics.median(took)


def _spool() -> Finding:
    """Where points wait while the store is away, and what waits there now."""
    folder = spool_folder()
    what = f"spool {folder}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        return Finding(what, False, f"cannot be made: {error.strerror}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(what, False, "cannot be written by this user; name another in MLFLOW_SYSMETRICS_SPOOL")
    sizes = []
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # its logger has just delivered it
            sizes.append(path.stat().st_size)
    free_mb = psutil.disk_usage(str(folder)).free / 1e6
    waits = "nothing waits"
    if sizes:
        waits = f"{len(sizes)} files of {sum(sizes) / 1e6:.1f} MB: of loggers that run, or for `mlflow-sysmetrics sync`"
    return Finding(what, True, f"{waits}; {free_mb:,.0f} MB free")


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
