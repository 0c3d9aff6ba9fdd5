"""Watching a process from outside: its series, and the figures of the whole time. Real processes."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import wait_until
from made_up_nvml import Gpu, Nvml

from mlflow_sysmetrics.measurement import FIGURES, Measurement, figures_of, folded
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.sampling import GROUPS, gpu

SETTLED_S = 0.1  # after which a reading has rates

# Keeps a core busy, takes 50 MB when it is told to, and says so.
PROGRAM = """
import sys, threading
def spin():
    while True:
        pass
threading.Thread(target=spin, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    kept = b"x" * 50_000_000
    print("taken", flush=True)
"""


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    """A busy program."""
    argv = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _heard(process, "ready")
        yield process
        process.kill()


def _heard(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def _take_memory(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("more\n")
    process.stdin.flush()
    _heard(process, "taken")


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not count it")
def test_what_is_written_just_before_the_end_is_in_the_figures(tmp_path: Path) -> None:
    """The last reading has what most others leave out."""
    code = "print('ready', flush=True); input(); open('file', 'wb').write(bytes(10**6)); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, **pipes) as process:
        _heard(process, "ready")
        counters, file = psutil.Process(process.pid).io_counters, tmp_path / "file"
        before = counters().write_bytes
        watch = Measurement(process.pid, interval_s=3600.0).start()
        time.sleep(SETTLED_S)
        watch.read()  # the writes, too: the next readings leave them out
        assert process.stdin is not None
        process.stdin.write("now\n")
        process.stdin.flush()
        wait_until(lambda: file.exists() and file.stat().st_size == 10**6, 10, "the file", every_s=0.01)
        watch.stop()
        written = counters().write_bytes - before
        process.communicate("end\n")
    assert watch.figures()["write_mb"] == pytest.approx(written / 1e6)


def test_figures_are_those_of_the_other_process(program: subprocess.Popen[str]) -> None:
    """Its CPU, its peak, and what it grew by since it is watched."""
    watch = Measurement(program.pid, interval_s=0.02).start()
    wait_until(lambda: watch.so_far().get("process_cpu_percent"), 10, "a CPU figure")
    _take_memory(program)
    so_far = watch.so_far()
    watch.stop()
    figures = watch.figures()
    assert figures["memory_growth_mb"] == pytest.approx(50, abs=5)
    assert figures["peak_memory_mb"] >= so_far["process_memory_mb_max"] >= 50
    assert figures["mean_cpu_percent"] > 5  # a core, of which other tests may take a part
    assert figures["elapsed_s"] > 0


def test_phase_between_two_readings_has_its_cpu_time() -> None:
    """This process knows its own at any moment; a phase of a few milliseconds would have none else."""
    watch = Measurement(interval_s=3600.0)
    watch.read()
    with watch.phases.phase("short"):
        began_s = time.process_time()
        while time.process_time() < began_s + 0.05:
            pass
    assert watch.figures()["phase/short/cpu_seconds"] >= 0.05


def test_figures_since_the_last_call_are_its_own(program: subprocess.Popen[str]) -> None:
    """A peak that is over is in the figures of the whole time alone."""
    watch = Measurement(program.pid, interval_s=10.0).start()
    _take_memory(program)
    assert watch.so_far()["process_memory_mb_max"] >= 50
    again = watch.so_far()
    assert {"process_memory_mb", "process_memory_mb_max", "peak_memory_mb", "elapsed_s"} <= again.keys()
    watch.stop()


def test_peak_that_is_over_stays_in_the_figures() -> None:
    """While the process goes on with less, and after its end."""
    now = {"process_memory_mb": 10.0}
    watch = Measurement(sample=now.copy)
    now["process_memory_mb"] = 50.0
    watch.read()
    now["process_memory_mb"] = 20.0
    peak = {"peak_memory_mb": 50.0, "memory_growth_mb": 40.0}
    assert peak.items() <= watch.figures().items()
    watch.stop()
    assert peak.items() <= watch.figures().items()


def test_interval_is_the_share_of_its_own_time() -> None:
    """This process waits, works, and waits: each interval says its own, and the mean says all."""
    watch = Measurement().start()
    watch.interval()
    shares = []
    for busy in (False, True, False):
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            if not busy:
                threading.Event().wait(0.02)
        shares.append(watch.interval()["cpu_percent"])
    watch.stop()
    figures = watch.figures()
    assert max(shares[0], shares[2]) < shares[1] / 2
    assert figures["mean_cpu_percent"] == pytest.approx(100 * figures["cpu_seconds"] / figures["elapsed_s"])
    assert figures["cpu_seconds"] == pytest.approx(0.3 * sum(shares) / 100, rel=0.2)
    assert watch.interval() == {}


def test_reading_is_told_at_once(program: subprocess.Popen[str]) -> None:
    """To whoever has to act on it: the peak and the growth so far, in the reading thread."""
    told: queue.SimpleQueue[dict[str, float]] = queue.SimpleQueue()
    watch = Measurement(program.pid, interval_s=0.02, on_reading=told.put).start()
    _take_memory(program)
    wait_until(lambda: told.get(timeout=10)["memory_growth_mb"] > 40, 10, "the growth")
    watch.stop()
    costs = {"elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb"}
    assert costs | {"read_mb", "write_mb", "memory_mb"} == told.get(timeout=10).keys()


def test_gpu_memory_is_a_figure_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of all GPUs; absent where it was not asked for."""
    ours = {os.getpid(): 2_000_000}
    monkeypatch.setattr(gpu, "import_nvml", lambda: Nvml(Gpu(processes=ours), Gpu(processes=ours)))
    watch, plain = Measurement(groups=GROUPS), Measurement()
    assert watch.figures()["peak_gpu_memory_mb"] == 4.0
    watch.stop()
    assert watch.figures().keys() == set(FIGURES)
    assert "peak_gpu_memory_mb" not in plain.figures()
    plain.stop()


def test_peak_of_gpu_memory_is_what_all_gpus_held_at_once() -> None:
    """What moves from one GPU to another counts once; a GPU that the process has left is absent."""
    now = {"gpu_0_process_memory_mb": 10_000.0, "gpu_0_memory_mb": 30_000.0}
    told: list[dict[str, float]] = []
    watch = Measurement(sample=lambda: dict(now), on_reading=told.append)
    now["gpu_1_process_memory_mb"] = 2_000.0
    watch.read()
    now["gpu_1_process_memory_mb"] = now.pop("gpu_0_process_memory_mb")
    watch.read()
    watch.stop()
    assert watch.figures()["peak_gpu_memory_mb"] == told[-1]["peak_gpu_memory_mb"] == 12_000


def test_process_that_ends_leaves_its_figures(program: subprocess.Popen[str]) -> None:
    """What was read of it by then; stopping twice is once."""
    watch = Measurement(program.pid, interval_s=0.02).start()
    wait_until(lambda: watch.so_far().get("process_memory_mb"), 10, "a memory figure")
    program.kill()
    program.wait(10)
    watch.stop()
    watch.stop()
    assert watch.figures()["peak_memory_mb"] > 0


def test_time_after_the_end_does_not_count() -> None:
    """However late the figures are asked for, also as the share of a core."""
    now = [0.0]
    watch = Measurement(clock=lambda: now[0])
    now[0] = 2.0
    watch.stop()
    figures = watch.figures()
    now[0] = 9.0
    assert watch.figures() == figures
    assert figures["elapsed_s"] == 2.0


def test_windows_fold_into_one() -> None:
    """Means by the time that each is over, maxima as they are; names that only some have count where they are."""
    windows = [
        Window(1, 0, {"cpu": 1.0, "mb": 0.25}, {"cpu": 10.0, "mb": 3.0}, {"cpu": 10.0, "mb": 3.0}),
        Window(4, 0, {"cpu": 3.0, "mb": 0.75, "w": 0.5}, {"cpu": 50.0, "mb": 7.0, "w": 2.0}, {"cpu": 90.0, "mb": 8.0}),
        Window(5, 0, {"cpu": 1.0}, {"cpu": 40.0}, {"cpu": 40.0}),
    ]
    assert folded(windows) == ({"cpu": 40.0, "mb": 6.0, "w": 2.0}, {"cpu": 90.0, "mb": 8.0})
    assert folded([]) == ({}, {})


@pytest.mark.parametrize(
    "arguments", [{"groups": ("wind",)}, {"groups": ()}, {"interval_s": 0.0}], ids=["unknown", "none", "interval"]
)
def test_wrong_argument_is_refused_at_construction(arguments: dict[str, object]) -> None:
    """With the argument and its value."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Measurement(None, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", [("process",), ("container",)])
def test_figures_of_groups_are_those_that_a_watch_of_them_has(groups: tuple[str, ...]) -> None:
    """Of a machine without GPUs: with them there may be more."""
    assert Measurement(groups=groups).figures().keys() == figures_of(groups)
    assert figures_of((*groups, "gpu")) - figures_of(groups) == {"peak_gpu_memory_mb"}
    assert figures_of(GROUPS) == set(FIGURES)
