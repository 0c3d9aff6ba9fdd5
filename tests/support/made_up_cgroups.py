"""Control groups, laid out as real machines have them."""

from __future__ import annotations

from dataclasses import dataclass, field

UNLIMITED = "9223372036854771712\n"


@dataclass
class Group:
    """One control group's figures, as either version of the kernel's interface writes them."""

    memory: int = 300_000_000
    cache: int = 100_000_000
    memory_limit: int | None = None
    cpu_s: float = 50.0
    quota: tuple[int, int] | None = None

    def v2(self, folder: str) -> dict[str, str]:
        quota, period = self.quota or ("max", 100000)
        return {
            f"{folder}/cgroup.events": "populated 1\nfrozen 0\n",
            f"{folder}/memory.current": f"{self.memory}\n",
            f"{folder}/memory.max": f"{'max' if self.memory_limit is None else self.memory_limit}\n",
            f"{folder}/memory.stat": f"anon 1\nfile 2\ninactive_anon 7\ninactive_file {self.cache}\nactive_file 3\n",
            f"{folder}/cpu.max": f"{quota} {period}\n",
            f"{folder}/cpu.stat": f"usage_usec {self.cpu_s * 1e6:.0f}\nuser_usec 1\nsystem_usec 1\n",
        }

    def v1(self, memory: str, cpu: str, cpuacct: str) -> dict[str, str]:
        quota, period = self.quota or (-1, 100000)
        total = f"inactive_file 5\nhierarchical_memory_limit {UNLIMITED}total_inactive_file {self.cache}\n"
        return {
            f"{memory}/memory.usage_in_bytes": f"{self.memory}\n",
            f"{memory}/memory.limit_in_bytes": UNLIMITED if self.memory_limit is None else f"{self.memory_limit}\n",
            f"{memory}/memory.stat": total,
            f"{cpu}/cpu.cfs_quota_us": f"{quota}\n",
            f"{cpu}/cpu.cfs_period_us": f"{period}\n",
            f"{cpuacct}/cpuacct.usage": f"{self.cpu_s * 1e9:.0f}\n",
        }


V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


OTHER_MOUNTS = "22 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw\n23 22 0:22 / /sys rw shared:7 - sysfs sysfs rw\n"


@dataclass
class Layout:
    """A machine: what /proc says of the process, and its groups, the process's own first."""

    name: str
    version: int
    cgroup: str
    mounts: str
    folders: list[str]  # of its groups; {} stands for the controllers' folder in version 1
    machines_own: list[str] = field(default_factory=list)  # folders of the group of all processes
    controllers: tuple[str, str, str] = ("memory", "cpu,cpuacct", "cpu,cpuacct")

    def files(self, *groups: Group) -> dict[str, str]:
        """The files, with these groups from the innermost on."""
        files = {"proc/self/cgroup": self.cgroup, "proc/self/mountinfo": OTHER_MOUNTS + self.mounts}
        for folder, group in zip(self.folders, groups, strict=False):
            where = [folder.format(controller) for controller in self.controllers]
            files |= group.v2(folder) if self.version == 2 else group.v1(*where)
        for folder in self.machines_own:
            files[f"{folder}/{'release_agent' if self.version == 1 else 'cgroup.procs'}"] = "\n"
        return files


def v1_mounts(root: str) -> str:
    """The mounts of version 1 as systemd and Docker make them, of the groups from `root` on."""
    return "".join(
        f"{40 + number} 31 0:{number} {root} /sys/fs/cgroup/{name} ro,nosuid shared:9 - cgroup cgroup rw,{name}\n"
        for number, name in enumerate(("memory", "cpu,cpuacct", "pids"))
    )


DOCKER_2 = Layout("docker, version 2", 2, "0::/\n", V2_MOUNT, ["sys/fs/cgroup"])


DOCKER_1 = Layout(
    "docker, version 1",
    1,
    "12:pids:/docker/f00\n4:cpu,cpuacct:/docker/f00\n3:memory:/docker/f00\n1:name=systemd:/docker/f00\n",
    v1_mounts("/docker/f00"),
    ["sys/fs/cgroup/{}"],
)
