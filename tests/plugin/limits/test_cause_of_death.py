"""Whether the kernel has killed for memory: by made-up control groups, and by a real one where one can be made."""

import shutil
from contextlib import ExitStack

import pytest
from cases import cases
from machines import V2_MOUNT, child, lay, memory_group

from mlflow_sysmetrics.limits import MemoryKills
from mlflow_sysmetrics.recording.tags import CAUSE_OF_DEATH, KILLED_FOR_MEMORY

PID = 4242
EATER = "kept = []\nwhile True: kept.append(b'x' * 1_000_000)"


def group(machine, name, kills):
    """A control group that has counted this number of kills."""
    events = f"low 0\noom {kills + 9}\noom_kill {kills}\noom_group_kill 7\n"
    lay(machine / "sys/fs/cgroup" / name, {"cgroup.events": "populated 1\n", "memory.events": events})


@pytest.fixture
def job_files(tmp_path):
    """The files of a machine on which the process is in the group `/job`, which may use 8,000 MB."""
    group(tmp_path, "job", 2)
    mounts, limit = {"proc/self/mountinfo": V2_MOUNT}, {"sys/fs/cgroup/job/memory.max": "8000000000\n"}
    lay(tmp_path, {f"proc/{PID}/cgroup": "0::/job\n", **mounts, **limit})
    return tmp_path


@cases(
    "kills, says, tag",
    {
        "by the kernel": (3, "killed by the kernel for memory", "true"),
        "kill": (2, "ended by SIGKILL, not killed by the kernel for memory", "false"),
    },
)
def test_kill_that_the_group_has_counted_since_is_told(job_files, kills, says, tag):
    """With what it had and what it was allowed; kills of before are others'."""
    watched = MemoryKills(PID, str(job_files))
    assert watched.happened() is False
    group(job_files, "job", kills)
    tags = watched.death({"peak_memory_mb": 7912.4}, watched.happened())
    assert tags == {CAUSE_OF_DEATH: f"{says}: peak 7,912 MB of 8,000 MB allowed", KILLED_FOR_MEMORY: tag}


@cases("ended", {"another in the group": False, "it": True})
def test_kill_is_soon_over_unless_it_has_ended_the_process(job_files, ended):
    """A container counts for all that run in it. Of what has ended it stays known, however late that is noticed."""
    watched = MemoryKills(PID, str(job_files))
    group(job_files, "job", 3)
    if ended:
        shutil.rmtree(job_files / f"proc/{PID}")
    watched.look()
    assert watched.happened() is True
    watched.look()
    assert watched.happened() is ended


def test_group_into_which_the_process_moved_counts(job_files):
    """A program may be put into a group once it runs: that has counted fewer, or more."""
    watched = MemoryKills(PID, str(job_files))
    for name, kills in (("late", 0), ("later", 9)):
        group(job_files, name, kills)
        lay(job_files, {f"proc/{PID}/cgroup": f"0::/{name}\n"})
        watched.look()
        assert watched.happened() is False
        group(job_files, name, kills + 1)
        assert watched.happened() is True


def test_machine_that_tells_nothing_is_not_guessed_about(tmp_path):
    """Neither yes nor no: no tag says one."""
    watched = MemoryKills(PID, str(tmp_path))
    assert watched.death({}, watched.happened()) == {
        CAUSE_OF_DEATH: "ended by SIGKILL; whether the kernel killed it for memory cannot be read here"
    }


def _killed_in(folder):
    """What is told of a program that takes ever more memory in a group, or is killed by us without one."""
    with child() as program:
        if folder is not None:
            program.do(f"open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); print()")
        watched = MemoryKills(program.pid)
        if folder is None:
            program.kill()
        else:
            program.do(f"exec({EATER!r})")
        assert program.wait() == -9
    return watched.happened()


def test_real_kill_for_memory_is_told_from_any_other():
    """In a control group of this machine with 60 MB, where one can be made."""
    if MemoryKills().happened() is None:
        pytest.skip("kills cannot be read here")
    with ExitStack() as stack:
        try:
            small_group = stack.enter_context(memory_group())
        except OSError as error:
            pytest.skip(f"no memory control group can be made here: {error}")
        assert _killed_in(small_group) is True
        assert _killed_in(None) is False


def test_kills_are_counted_under_version_1_of_control_groups(tmp_path):
    """As the memory controller of older machines counts them."""
    counted = "sys/fs/cgroup/memory/job/memory.oom_control"
    mount = "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    lay(tmp_path, {"proc/1/cgroup": "5:memory:/job\n", "proc/self/mountinfo": mount})
    lay(tmp_path, {"sys/fs/cgroup/memory/memory.oom_control": "oom_kill 0\n", counted: "under_oom 0\noom_kill 1\n"})
    kills = MemoryKills(1, str(tmp_path))
    assert kills.happened() is False
    lay(tmp_path, {counted: "under_oom 0\noom_kill 2\n"})
    assert kills.happened() is True
