"""Tests of the facts about a host: through MLflow itself, on files as real machines have them, on this machine."""

import json
import os
import platform
import subprocess
import sys

from cases import cases
from commands import ROOT, clean_environment
from machines import DOCKER, Gpu, Group, Nvml, NvmlError, in_fork, lay

from mlflow_sysmetrics.recording.host import Host
from mlflow_sysmetrics.recording.run_context import HostContext
from mlflow_sysmetrics.recording.tags import HOST_PREFIX

ENTRY_POINT = "[mlflow.run_context_provider]\nsysmetrics-host = mlflow_sysmetrics.recording.run_context:HostContext\n"
KNOWN = {"cpu_model", "usable_cores", "memory_limit_mb", "os", "python"}
X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold 6248\nprocessor\t: 1\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


def facts(root, files=None):
    """The tags of a machine with these files, without their prefix."""
    lay(root, files or {})
    return {name.removeprefix(HOST_PREFIX): text for name, text in Host(str(root)).tags().items()}


def test_new_run_has_the_tags_and_import_mlflow_reads_nothing(tmp_path):
    """With the entry point, in a new interpreter: little is imported at first."""
    script = """
import sys, mlflow_sysmetrics.recording.run_context
loaded = [name for name in sys.modules if name.startswith(("mlflow_", "mlflow.", "psutil", "ray", "subprocess"))]
import json, mlflow
early = sorted({"mlflow_sysmetrics.sampling", "psutil", "pynvml"} & set(sys.modules))
tags = mlflow.tracking.context.registry.resolve_tags()  # those of a fluent run
print(json.dumps([loaded, early, {name: text for name, text in tags.items() if name.startswith("sysmetrics.")}]))
"""
    info = "mlflow_sysmetrics_bundle-0.dist-info"
    metadata = "Metadata-Version: 2.1\nName: mlflow-sysmetrics-bundle\nVersion: 0\n"
    lay(tmp_path / "site", {f"{info}/METADATA": metadata, f"{info}/entry_points.txt": ENTRY_POINT})
    path = f"{tmp_path / 'site'}{os.pathsep}{ROOT}"
    environment = clean_environment(PYTHONPATH=path)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    loaded, early, tags = json.loads(done.stdout.splitlines()[-1])
    assert {name.partition(".")[2] for name in loaded} == {
        "",
        "common",
        "common.lazy",
        "recording",
        *(f"recording.{name}" for name in ("events", "host", "outcome", "run_context", "tags")),
    }
    assert "mlflow_sysmetrics.sampling" not in early
    assert tags == Host().tags()


def test_tags_are_of_the_process_that_starts_the_run(monkeypatch):
    """Two runs cannot change each other's, and a forked worker may have been given other cores than its parent.

    MLFLOW_SYSMETRICS=0: no tags.
    """
    provider = HostContext()
    here = provider.tags()
    provider.tags().clear()
    assert provider.tags() == here
    core = min(os.sched_getaffinity(0))

    def is_bound():
        os.sched_setaffinity(0, {core})
        return provider.tags()[f"{HOST_PREFIX}usable_cores"] == "1"

    assert in_fork(is_bound) == 1
    monkeypatch.setenv("MLFLOW_SYSMETRICS", "0")
    assert not provider.in_context()  # then MLflow asks it for no tags


def test_cores_and_memory_are_the_least_of_what_is_there_and_allowed(tmp_path):
    """In a container."""
    tight = Group(memory_limit=200_000_000, quota=(50000, 100000))
    loose = Group(memory_limit=900_000_000_000_000, quota=(320000000, 100000))
    found = facts(tmp_path / "tight", DOCKER.files(tight))
    assert found["usable_cores"] == "0.5"
    assert found["memory_limit_mb"] == "200"
    assert facts(tmp_path / "loose", DOCKER.files(loose)) == facts(tmp_path / "machine")


@cases(
    "files, fact, text",
    {
        "x86": ({"proc/cpuinfo": X86}, "cpu_model", "Intel(R) Xeon(R) Gold 6248"),
        "Arm": ({"proc/cpuinfo": ARM}, "cpu_model", f"{platform.machine()} implementer 0x41 part 0xd0c"),
        "no cpuinfo": ({}, "cpu_model", platform.machine()),
        "Debian": (
            {"etc/os-release": 'PRETTY_NAME="Debian 12"\nID=debian\n'},
            "os",
            f"Debian 12, Linux {platform.release()}",
        ),
    },
)
def test_a_machine_is_described(files, fact, text, tmp_path):
    """By the kernel's files, which differ between architectures; minimal containers lack some."""
    assert facts(tmp_path, files)[fact] == text


@cases(
    "nvml, gpus",
    {"two cards": (Nvml(Gpu(), Gpu()), "2 x NVIDIA H100"), "no driver": (Nvml(Gpu(), error=NvmlError("none")), None)},
)
def test_cards_are_named_by_the_driver(nvml, gpus, tmp_path, monkeypatch):
    """Without a driver there is no tag, but the others are. No GPU is here: the driver is substituted."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    found = facts(tmp_path)
    assert found.get("gpus") == gpus
    assert found.keys() >= KNOWN
