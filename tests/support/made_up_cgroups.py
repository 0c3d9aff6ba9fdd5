"""Control groups, laid out as real machines have them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Group:
    """One control group's limits, as version 2 of the kernel's interface writes them."""

    memory_limit: int | None = None
    quota: tuple[int, int] | None = None

    def files(self, folder):
        quota, period = self.quota or ("max", 100000)
        return {
            f"{folder}/cgroup.events": "populated 1\nfrozen 0\n",
            f"{folder}/memory.max": f"{'max' if self.memory_limit is None else self.memory_limit}\n",
            f"{folder}/cpu.max": f"{quota} {period}\n",
        }


V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


OTHER_MOUNTS = "22 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw\n23 22 0:22 / /sys rw shared:7 - sysfs sysfs rw\n"


@dataclass
class Layout:
    """A machine: what /proc says of the process, and its groups, the process's own first."""

    name: str
    cgroup: str
    mounts: str
    folders: list  # of its groups
    machines_own: list = field(default_factory=list)  # folders of the group of all processes

    def files(self, *groups):
        """The files, with these groups from the innermost on."""
        files = {"proc/self/cgroup": self.cgroup, "proc/self/mountinfo": OTHER_MOUNTS + self.mounts}
        for folder, group in zip(self.folders, groups, strict=False):
            files |= group.files(folder)
        return files | {f"{folder}/cgroup.procs": "\n" for folder in self.machines_own}


DOCKER = Layout("docker", "0::/\n", V2_MOUNT, ["sys/fs/cgroup"])
