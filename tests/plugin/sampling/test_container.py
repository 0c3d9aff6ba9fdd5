"""Tests of mlflow_sysmetrics.sampling.container: folders laid out as real machines have them, and this machine once."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from clock import Clock
from made_up_cgroups import DOCKER, V2_MOUNT, Group, Layout
from made_up_files import lay

from mlflow_sysmetrics.sampling import cgroup_limits, find_folders
from mlflow_sysmetrics.sampling.container import ContainerSampler

SYSTEMD = Layout(
    "nested",
    "0::/user.slice/user-1000.slice/job.scope\n",
    V2_MOUNT,
    [f"sys/fs/cgroup/user.slice{rest}" for rest in ("/user-1000.slice/job.scope", "/user-1000.slice", "")],
    ["sys/fs/cgroup"],
)


def sampler(root: Path) -> tuple[ContainerSampler, Clock]:
    """One that has looked once, and its clock."""
    clock = Clock()
    return ContainerSampler(root=str(root), clock=clock), clock


@pytest.mark.parametrize("layout", [DOCKER, SYSTEMD], ids=lambda layout: str(layout.name))
def test_limits_and_use_are_read(layout: Layout, tmp_path: Path) -> None:
    """Memory is what counts less droppable cache, CPU is of one core, and limits are those of now, in MB and cores."""
    limited = Group(memory_limit=2_000_000_000, quota=(150000, 100000))
    lay(tmp_path, layout.files(limited, Group(), Group()))
    sample, clock = sampler(tmp_path)
    levels = {"container_memory_mb": 200, "container_memory_limit_mb": 2000, "container_cpu_limit_cores": 1.5}
    assert sample() == levels
    lay(tmp_path, layout.files(replace(limited, cpu_s=51.0, cache=50_000_000, memory_limit=3_000_000_000)))
    clock.now = 2.0
    changed = {"container_memory_mb": 250, "container_memory_limit_mb": 3000}
    assert sample() == levels | changed | {"container_cpu_percent": 50}


def test_the_lowest_limit_around_counts_and_the_use_of_the_group_that_sets_it(tmp_path: Path) -> None:
    """A job's limit binds its steps: what is shown beside it is what the whole job uses."""
    own = Group(memory_limit=8_000_000_000, quota=(800000, 100000))
    job = Group(memory=900_000_000, memory_limit=4_000_000_000, quota=(200000, 100000), cpu_s=70.0)
    lay(tmp_path, SYSTEMD.files(own, job, Group()))
    sample, clock = sampler(tmp_path)
    job.cpu_s += 3.0
    lay(tmp_path, SYSTEMD.files(own, job, Group()))
    clock.now = 2.0
    limits = {"container_memory_limit_mb": 4000, "container_cpu_limit_cores": 2}
    assert sample() == limits | {"container_memory_mb": 800, "container_cpu_percent": 150}
    assert cgroup_limits(find_folders(root=str(tmp_path))) == (4e9, 2)


@pytest.mark.parametrize("text", [None, "0x1 -5 \n", "max 100000\n"], ids=["missing", "odd", "unset"])
@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("memory.current", "container_memory_mb"),
        ("memory.stat", "container_memory_mb"),
        ("memory.max", "container_memory_limit_mb"),
        ("cpu.stat", "container_cpu_percent"),
        ("cpu.max", "container_cpu_limit_cores"),
    ],
)
def test_a_file_that_is_not_there_costs_its_own_figure_only(
    name: str, metric: str, text: str | None, tmp_path: Path
) -> None:
    """Its figure is absent, the others stay, and nothing raises."""
    files = DOCKER.files(Group(memory_limit=2_000_000_000, quota=(150000, 100000)))
    figures = {f"container_{each}" for each in ("memory_mb", "memory_limit_mb", "cpu_percent", "cpu_limit_cores")}
    path = f"{DOCKER.folders[0]}/{name}"
    del files[path]
    lay(tmp_path, files | ({} if text is None else {path: text}))
    sample, clock = sampler(tmp_path)
    clock.now = 1.0
    assert set(sample()) == figures - {metric}


V1 = "3:memory:/docker/f00\n1:name=systemd:/docker/f00\n"
V1_MOUNT = "40 31 0:1 /docker/f00 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("cgroup", "mounts"),
    [
        pytest.param("0::/\n", "", id="no mounts"),
        pytest.param("0::/\n", V2_MOUNT, id="the machine's own group"),
        pytest.param("nonsense\n:\n::\n", "1 2 3 - \n - cgroup2\n\n", id="garbled"),
        pytest.param(V1, V1_MOUNT, id="version 1 alone"),
        pytest.param(V1 + "0::/\n", V1_MOUNT + V2_MOUNT, id="version 1 beside an empty version 2"),
    ],
)
def test_where_there_is_no_group_of_version_2_nothing_is_read(cgroup: str, mounts: str, tmp_path: Path) -> None:
    """Absent is right, half is not."""
    lay(tmp_path, Group(memory_limit=1).files("sys/fs/cgroup/memory/docker/f00"))
    proc = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts}
    lay(tmp_path, proc | {"sys/fs/cgroup/cpu.stat": "usage_usec 5\n"})
    sample, clock = sampler(tmp_path)
    clock.now = 1.0
    assert sample() == {}
    assert cgroup_limits(find_folders(root=str(tmp_path))) == (math.inf, math.inf)


@pytest.mark.parametrize("path", ["/docker/f00", "/../f00"])
def test_a_path_outside_the_mount_is_read_at_the_mount(path: str, tmp_path: Path) -> None:
    """Where a container sees its group's name from outside (or as /..), what is mounted is its group."""
    lay(tmp_path, DOCKER.files(Group(memory_limit=7_000_000)) | {"proc/self/cgroup": f"0::{path}\n"})
    for beside in ("sys/fs/f00", "sys/fs/cgroup/f00"):
        lay(tmp_path, Group(memory_limit=1).files(beside))
    sample, clock = sampler(tmp_path)
    clock.now = 1.0
    assert sample() == {"container_memory_mb": 200, "container_memory_limit_mb": 7, "container_cpu_percent": 0}


def test_another_process_has_its_own_group(tmp_path: Path) -> None:
    """The pid chooses the group; the mounts are those that this process sees."""
    lay(tmp_path, SYSTEMD.files(Group(), Group(), Group()) | {"proc/77/cgroup": "0::/jobs/77\n"})
    lay(tmp_path, Group(memory=177_000_000).files("sys/fs/cgroup/jobs/77"))
    assert ContainerSampler(77, root=str(tmp_path))()["container_memory_mb"] == 77


def test_a_counter_that_falls_gives_no_negative_rate(tmp_path: Path) -> None:
    """A restarted group's counter begins at 0: one reading without a rate. More cache than use is 0, not less."""
    lay(tmp_path, DOCKER.files(Group()))
    sample, clock = sampler(tmp_path)
    clock.now = 1.0
    lay(tmp_path, DOCKER.files(Group(cpu_s=1.0, memory=5, cache=6)))
    assert sample() == {"container_memory_mb": 0}
    clock.now = 2.0
    lay(tmp_path, DOCKER.files(Group(cpu_s=1.5)))
    assert sample()["container_cpu_percent"] == 50


def test_a_rate_does_not_cross_from_one_group_to_another(tmp_path: Path) -> None:
    """When a new quota makes another group the one to show, its CPU time does not continue the last one's."""
    lay(tmp_path, SYSTEMD.files(Group(cpu_s=1.0), Group(cpu_s=1000.0), Group()))
    sample, clock = sampler(tmp_path)
    lay(tmp_path, SYSTEMD.files(Group(cpu_s=1.0), Group(cpu_s=1000.0, quota=(100000, 100000)), Group()))
    clock.now = 10.0
    assert "container_cpu_percent" not in sample()
