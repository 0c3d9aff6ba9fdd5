"""What every fluent MLflow run is tagged with: the facts about its host that a fair comparison of costs needs.

MLflow loads this module at `import mlflow` (entry point group `mlflow.run_context_provider`). So it imports next to
nothing, and reads nothing before the first run starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from mlflow_sysmetrics.tags import HOST_PREFIX

SYSTEM_FACTS = frozenset({"os", "python"})  # that an update changes, which does not make it another host
_ANSWER_WITHIN_S = 2.0


class HostContext:
    """MLflow's provider of the tags of `Host`. They are gathered in a process's first run, and once. Never raises."""

    def __init__(self, gather: Callable[[], Mapping[str, str]] | None = None) -> None:
        self._gather = gather or (lambda: Host().tags())
        self._tags: dict[int, Mapping[str, str]] = {}  # by process: a forked worker may have been given other cores

    def in_context(self) -> bool:
        """Every run has a host."""
        return True

    def tags(self) -> dict[str, str]:
        """The tags of a run that starts in this process; {} if none can be had."""
        pid = os.getpid()
        if pid not in self._tags:
            try:
                self._tags = {pid: self._gather()}
            except Exception:  # a run matters more than its tags
                self._tags = {pid: {}}
        return dict(self._tags[pid])


class Host:
    """The machine as this process may use it. Unknown facts are None.

    The arguments are the operating system: the folder under which its files are, its name, the environment, what runs a
    command and returns its output, and the modules `platform`, `psutil` and `pynvml` or what looks like them.
    """

    def __init__(
        self,
        *,
        root: str = "/",
        system: str = sys.platform,
        environ: Mapping[str, str] = os.environ,
        run: Callable[[list[str]], str] | None = None,
        platform: Any = None,
        psutil: Any = None,
        nvml: Any = None,
    ) -> None:
        self._root, self._system, self._environ, self._run = root.rstrip("/"), system, environ, run or _output
        self._platform, self._psutil, self._nvml = platform or _module("platform"), psutil or _module("psutil"), nvml

    def tags(self) -> dict[str, str]:
        """Each known fact, as `sysmetrics.host_<fact>`. An error in one does not affect the others."""
        facts = (self.cpu_model, self.usable_cores, self.memory_limit_mb, self.gpus, self.os, self.python)
        tags = {}
        for fact in facts:
            try:
                value = fact()
            except Exception:  # facts come from files, drivers and commands, which may return anything
                continue
            if value:
                tags[HOST_PREFIX + fact.__name__] = value
        return tags

    def cpu_model(self) -> str | None:
        """The processor's name; on Arm its numbers, which is what Linux knows of it."""
        if self._system == "darwin":
            return self._run(["sysctl", "-n", "machdep.cpu.brand_string"]).strip()
        if self._system == "win32":
            return self._environ.get("PROCESSOR_IDENTIFIER")
        fields = dict(_fields(self._read("proc/cpuinfo"), ":"))
        if name := fields.get("model name") or fields.get("cpu model") or fields.get("cpu"):
            return name
        numbers = [f"{part} {fields[key]}" for part in ("implementer", "part") if (key := f"CPU {part}") in fields]
        return " ".join([self._platform.machine(), *numbers])

    def usable_cores(self) -> str | None:
        """How many processors this process may keep busy: those it is bound to, within its container's quota."""
        from mlflow_sysmetrics.sampling import cgroup_limits, find_folders

        try:
            cores = len(self._psutil.Process().cpu_affinity())
        except AttributeError:  # macOS binds no process
            cores = self._psutil.cpu_count()
        _, quota = cgroup_limits(find_folders(root=self._root or "/"))
        return f"{min(cores, quota):g}" if cores else None

    def memory_limit_mb(self) -> str | None:
        """The memory it may use, in megabytes (1e6 bytes): its container's limit, or all there is."""
        from mlflow_sysmetrics.sampling import cgroup_limits, find_folders

        limit, _ = cgroup_limits(find_folders(root=self._root or "/"))
        return f"{min(limit, self._psutil.virtual_memory().total) / 1e6:.0f}"

    def gpus(self) -> str | None:
        """The names of NVIDIA's GPUs, each with its number if it is there more than once, and which CUDA may see."""
        names = self._gpu_names()
        if not names:
            return None
        each = [name if (number := names.count(name)) == 1 else f"{number} x {name}" for name in dict.fromkeys(names)]
        visible = self._environ.get("CUDA_VISIBLE_DEVICES")
        return ", ".join(each) + ("" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})")

    def _gpu_names(self) -> list[str]:
        from pathlib import Path

        told = sorted(Path(f"{self._root}/proc/driver/nvidia/gpus").glob("*/information"))
        if names := [dict(_fields(path.read_text(errors="replace"), ":")).get("Model") for path in told]:
            return [name for name in names if name]
        from mlflow_sysmetrics.sampling import import_nvml, open_gpus  # no such files on Windows and in WSL

        nvml = self._nvml or import_nvml()
        answers = [nvml.nvmlDeviceGetName(handle) for handle in open_gpus(nvml).values()]
        return [name.decode() if isinstance(name, bytes) else name for name in answers]

    def os(self) -> str | None:
        """The operating system's name and release; on Linux the distribution's and the kernel's."""
        if self._system == "linux":
            named = dict(_fields(self._read("etc/os-release"), "=")).get("PRETTY_NAME", "").strip('"')
            kernel = f"Linux {self._read('proc/sys/kernel/osrelease').strip()}".strip()
            return f"{named}, {kernel}" if named else kernel
        if self._system == "darwin":
            return f"macOS {self._platform.mac_ver()[0]}"
        return f"{self._platform.system()} {self._platform.version()}"

    def python(self) -> str | None:
        """The interpreter and its version."""
        return f"{self._platform.python_implementation()} {self._platform.python_version()}"

    def _read(self, path: str) -> str:
        from mlflow_sysmetrics.sampling import read_file

        return read_file(f"{self._root}/{path}").decode(errors="replace")


def _fields(text: str, between: str) -> list[tuple[str, str]]:
    """The names and values of lines such as `name : value`."""
    parts = (line.partition(between) for line in text.splitlines())
    return [(name.strip(), value.strip()) for name, _, value in parts]


def _module(name: str) -> Any:
    import importlib

    return importlib.import_module(name)


def _output(command: list[str]) -> str:
    import subprocess

    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ANSWER_WITHIN_S).stdout
