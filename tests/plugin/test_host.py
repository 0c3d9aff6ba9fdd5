"""Tests of mlflow_sysmetrics.host: through MLflow itself, on files as real machines have them, on this machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from commands import ROOT, clean_environment
from forks import in_fork
from made_up_cgroups import DOCKER, Group
from made_up_files import lay
from made_up_nvml import Gpu, Nvml, NvmlError
from mlflow.tracking.context.registry import RunContextProviderRegistry

from mlflow_sysmetrics.host import Host, HostContext
from mlflow_sysmetrics.tags import HOST_PREFIX

ENTRY_POINT = "mlflow_sysmetrics.host:HostContext"


def installed(folder: Path) -> Path:
    """A folder that says what an installed package says: that this provider is to be loaded at `import mlflow`."""
    info = "mlflow_sysmetrics_bundle-0.dist-info"
    lay(
        folder,
        {
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: mlflow-sysmetrics-bundle\nVersion: 0\n",
            f"{info}/entry_points.txt": f"[mlflow.run_context_provider]\nsysmetrics-host = {ENTRY_POINT}\n",
        },
    )
    return folder


# --- in MLflow --------------------------------------------------------------------------------------------------------


def test_new_run_has_the_tags_and_import_mlflow_reads_nothing(tmp_path: Path) -> None:
    """In a new interpreter with the entry point: nothing is gathered at the import, and every fact for a fluent run."""
    script = """
import json, sys, mlflow
early = sorted({"mlflow_sysmetrics.sampling.container", "mlflow_sysmetrics.sampling.gpu", "pynvml"} & set(sys.modules))
loaded = "mlflow_sysmetrics.host" in sys.modules
tags = mlflow.tracking.context.registry.resolve_tags()  # those of a fluent run
print(json.dumps([loaded, early, {name: text for name, text in tags.items() if name.startswith("sysmetrics.")}]))
"""
    environment = clean_environment(PYTHONPATH=f"{installed(tmp_path / 'site')}{os.pathsep}{ROOT}")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    loaded, early, tags = json.loads(done.stdout.splitlines()[-1])
    assert (loaded, early) == (True, [])
    assert tags == Host().tags()


def test_mlflow_finds_it_among_its_providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own registry loads it from the entry point without a warning and asks it for tags."""
    monkeypatch.syspath_prepend(str(installed(tmp_path)))
    registry = RunContextProviderRegistry()
    registry.register_entrypoints()
    (ours,) = [provider for provider in registry if isinstance(provider, HostContext)]
    assert ours.in_context()
    assert ours.tags() == Host().tags()


def test_importing_it_imports_nothing_heavy() -> None:
    """Only what Python itself has, and the names of tags: no mlflow, no psutil, none of the plugin's other modules."""
    script = """
import sys, mlflow_sysmetrics.host
print(sorted(name for name in sys.modules if name.startswith(("mlflow_", "psutil", "mlflow.", "ray", "subprocess"))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30, cwd=ROOT
    )
    assert done.stdout.strip() == "['mlflow_sysmetrics', 'mlflow_sysmetrics.host', 'mlflow_sysmetrics.tags']"


# --- the provider -----------------------------------------------------------------------------------------------------


def test_facts_are_gathered_at_the_first_run_and_once() -> None:
    """Making the provider gathers nothing; two runs gather once, and cannot change each other's tags."""
    calls = []

    def gather() -> Mapping[str, str]:
        calls.append(1)
        return {"sysmetrics.host_os": "Plan 9"}

    provider = HostContext(gather)
    assert provider.in_context()
    assert not calls
    provider.tags()["sysmetrics.host_os"] = "changed"
    assert provider.tags() == {"sysmetrics.host_os": "Plan 9"}
    assert len(calls) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_gathers_anew() -> None:
    """A worker may have been given other cores than its parent."""
    provider = HostContext(lambda: {"pid": str(os.getpid())})
    assert provider.tags() == {"pid": str(os.getpid())}
    assert in_fork(lambda: provider.tags() == {"pid": str(os.getpid())}) == 1


def test_it_never_raises() -> None:
    """When gathering fails altogether a run has no tags of ours, and it is not tried again and again."""
    calls = []

    def gather() -> Mapping[str, str]:
        calls.append(1)
        raise RuntimeError("no")

    provider = HostContext(gather)
    assert (provider.tags(), provider.tags(), len(calls)) == ({}, {}, 1)


# --- the facts: Linux -------------------------------------------------------------------------------------------------

PLATFORM = SimpleNamespace(
    machine=lambda: "aarch64",
    python_implementation=lambda: "CPython",
    python_version=lambda: "3.12.1",
    mac_ver=lambda: ("15.1", ("", "", ""), "arm64"),
    system=lambda: "Windows",
    version=lambda: "10.0.22631",
)
X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold 6248\nprocessor\t: 1\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian\n'


def module(cores: int | None = 16, bound: int | None = 8) -> Any:
    """psutil on a machine of 64 GB; `bound` is None where a process cannot be bound."""
    process = SimpleNamespace() if bound is None else SimpleNamespace(cpu_affinity=lambda: list(range(bound)))
    return SimpleNamespace(
        Process=lambda: process,
        cpu_count=lambda: cores,
        virtual_memory=lambda: SimpleNamespace(total=64_000_000_000),
    )


def facts(root: Path, files: dict[str, str] | None = None, **seams: Any) -> dict[str, str]:
    """The tags of a made-up machine, without their prefix: a Linux without a GPU unless told otherwise."""
    lay(root, files or {})
    given = {
        "system": "linux",
        "environ": {},
        "run": lambda command: "",
        "platform": PLATFORM,
        "psutil": module(),
        "nvml": Nvml(),
    }
    return {name.removeprefix(HOST_PREFIX): text for name, text in Host(root=str(root), **given | seams).tags().items()}


def test_a_linux_machine_is_described(tmp_path: Path) -> None:
    """Every fact of a container with a quota and a limit on a machine with two cards."""
    card = "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 120\n"
    files = DOCKER.files(Group(memory_limit=4_000_000_000, quota=(250000, 100000))) | {
        "proc/cpuinfo": X86,
        "proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
        "etc/os-release": DEBIAN,
        "proc/driver/nvidia/gpus/0000:01:00.0/information": card,
        "proc/driver/nvidia/gpus/0000:02:00.0/information": card,
    }
    assert facts(tmp_path, files) == {
        "cpu_model": "Intel(R) Xeon(R) Gold 6248",
        "usable_cores": "2.5",
        "memory_limit_mb": "4000",
        "gpus": "2 x NVIDIA A100-SXM4-40GB",
        "os": "Debian GNU/Linux 12 (bookworm), Linux 6.1.0-18-amd64",
        "python": "CPython 3.12.1",
    }


@pytest.mark.parametrize(
    ("group", "cores", "memory_mb"),
    [
        (Group(), "8", "64000"),
        (Group(memory_limit=2_000_000_000, quota=(100000, 100000)), "1", "2000"),
        (Group(memory_limit=900_000_000_000, quota=(3200000, 100000)), "8", "64000"),
    ],
    ids=["no limits", "tight", "looser than the machine"],
)
def test_cores_and_memory_are_the_least_of_what_is_there_and_allowed(
    group: Group, cores: str, memory_mb: str, tmp_path: Path
) -> None:
    """A process bound to 8 of 16 cores on 64 GB, in a container."""
    found = facts(tmp_path, DOCKER.files(group))
    assert (found["usable_cores"], found["memory_limit_mb"]) == (cores, memory_mb)


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        (X86, "Intel(R) Xeon(R) Gold 6248"),
        (ARM, "aarch64 implementer 0x41 part 0xd0c"),
        ("cpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
        ("cpu model\t\t: MIPS 24Kc\n", "MIPS 24Kc"),
        ("", "aarch64"),
    ],
    ids=["x86", "Arm", "POWER", "MIPS", "no cpuinfo"],
)
def test_the_processor_is_named_on_every_architecture(cpuinfo: str, model: str, tmp_path: Path) -> None:
    """Each architecture's /proc/cpuinfo has other fields."""
    assert facts(tmp_path, {"proc/cpuinfo": cpuinfo})["cpu_model"] == model


@pytest.mark.parametrize(
    ("files", "name"),
    [({}, "Linux"), ({"etc/os-release": DEBIAN}, "Debian GNU/Linux 12 (bookworm), Linux")],
    ids=["neither", "no release"],
)
def test_an_incomplete_linux_is_named_as_far_as_it_goes(files: dict[str, str], name: str, tmp_path: Path) -> None:
    """Minimal containers have no /etc/os-release."""
    assert facts(tmp_path, files)["os"] == name


@pytest.mark.parametrize(
    ("nvml", "environ", "gpus"),
    [
        (Nvml(Gpu(), Gpu()), {}, "2 x NVIDIA H100"),
        (Nvml(Gpu()), {"CUDA_VISIBLE_DEVICES": "0"}, "NVIDIA H100 (CUDA_VISIBLE_DEVICES=0)"),
        (Nvml(), {"CUDA_VISIBLE_DEVICES": "0"}, None),
        (Nvml(Gpu(), error=NvmlError("no driver")), {}, None),
    ],
    ids=["two cards", "one visible", "no card", "no driver"],
)
def test_cards_are_named_by_the_driver_where_there_are_no_files(
    nvml: Nvml, environ: dict[str, str], gpus: str | None, tmp_path: Path
) -> None:
    """Windows and WSL; without a card there is no tag. No GPU is here: the driver is substituted."""
    assert facts(tmp_path, nvml=nvml, environ=environ).get("gpus") == gpus


# --- the facts: other systems (the seam is substituted: nothing here runs on macOS or Windows) ------------------------


def test_a_mac_is_described(tmp_path: Path) -> None:
    """Its processor comes from sysctl, and no process is bound to cores there."""
    asked = []

    def run(command: list[str]) -> str:
        asked.append(command)
        return "Apple M3 Pro\n"

    assert facts(tmp_path, system="darwin", run=run, psutil=module(12, None)) == {
        "cpu_model": "Apple M3 Pro",
        "usable_cores": "12",
        "memory_limit_mb": "64000",
        "os": "macOS 15.1",
        "python": "CPython 3.12.1",
    }
    assert asked == [["sysctl", "-n", "machdep.cpu.brand_string"]]


def test_a_windows_machine_is_described(tmp_path: Path) -> None:
    """Its processor comes from the environment."""
    environ = {"PROCESSOR_IDENTIFIER": "Intel64 Family 6 Model 158 Stepping 10, GenuineIntel"}
    assert facts(tmp_path, system="win32", environ=environ) == {
        "cpu_model": "Intel64 Family 6 Model 158 Stepping 10, GenuineIntel",
        "usable_cores": "8",
        "memory_limit_mb": "64000",
        "os": "Windows 10.0.22631",
        "python": "CPython 3.12.1",
    }


def refuse(*args: object, **kwargs: object) -> Any:
    raise OSError(1, "no")


@pytest.mark.parametrize(
    ("seams", "lost"),
    [
        ({"run": refuse, "system": "darwin"}, {"cpu_model"}),
        ({"system": "win32"}, {"cpu_model"}),
        ({"psutil": SimpleNamespace(Process=refuse, virtual_memory=refuse)}, {"usable_cores", "memory_limit_mb"}),
        ({"psutil": module(None, None)}, {"usable_cores"}),
        ({"platform": SimpleNamespace(machine=refuse)}, {"cpu_model", "python"}),
    ],
    ids=["no sysctl", "no environment", "psutil refused", "cores not known", "no platform"],
)
def test_a_fact_that_cannot_be_told_leaves_the_others(seams: Any, lost: set[str], tmp_path: Path) -> None:
    """Whatever one of them raises, the other tags are there."""
    assert {"cpu_model", "usable_cores", "memory_limit_mb", "os", "python"} - set(facts(tmp_path, **seams)) == lost


# --- this machine -----------------------------------------------------------------------------------------------------


def test_this_machine_is_described_plausibly() -> None:
    """Every fact but the GPUs, which it may not have, as psutil and platform know it."""
    tags = {name.removeprefix(HOST_PREFIX): text for name, text in Host().tags().items()}
    assert set(tags) - {"gpus"} == {"cpu_model", "usable_cores", "memory_limit_mb", "os", "python"}
    assert 0 < float(tags["usable_cores"]) <= (psutil.cpu_count() or 1)
    assert 100 < float(tags["memory_limit_mb"]) <= psutil.virtual_memory().total / 1e6 + 1
    assert tags["python"] == f"CPython {platform.python_version()}" or platform.python_implementation() != "CPython"
    assert platform.release() in tags["os"] or not psutil.LINUX
