"""Facts about a machine that a fair comparison of costs needs, as tags of runs."""

from __future__ import annotations

import contextlib
import os
import platform
from collections import Counter
from pathlib import Path

from mlflow_sysmetrics.recording.tags import HOST_PREFIX

SYSTEM_FACTS = frozenset({"os", "python"})  # that an update changes, which does not make it another host


class Host:
    """The machine as this process may use it. `root` is the folder of the system's files."""

    def __init__(self, root: str = "/") -> None:
        self._root = root

    def tags(self) -> dict[str, str]:
        """Each known fact, as `sysmetrics.host_<fact>`. An error in one does not affect the others."""
        tags = {}
        for fact in (self.cpu_model, self.usable_cores, self.memory_limit_mb, self.gpus, self.os, self.python):
            with contextlib.suppress(Exception):  # facts come from files and drivers, which may return anything
                tags[HOST_PREFIX + fact.__name__] = fact()
        return {name: value for name, value in tags.items() if value}

    def cpu_model(self) -> str:
        """The processor's name; on Arm its numbers, which is what Linux knows of it."""
        fields = self._read("proc/cpuinfo", ":")
        if name := fields.get("model name"):
            return name
        numbers = [f"{part} {fields[key]}" for part in ("implementer", "part") if (key := f"CPU {part}") in fields]
        return " ".join([platform.machine(), *numbers])

    def usable_cores(self) -> str:
        """How many processors this process may keep busy: those it is bound to, within its container's quota."""
        cores = min(len(os.sched_getaffinity(0)), self._limits()[1])
        return f"{cores:g}"

    def memory_limit_mb(self) -> str:
        """The memory it may use, in megabytes (1e6 bytes): its container's limit, or all there is."""
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return f"{min(installed, self._limits()[0]) / 1e6:.0f}"

    def gpus(self) -> str:
        """The names of NVIDIA's GPUs, each with its number if it is there more than once; with the extra `[gpu]`."""
        from mlflow_sysmetrics.sampling import import_nvml, open_gpus

        nvml = import_nvml()
        names = Counter(os.fsdecode(nvml.nvmlDeviceGetName(handle)) for handle in open_gpus(nvml).values())
        return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in names.items())

    def os(self) -> str:
        """The operating system's name and release; on Linux the distribution's and the kernel's."""
        named = self._read("etc/os-release", "=").get("PRETTY_NAME", "").strip('"')
        kernel = f"{platform.system()} {platform.release()}"
        return f"{named}, {kernel}" if named else kernel

    def python(self) -> str:
        return f"{platform.python_implementation()} {platform.python_version()}"

    def _limits(self) -> tuple[float, float]:
        from mlflow_sysmetrics.sampling import cgroup_limits, find_folders

        return cgroup_limits(find_folders(root=self._root))

    def _read(self, path: str, between: str) -> dict[str, str]:
        """The names and values of a file's lines such as `name : value`; {} where it is not there."""
        try:
            text = Path(self._root, path).read_text(errors="replace")
        except OSError:
            return {}
        parts = (line.partition(between) for line in text.splitlines())
        return {name.strip(): value.strip() for name, _, value in parts}
