"""`measure()`: what a process and those below it use, on real processes; phases with clocks that a test moves."""

import os
import queue
import subprocess
import sys
import time
from contextlib import suppress
from unittest.mock import Mock

import pytest
from cases import cases
from commands import wait_until
from machines import Clock, child, use_cpu

from mlflow_sysmetrics import Measurement, measure
from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.limits import process_limits
from mlflow_sysmetrics.measurement import Phase
from mlflow_sysmetrics.metrics import SUMMARY as COSTS

LIMIT_S = 60.0
ALL = set(COSTS) - {"peak_gpu_memory_mb"}
ABSENT = {"peak_rss_mb"}  # where the process has had a higher one before
BURN = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
SPIN = "import threading\ndef spin():\n while True: pass\nthreading.Thread(target=spin, daemon=True).start()"


# --- a block and a function --------------------------------------------------------------------------------


def test_block_has_a_summary_while_it_runs_and_after():
    """Of this process: what is written on the face of the package."""
    with measure() as m:
        use_cpu(0.1)
        during = m.summary
        with m.phase("train") as phase:
            use_cpu(0.1)
    summary = m.summary
    use_cpu(0.05)
    assert m.stop() == m.summary == summary
    assert summary.keys() == ALL | {f"phase/train/{name}" for name in phase.summary}
    cpu_s = summary["cpu_seconds"]
    assert 0.1 <= during["cpu_seconds"] < cpu_s
    assert summary["user_cpu_seconds"] + summary["system_cpu_seconds"] == pytest.approx(cpu_s)
    assert summary["mean_cpu_percent"] == pytest.approx(100 * cpu_s / summary["elapsed_s"])
    assert phase.summary["cpu_seconds"] == summary["phase/train/cpu_seconds"] >= 0.09
    assert summary["peak_memory_mb"] > summary["memory_growth_mb"] >= 0


def test_function_has_the_summary_of_its_last_call():
    """Also of one that raises; the function is otherwise as it was."""

    @measure()
    def train(cpu_s):
        """Train."""
        use_cpu(cpu_s)
        return 1 / cpu_s

    assert train.__doc__ == "Train."
    assert train(0.2) == 5.0
    assert train.summary["cpu_seconds"] > 0.19
    with pytest.raises(ZeroDivisionError):
        train(0)
    assert train.summary["cpu_seconds"] < 0.1


def test_function_that_runs_after_its_call_is_refused():
    """Its call would be all that is measured."""

    async def fetch(): ...

    async def stream():
        yield

    def batches():
        yield

    for function in (fetch, stream, batches):
        with pytest.raises(ValueError, match=f"on {function.__name__}: it runs after its call; use `with"):
            measure()(function)


def test_measurement_of_a_process_alone_leaves_out_those_below():
    """Their memory while they live, and their time, also when they have ended, which the tree has both."""
    with Measurement(children=False) as alone, measure() as tree, child() as program:
        program.do("kept = b'x' * 400_000_000; print()")  # more than this process may give back meanwhile
        program.do(f"exec({BURN!r}); print()")
        living = tree.summary
    assert living["peak_memory_mb"] > alone.summary["peak_memory_mb"] + 40
    assert tree.summary["cpu_seconds"] - alone.summary["cpu_seconds"] > 0.19


def test_growth_is_not_known_where_the_first_reading_fails():
    """Nothing tells what was there then."""
    reading = {"process_memory_mb": 5.0}
    m = Measurement(sample=Mock(side_effect=[OSError, reading, reading]), interval_s=3600)
    assert m.start().stop().keys() == {"elapsed_s", "peak_memory_mb"}


def test_memory_of_this_process_counts_from_the_start():
    """What earlier work has freed hides nothing: not what the libc still has of it, nor its higher peak."""
    len(os.urandom(1) * 400_000_000)
    kept = []
    for _ in range(2):
        with measure() as m:
            held = [bytes(1000) for _ in range(60_000)]
        kept.append(held.pop())  # on the top: the libc keeps what is freed below
        del held
        assert m.summary["memory_growth_mb"] == pytest.approx(60, abs=6)
        with measure() as empty:
            pass
        assert m.summary["peak_rss_mb"] - empty.summary["peak_rss_mb"] == pytest.approx(60, abs=6)


# --- another process ---------------------------------------------------------------------------------------


def test_summary_is_that_of_the_other_process_and_stays_after_its_end():
    """Its CPU, its peak, and what it grew by; a listener hears of each reading, until the process is gone."""
    told = queue.SimpleQueue()
    with child() as program:
        program.do(f"exec({SPIN!r}); print()")
        m = Measurement(program.pid, interval_s=0.02)
        m.subscribe(lambda summary: 1 / 0)
        m.subscribe(told.put)
        m.start()
        wait_until(lambda: m.summary.get("cpu_seconds"), LIMIT_S, "a CPU figure", every_s=0.02)
        program.do("kept = b'x' * 50_000_000; print()")
        wait_until(lambda: told.get(timeout=LIMIT_S).get("memory_growth_mb", 0.0) > 40, LIMIT_S, "growth", every_s=0)
        assert told.get(timeout=LIMIT_S).keys() | ABSENT == ALL | {"memory_mb"}
    summary = m.stop()
    while not told.empty():
        assert "memory_mb" in told.get()
    assert summary["memory_growth_mb"] == pytest.approx(50, abs=5)
    assert summary["mean_cpu_percent"] > 5  # a core, of which other tests may take a part


def test_what_is_written_just_before_the_end_is_in_the_summary(tmp_path):
    """The last reading has what most others leave out."""
    with child() as program:
        m = Measurement(program.pid, interval_s=3600).start()
        m.interval()
        program.do(f"open({str(tmp_path / 'file')!r}, 'wb').write(bytes(10**6)); print()")
        summary = m.stop()
    assert summary["write_mb"] == pytest.approx(1.0, abs=0.1)


def test_interval_has_its_own_share():
    """This process waits, works, and waits; here each takes ten seconds by the clock."""
    clock = Clock()
    with Measurement(clock=clock) as m:
        shares = []
        for cpu_s in (0.0, 0.5, 0.0):
            use_cpu(cpu_s)
            clock.now += 10.0
            shares.append(m.interval()["cpu_percent"])
    assert shares == pytest.approx([0.0, 5.0, 0.0], abs=2.0)
    assert m.interval() == {}


def test_peaks_are_of_all_readings():
    """That of memory stays when it is over; that of GPUs is what all of them held at once."""
    now = {"process_memory_mb": 10.0, "gpu_0_process_memory_mb": 10_000.0}
    m = Measurement(sample=now.copy, interval_s=3600).start()
    now |= {"process_memory_mb": 50.0, "gpu_1_process_memory_mb": 2_000.0, "gpu_1_memory_mb": 30_000.0}
    m.interval()
    now["gpu_1_process_memory_mb"] = now.pop("gpu_0_process_memory_mb")
    now["process_memory_mb"] = 20.0
    peaks = {"peak_gpu_memory_mb": 12_000.0, "peak_memory_mb": 50.0, "memory_growth_mb": 40.0}
    assert m.stop().items() >= peaks.items()


def test_errors_that_differ_in_a_number_are_logged_once(caplog):
    """Such as those of a listener, which hears of each reading."""
    for number in (1, 2.5):
        with never_raises("a listener"):
            raise LookupError(f"at {number}")
    assert caplog.messages == ["a listener failed; the program goes on"]


def test_limit_is_broken_once_and_not_by_the_last_reading():
    """`broken` has the first limit; whoever ends a process for it hears of it while the measurement goes on."""
    now = {"process_memory_mb": 4.0}
    told = []
    limits = process_limits("peak_memory_mb<=5")
    m = Measurement(sample=now.copy, interval_s=3600).limit(limits, told.append).start()
    for memory_mb in (4.5, 7.0, 8.0):
        now["process_memory_mb"] = memory_mb
        m.interval()
    assert [str(stop) for stop in told] == [str(m.broken)] == ["peak_memory_mb 7 > 5"]
    at_the_end = Measurement(sample=now.copy, interval_s=3600).limit(limits, told.append)
    at_the_end.stop()
    assert at_the_end.broken
    assert len(told) == 1


# --- phases ------------------------------------------------------------------------------------------------


class Machine:
    """Clocks and a memory, and phases that go by them."""

    def __init__(self):
        self.now = {"elapsed_s": 0.0, "cpu_seconds": 0.0}
        self.phases = {}

    def phase(self, name):
        return self.phases.setdefault(name, Phase(lambda: self.now["elapsed_s"], self.now.copy))

    def go(self, seconds, cpu_s, memory_mb=None):
        """Time passes, and perhaps a reading of the memory is taken at its end."""
        self.now["elapsed_s"] += seconds
        self.now["cpu_seconds"] += cpu_s
        if memory_mb is not None:
            self.now["memory_mb"] = memory_mb
            for phase in self.phases.values():
                phase.see(self.now)

    def of(self, name):
        """The summary of a phase."""
        return tuple(self.phases[name].summary.get(key) for key in ("elapsed_s", "cpu_seconds", "peak_memory_mb"))


@pytest.fixture
def machine():
    """A machine at time 0."""
    return Machine()


def test_phases_one_after_the_other_share_the_time(machine):
    """Each has its own, and the highest of the readings as it begins and in it."""
    machine.go(1.0, 0.5, memory_mb=100.0)
    with machine.phase("load"):
        machine.go(2.0, 1.0, memory_mb=300.0)
        machine.go(1.0, 1.0, memory_mb=50.0)
    with machine.phase("train"):
        machine.go(4.0, 3.0)
    assert machine.of("load") == (3.0, 2.0, 300.0)
    assert machine.of("train") == (4.0, 3.0, 50.0)
    with machine.phase("train"):
        machine.go(1.0, 0.0, memory_mb=10.0)
    machine.go(9.0, 9.0, memory_mb=999.0)
    assert machine.of("train") == (5.0, 3.0, 50.0)


def test_inner_phase_counts_in_the_outer_one_and_one_that_raises_counts(machine):
    """Time, CPU and peak; of one that is open, up to now."""
    with suppress(RuntimeError), machine.phase("train"):
        machine.go(1.0, 1.0, memory_mb=10.0)
        with machine.phase("epoch"):
            machine.go(2.0, 1.5, memory_mb=20.0)
            assert machine.of("epoch") == (2.0, 1.5, 20.0)
            raise RuntimeError
    assert machine.of("train") == (3.0, 2.5, 20.0)
    assert machine.of("epoch") == (2.0, 1.5, 20.0)


def test_what_children_use_is_of_the_phase_they_ran_in():
    """One that has ended, and one that lives on."""
    with Measurement(interval_s=3600) as m, child() as worker:
        assert m.summary  # has looked for children
        with m.phase("ended"):
            subprocess.run([sys.executable, "-c", BURN], check=True)
        with m.phase("idle"):
            pass
        with m.phase("alive"):
            worker.do(f"exec({BURN!r}); print()")
        with m.phase("idle"):
            pass
    assert min(m.summary[f"phase/{name}/cpu_seconds"] for name in ("ended", "alive")) > 0.19
    assert m.summary["phase/idle/cpu_seconds"] < 0.1


def test_open_phase_ends_with_the_measurement():
    """And nothing counts after it."""
    m = Measurement(sample=dict, interval_s=3600).start()
    with m.phase("train") as phase:
        m.stop()
        fixed = phase.summary
        with m.phase("late"):
            time.sleep(0.01)
    assert phase.summary == fixed
    assert [name for name in m.summary if name.startswith("phase/")] == ["phase/train/elapsed_s"]


NAMES = {
    "load/parse": "load/parse",
    "a:b*c": "a:b_c",
    "/a//b/../c": "a/b/c",
    "..": "_",
    3: "3",
    "x" * 1000: "x" * 100,
}


@cases("given, name", NAMES.items())
def test_name_of_a_phase_is_one_that_mlflow_takes(given, name):
    """A wrong one never ends a training."""
    with Measurement(sample=dict) as m, m.phase(given):
        pass
    assert f"phase/{name}/elapsed_s" in m.summary
