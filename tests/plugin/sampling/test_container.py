"""Tests of mlflow_sysmetrics.sampling.container: folders laid out as real machines have them, and this machine once."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import pytest
from made_up_cgroups import DOCKER_1, DOCKER_2, V2_MOUNT, Group, Layout, v1_mounts
from made_up_files import Clock, lay, refused

from mlflow_sysmetrics.sampling.container import ContainerSampler, find_chain, limits

V1_SINGLE = "".join(
    f"{40 + number} 31 0:{number} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
    for number, name in enumerate(("cpu", "cpuacct", "memory"))
)
SYSTEMD_2 = Layout(
    "nested, version 2",
    2,
    "0::/user.slice/user-1000.slice/job.scope\n",
    V2_MOUNT,
    [f"sys/fs/cgroup/user.slice{rest}" for rest in ("/user-1000.slice/job.scope", "/user-1000.slice", "")],
    ["sys/fs/cgroup"],
)
SLURM_1 = Layout(
    "nested, version 1",
    1,
    "4:cpu,cpuacct:/slurm/job_7/step_0\n3:memory:/slurm/job_7/step_0\n0::/init.scope\n",
    v1_mounts("/"),
    [f"sys/fs/cgroup/{{}}/slurm{rest}" for rest in ("/job_7/step_0", "/job_7", "")],
    ["sys/fs/cgroup/memory", "sys/fs/cgroup/cpu,cpuacct"],
)
SEPARATE_1 = Layout(
    "separate mounts beside version 2",
    1,
    "3:memory:/pod/a\n2:cpuacct:/pod/a\n1:cpu:/pod/a\n0::/\n",
    V1_SINGLE + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    ["sys/fs/cgroup/{}/pod/a", "sys/fs/cgroup/{}/pod"],
    ["sys/fs/cgroup/memory", "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpuacct"],
    ("memory", "cpu", "cpuacct"),
)
LAYOUTS = [DOCKER_2, SYSTEMD_2, DOCKER_1, SLURM_1, SEPARATE_1]
NESTED = [SYSTEMD_2, SLURM_1, SEPARATE_1]


def named(layout: Layout) -> str:
    return layout.name


@pytest.mark.parametrize("layout", LAYOUTS, ids=named)
def test_limits_and_use_are_read(layout: Layout, tmp_path: Path) -> None:
    """Memory is what counts less droppable cache, CPU is of one core, and limits are in MB and cores."""
    lay(tmp_path, layout.files(Group(memory_limit=2_000_000_000, quota=(150000, 100000)), Group(), Group()))
    clock = Clock()
    sample = ContainerSampler(root=str(tmp_path), clock=clock)
    levels = {"container_memory_mb": 200, "container_memory_limit_mb": 2000, "container_cpu_limit_cores": 1.5}
    assert sample() == levels
    later = Group(memory_limit=2_000_000_000, quota=(150000, 100000), cpu_s=51.0, cache=50_000_000)
    lay(tmp_path, layout.files(later))
    clock.now = 2.0
    assert sample() == levels | {"container_cpu_percent": 50, "container_memory_mb": 250}


@pytest.mark.parametrize("layout", LAYOUTS, ids=named)
def test_a_limit_that_is_not_set_is_absent(layout: Layout, tmp_path: Path) -> None:
    """`max`, -1 and version 1's huge number are no limit; use is there all the same."""
    lay(tmp_path, layout.files(Group(), Group(), Group()))
    clock = Clock()
    sample = ContainerSampler(root=str(tmp_path), clock=clock)
    clock.now = 0.01
    assert set(sample()) == {"container_memory_mb", "container_cpu_percent"}
    assert limits(root=str(tmp_path)) == (math.inf, math.inf)


@pytest.mark.parametrize("layout", NESTED, ids=named)
def test_the_lowest_limit_around_counts_and_the_use_of_the_group_that_sets_it(layout: Layout, tmp_path: Path) -> None:
    """A job's limit binds its steps: what is shown beside it is what the whole job uses."""
    own = Group(memory_limit=8_000_000_000, quota=(800000, 100000))
    job = Group(memory=900_000_000, memory_limit=4_000_000_000, quota=(200000, 100000), cpu_s=70.0)
    lay(tmp_path, layout.files(own, job, Group()))
    clock = Clock()
    sample = ContainerSampler(root=str(tmp_path), clock=clock)
    job.cpu_s += 3.0
    lay(tmp_path, layout.files(own, job, Group()))
    clock.now = 2.0
    assert sample() == {
        "container_memory_mb": 800,
        "container_memory_limit_mb": 4000,
        "container_cpu_percent": 150,
        "container_cpu_limit_cores": 2,
    }
    assert limits(root=str(tmp_path)) == (4e9, 2)


@pytest.mark.parametrize("layout", NESTED, ids=named)
def test_a_process_in_the_machines_own_group_is_in_no_container(layout: Layout, tmp_path: Path) -> None:
    """On a bare machine the group of all processes is the machine: nothing is read."""
    files = layout.files(Group(memory_limit=1))
    path = layout.cgroup.splitlines()[0].rpartition(":")[2]
    files["proc/self/cgroup"] = layout.cgroup.replace(f":{path}\n", ":/\n")
    for folder in layout.machines_own:
        files |= Group().v1(folder, folder, folder) if layout.version == 1 else {f"{folder}/cpu.stat": "usage_usec 5\n"}
    lay(tmp_path, files)
    clock = Clock()
    sample = ContainerSampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    assert sample() == {}
    assert limits(root=str(tmp_path)) == (math.inf, math.inf)


FILES = {
    "memory.current": "container_memory_mb",
    "memory.usage_in_bytes": "container_memory_mb",
    "memory.stat": "container_memory_mb",
    "memory.max": "container_memory_limit_mb",
    "memory.limit_in_bytes": "container_memory_limit_mb",
    "cpu.stat": "container_cpu_percent",
    "cpuacct.usage": "container_cpu_percent",
    "cpu.max": "container_cpu_limit_cores",
    "cpu.cfs_quota_us": "container_cpu_limit_cores",
    "cpu.cfs_period_us": "container_cpu_limit_cores",
}


@pytest.mark.parametrize("layout", [DOCKER_2, DOCKER_1], ids=named)
@pytest.mark.parametrize("text", [None, "", "garbage here", "0x1 -5 \n"], ids=["missing", "empty", "garbled", "odd"])
def test_a_file_that_is_not_there_costs_its_own_figure_only(layout: Layout, text: str | None, tmp_path: Path) -> None:
    """Each file in turn: its figure is absent, the others stay, and nothing raises."""
    files = layout.files(Group(memory_limit=2_000_000_000, quota=(150000, 100000)))
    for number, (name, metric) in enumerate(FILES.items()):
        paths = [path for path in files if Path(path).name == name]
        for path in paths:
            root, clock = tmp_path / str(number), Clock()
            lay(root, {other: files[other] for other in files if other != path})
            if text is not None:
                lay(root, {path: text})
            sample = ContainerSampler(root=str(root), clock=clock)
            clock.now = 1.0
            assert set(FILES.values()) - set(sample()) == {metric}, path


def test_files_that_are_refused_are_absent() -> None:
    """A real permission error on the memory files leaves the CPU figures."""
    with refused("memory.current", "memory.max") as laid:
        root = laid(DOCKER_2.files(Group(memory_limit=1_000_000, quota=(150000, 100000))))
        assert ContainerSampler(root=str(root))() == {"container_cpu_limit_cores": 1.5}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/\n"},
        {"proc/self/mountinfo": V2_MOUNT},
        {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT},
        {"proc/self/cgroup": "nonsense\n:\n::\n", "proc/self/mountinfo": "1 2 3 - \n - cgroup2\n\n"},
    ],
    ids=["no /proc: macOS, Windows", "no mounts", "no group", "nothing mounted", "garbled"],
)
def test_where_there_is_no_group_nothing_is_read(files: dict[str, str], tmp_path: Path) -> None:
    """Other systems and broken ones: {} and no limit."""
    lay(tmp_path, files)
    assert ContainerSampler(root=str(tmp_path))() == {}
    assert limits(root=str(tmp_path)) == (math.inf, math.inf)


@pytest.mark.parametrize("path", ["/docker/f00", "/../f00", "/system.slice/docker-f00.scope"])
@pytest.mark.parametrize("layout", [DOCKER_2, DOCKER_1], ids=named)
def test_a_path_outside_the_mount_is_read_at_the_mount(layout: Layout, path: str, tmp_path: Path) -> None:
    """Where a container sees its group's name from outside (or as /..), what is mounted is its group."""
    files = layout.files(Group(memory_limit=7_000_000))
    mounts = files["proc/self/mountinfo"].replace(" /docker/f00 ", " / ")
    cgroups = layout.cgroup.replace(":/docker/f00\n", f":{path}\n").replace("0::/\n", f"0::{path}\n")
    lay(tmp_path, files | {"proc/self/mountinfo": mounts, "proc/self/cgroup": cgroups})
    for beside in ("sys/fs/f00", "sys/fs/cgroup/f00"):
        lay(tmp_path, Group(memory_limit=1).v2(beside) | Group(memory_limit=1).v1(beside, beside, beside))
    clock = Clock()
    sample = ContainerSampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    assert sample() == {"container_memory_mb": 200, "container_memory_limit_mb": 7, "container_cpu_percent": 0}


def test_a_name_that_only_begins_alike_is_not_inside(tmp_path: Path) -> None:
    """/docker/f001 is not below the mounted /docker/f00, and the mount that fits best is taken."""
    mounts = V2_MOUNT.replace(" / /sys", " /docker/f00 /sys") + V2_MOUNT.replace(" / /sys/fs/cgroup", " / /mnt")
    lay(tmp_path, {"proc/self/cgroup": "0::/docker/f001\n", "proc/self/mountinfo": mounts})
    lay(tmp_path, Group(memory_limit=1_000_000).v2("sys/fs/cgroup"))
    lay(tmp_path, Group(memory_limit=2_000_000).v2("mnt/docker/f001"))
    assert limits(root=str(tmp_path))[0] == 2e6
    lay(tmp_path, {"proc/self/cgroup": "0::/docker/f00\n"})
    assert limits(root=str(tmp_path))[0] == 1e6


def test_a_mount_point_with_a_space_is_found(tmp_path: Path) -> None:
    """mountinfo writes a space as an octal number."""
    mounts = V2_MOUNT.replace("/sys/fs/cgroup", "/my\\040groups")
    lay(tmp_path, {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mounts})
    lay(tmp_path, Group(memory_limit=5_000_000).v2("my groups"))
    assert limits(root=str(tmp_path))[0] == 5e6


def test_a_group_whose_controller_is_off_is_read_around(tmp_path: Path) -> None:
    """Version 2 may count memory for a slice only: then the slice's use is shown."""
    files = SYSTEMD_2.files(Group(), Group(memory=500_000_000), Group())
    own = SYSTEMD_2.folders[0]
    lay(tmp_path, {path: text for path, text in files.items() if not path.startswith(f"{own}/memory")})
    assert ContainerSampler(root=str(tmp_path))()["container_memory_mb"] == 400


def test_another_process_has_its_own_group(tmp_path: Path) -> None:
    """The pid chooses the group; the mounts are those that this process sees."""
    lay(tmp_path, SYSTEMD_2.files(Group(), Group(), Group()) | {"proc/77/cgroup": "0::/jobs/77\n"})
    lay(tmp_path, Group(memory=177_000_000).v2("sys/fs/cgroup/jobs/77"))
    assert ContainerSampler(77, root=str(tmp_path))()["container_memory_mb"] == 77
    chain = find_chain("memory", 77, str(tmp_path))
    assert chain is not None
    assert chain.folders[0] == str(tmp_path / "sys/fs/cgroup/jobs/77")


def test_a_changed_limit_is_seen_within_ten_seconds(tmp_path: Path) -> None:
    """Clusters resize running containers."""
    lay(tmp_path, DOCKER_2.files(Group(memory_limit=1_000_000_000, quota=(100000, 100000))))
    clock = Clock()
    sample = ContainerSampler(root=str(tmp_path), clock=clock)
    lay(tmp_path, DOCKER_2.files(Group(memory_limit=3_000_000_000, quota=(400000, 100000))))
    clock.now = 9.9
    assert sample()["container_memory_limit_mb"] == 1000
    clock.now = 10.0
    reading = sample()
    assert (reading["container_memory_limit_mb"], reading["container_cpu_limit_cores"]) == (3000, 4)


@pytest.mark.parametrize("layout", LAYOUTS, ids=named)
def test_a_counter_that_falls_gives_no_negative_rate(layout: Layout, tmp_path: Path) -> None:
    """A restarted group's counter begins at 0: one reading without a rate. More cache than use is 0, not less."""
    lay(tmp_path, layout.files(Group(), Group(), Group()))
    clock = Clock()
    sample = ContainerSampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    lay(tmp_path, layout.files(Group(cpu_s=1.0, memory=5, cache=6)))
    assert sample() == {"container_memory_mb": 0}
    clock.now = 2.0
    lay(tmp_path, layout.files(Group(cpu_s=1.5)))
    assert sample()["container_cpu_percent"] == 50


def test_a_rate_does_not_cross_from_one_group_to_another(tmp_path: Path) -> None:
    """When a new quota makes another group the one to show, its CPU time is no growth of the last one's."""
    lay(tmp_path, SYSTEMD_2.files(Group(cpu_s=1.0), Group(cpu_s=1000.0), Group()))
    clock = Clock()
    sample = ContainerSampler(root=str(tmp_path), clock=clock)
    lay(tmp_path, SYSTEMD_2.files(Group(cpu_s=1.0), Group(cpu_s=1000.0, quota=(100000, 100000)), Group()))
    clock.now = 10.0
    assert "container_cpu_percent" not in sample()


@pytest.mark.skipif(not psutil.LINUX, reason="reads this machine's /proc and /sys")
def test_this_machine_reads_plausibly() -> None:
    """Whatever group the tests run in: no more memory than the machine has, and limits that let a test run."""
    total_mb = psutil.virtual_memory().total / 1e6
    reading = ContainerSampler()()
    assert 0 <= reading.get("container_memory_mb", 0) <= total_mb
    assert reading.get("container_memory_limit_mb", total_mb) > 50
    assert reading.get("container_cpu_limit_cores", 1) > 0
    if find_chain("memory") is not None:
        assert "container_memory_mb" in reading
