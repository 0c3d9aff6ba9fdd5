"""Phases: what each adds up to, with clocks that a test moves."""

from __future__ import annotations

import threading
import time

import pytest

from mlflow_sysmetrics.phases.totals import Phases, clean_name


class Machine:
    """Two clocks, and phases that go by them."""

    def __init__(self) -> None:
        self.now, self.cpu_s = 0.0, 0.0
        self.phases = Phases(lambda: self.now, lambda: self.cpu_s)

    def pass_time(self, seconds: float, cpu_s: float = 0.0, memory_mb: float | None = None) -> None:
        """Time passes, and perhaps a reading of the memory is taken at its end."""
        self.now += seconds
        self.cpu_s += cpu_s
        if memory_mb is not None:
            self.phases.see(memory_mb)


@pytest.fixture
def machine() -> Machine:
    """A machine at time 0."""
    return Machine()


def of(figures: dict[str, float], name: str) -> tuple[float | None, ...]:
    """The three figures of a phase."""
    return tuple(figures.get(f"phase/{name}/{figure}") for figure in ("elapsed_s", "cpu_seconds", "peak_memory_mb"))


def test_phases_one_after_the_other_share_the_time(machine: Machine) -> None:
    """Each has its own; the peak of one without a reading is the last one before."""
    machine.pass_time(1.0, 0.5, memory_mb=100.0)
    with machine.phases.phase("load"):
        machine.pass_time(2.0, 1.0, memory_mb=300.0)
        machine.pass_time(1.0, 1.0, memory_mb=50.0)
    with machine.phases.phase("train"):
        machine.pass_time(4.0, 3.0)
    figures = machine.phases.figures()
    assert of(figures, "load") == (3.0, 2.0, 300.0)
    assert of(figures, "train") == (4.0, 3.0, 50.0)


def test_peak_of_the_phase_before_is_not_that_of_the_next(machine: Machine) -> None:
    """One that has readings has its own, also if it is entered again, and one of these times had none."""
    with machine.phases.phase("load"):
        machine.pass_time(1.0, memory_mb=510.0)
    for memory_mb in (None, 10.0):
        with machine.phases.phase("train"):
            machine.pass_time(1.0, memory_mb=memory_mb)
    figures = machine.phases.figures()
    assert of(figures, "load")[2] == 510.0
    assert of(figures, "train")[2] == 10.0


def test_inner_phase_counts_in_the_outer_one_too(machine: Machine) -> None:
    """Time, CPU and peak."""
    with machine.phases.phase("train"):
        machine.pass_time(1.0, 1.0, memory_mb=10.0)
        with machine.phases.phase("epoch"):
            machine.pass_time(2.0, 1.5, memory_mb=20.0)
        machine.pass_time(1.0, 0.5, memory_mb=15.0)
    figures = machine.phases.figures()
    assert of(figures, "train") == (4.0, 3.0, 20.0)
    assert of(figures, "epoch") == (2.0, 1.5, 20.0)


def test_phase_that_is_entered_again_adds_up(machine: Machine) -> None:
    """Its peak is the highest."""
    for memory_mb in (5.0, 9.0, 7.0):
        with machine.phases.phase("batch"):
            machine.pass_time(1.0, 0.25, memory_mb)
        machine.pass_time(10.0, memory_mb=99.0)
        machine.phases.see(0.0)
    assert of(machine.phases.figures(), "batch") == (3.0, 0.75, 9.0)


def test_phase_that_raises_counts(machine: Machine) -> None:
    """What it took, it took."""

    def fail() -> None:
        with machine.phases.phase("load"):
            machine.pass_time(2.0)
            raise RuntimeError("no rows")

    with pytest.raises(RuntimeError, match="no rows"):
        fail()
    assert of(machine.phases.figures(), "load")[0] == 2.0


def test_open_phase_is_counted_up_to_now(machine: Machine) -> None:
    """As when the recording ends in the middle of it."""
    with machine.phases.phase("train"):
        machine.pass_time(3.0, 1.0)
        assert of(machine.phases.figures(), "train")[:2] == (3.0, 1.0)
        assert [stretch.name for stretch in machine.phases.stretches()] == ["train"]
    assert of(machine.phases.figures(), "train")[:2] == (3.0, 1.0)
    assert len(machine.phases.stretches()) == 1


def test_long_stretch_after_many_short_ones_is_kept(machine: Machine) -> None:
    """A figure draws a thousand; the sums are of all."""
    for _ in range(1200):
        with machine.phases.phase("batch"):
            machine.pass_time(0.01)
    with machine.phases.phase("evaluate"):
        machine.pass_time(3600.0)
    names = [stretch.name for stretch in machine.phases.stretches()]
    assert len(names) == 1000
    assert names[-1] == "evaluate"
    assert machine.phases.elapsed_s() == {"batch": pytest.approx(12.0), "evaluate": 3600.0}


def test_marks_end_the_phase_before(machine: Machine) -> None:
    """As those of a shell script."""
    machine.phases.switch("load")
    machine.pass_time(1.0)
    machine.phases.switch("train")
    machine.pass_time(2.0)
    machine.phases.switch(None)
    machine.pass_time(4.0)
    figures = machine.phases.figures()
    assert (of(figures, "load")[0], of(figures, "train")[0]) == (1.0, 2.0)


def test_what_cannot_be_read_is_absent() -> None:
    """CPU time of a process that is hidden, and memory that was never read."""
    phases = Phases(time.monotonic, lambda: None)
    with phases.phase("a"):
        pass
    assert phases.figures().keys() == {"phase/a/elapsed_s"}


def test_threads_have_phases_of_one_name_at_once(machine: Machine) -> None:
    """The time of both counts, from whichever thread, and once what the process used meanwhile."""
    entered, leave = threading.Barrier(2), threading.Event()

    def work() -> None:
        with machine.phases.phase("shard"):
            entered.wait(10)
            leave.wait(10)

    thread = threading.Thread(target=work)
    with machine.phases.phase("shard"):
        thread.start()
        entered.wait(10)
        machine.pass_time(2.0, 2.0)
        assert of(machine.phases.figures(), "shard")[:2] == (4.0, 2.0), "open ones"
        leave.set()
        thread.join(10)
        machine.pass_time(1.0, 0.5)
    machine.pass_time(5.0, 5.0)
    assert of(machine.phases.figures(), "shard")[:2] == (5.0, 2.5)


def test_phase_inside_one_of_its_name_counts_its_cpu_time_once(machine: Machine) -> None:
    """As of a function that calls itself, and again at the next call."""
    for _ in range(2):
        with machine.phases.phase("walk"), machine.phases.phase("walk"):
            machine.pass_time(1.0, 1.0)
        machine.pass_time(1.0, 1.0)
    assert of(machine.phases.figures(), "walk")[:2] == (4.0, 2.0)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("load", "load"),
        ("load/parse", "load/parse"),
        ("a:b*c", "a_b_c"),
        ("/x/", "x"),
        ("a//b/../c", "a/b/c"),
        ("..", "_"),
        ("", "_"),
        (3, "3"),
    ],
)
def test_name_is_one_that_mlflow_takes(given: object, name: str) -> None:
    """A phase is part of a metric's name; the wrong name of one never ends a training."""
    assert clean_name(given) == name


def test_very_long_name_is_cut() -> None:
    """MLflow takes 250 characters, with what stands around it."""
    assert len(clean_name("x" * 1000)) == 100
