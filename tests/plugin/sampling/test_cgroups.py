"""Tests of mlflow_sysmetrics.sampling.cgroups: folders laid out as real machines have them."""

import math

from cases import cases
from machines import DOCKER, V2_MOUNT, Group, Layout, lay

from mlflow_sysmetrics.sampling import cgroup_limits, find_folders

SYSTEMD = Layout(
    "0::/user.slice/user-1000.slice/job.scope\n",
    V2_MOUNT,
    [f"sys/fs/cgroup/user.slice{rest}" for rest in ("/user-1000.slice/job.scope", "/user-1000.slice", "")],
    ["sys/fs/cgroup"],
)
V1 = "3:memory:/docker/f00\n1:name=systemd:/docker/f00\n"
V1_MOUNT = "40 31 0:1 /docker/f00 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"


def limits(root, pid=None):
    """Bytes and cores that a process of the machine with these files may use."""
    return cgroup_limits(find_folders(pid, root=str(root)))


def test_the_lowest_limit_around_counts(tmp_path):
    """A job's limit binds its steps."""
    own = Group(memory_limit=8_000_000_000, quota=(800000, 100000))
    job = Group(memory_limit=4_000_000_000, quota=(200000, 100000))
    lay(tmp_path, SYSTEMD.files(own, job, Group()))
    assert limits(tmp_path) == (4e9, 2)


@cases("text", {"missing": None, "odd": "0x1 -5 \n", "unset": "max 100000\n"})
@cases("name, known", [("memory.max", (math.inf, 1.5)), ("cpu.max", (2e9, math.inf))])
def test_a_file_that_is_not_there_costs_its_own_limit_only(name, known, text, tmp_path):
    """The other limit stays, and nothing raises."""
    files = DOCKER.files(Group(memory_limit=2_000_000_000, quota=(150000, 100000)))
    path = f"{DOCKER.folders[0]}/{name}"
    del files[path]
    lay(tmp_path, files | ({} if text is None else {path: text}))
    assert limits(tmp_path) == known


@cases(
    "cgroup, mounts",
    {
        "no mounts": ("0::/\n", ""),
        "the machine's own group": ("0::/\n", V2_MOUNT),
        "garbled": ("nonsense\n:\n::\n", "1 2 3 - \n - cgroup2\n\n"),
        "version 1 alone": (V1, V1_MOUNT),
        "version 1 beside an empty version 2": (V1 + "0::/\n", V1_MOUNT + V2_MOUNT),
    },
)
def test_where_there_is_no_group_of_version_2_there_is_no_limit(cgroup, mounts, tmp_path):
    lay(tmp_path, Group(memory_limit=1).files("sys/fs/cgroup/memory/docker/f00"))
    lay(tmp_path, {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts})
    assert limits(tmp_path) == (math.inf, math.inf)


@cases("path", ["/docker/f00", "/../f00"])
def test_a_path_outside_the_mount_is_read_at_the_mount(path, tmp_path):
    """Where a container sees its group's name from outside (or as /..), what is mounted is its group."""
    lay(tmp_path, DOCKER.files(Group(memory_limit=7_000_000)) | {"proc/self/cgroup": f"0::{path}\n"})
    for beside in ("sys/fs/f00", "sys/fs/cgroup/f00"):
        lay(tmp_path, Group(memory_limit=1).files(beside))
    assert limits(tmp_path) == (7e6, math.inf)


def test_another_process_has_its_own_group(tmp_path):
    """The pid chooses the group; the mounts are those that this process sees."""
    lay(tmp_path, SYSTEMD.files(Group(), Group(), Group()) | {"proc/77/cgroup": "0::/jobs/77\n"})
    lay(tmp_path, Group(memory_limit=77).files("sys/fs/cgroup/jobs/77"))
    assert limits(tmp_path, 77) == (77, math.inf)
