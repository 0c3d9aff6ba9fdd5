"""Tests of mlflow_sysmetrics.logger: runs in a real store, whatever happens to the process or the server."""

from __future__ import annotations

import gc
import logging
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psutil
import pytest
from busy_worker import compute
from commands import ROOT, clean_environment, store_uri, wait_until
from fault_proxy import FaultProxy
from forks import in_fork
from hung_disk import hung_disk
from outages import Ticks, covered
from server_here import server_here
from tracking_server import free_port

from mlflow_sysmetrics.criteria import Criteria
from mlflow_sysmetrics.delivery.sync import deliver
from mlflow_sysmetrics.logger import SystemMetricsLogger
from mlflow_sysmetrics.measure import Measurement
from mlflow_sysmetrics.sampling import GROUPS, sampler

LIMIT_S = 20.0
DEFAULT = {
    f"system/process_{name}"
    for name in (
        *("cpu_percent", "memory_mb", "rss_mb", "threads", "read_mb_per_s", "write_mb_per_s"),
        *("context_switches_per_s", "page_faults_per_s"),
    )
}
FIGURES = {
    *("elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb", "read_mb", "write_mb"),
}
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture(autouse=True)
def spool(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of spools; MLflow's current store is an empty one, no run is active, and no thread of ours is left."""
    folder = tmp_path / "spools"
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(folder))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    before, others = mlflow.get_tracking_uri(), set(our_threads())  # others: of tests of a disk or a store that hangs
    mlflow.set_tracking_uri(store_uri(empty_store))
    yield folder
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)
    wait_until(lambda: others.issuperset(our_threads()), LIMIT_S, "the end of all threads")


def our_threads() -> list[threading.Thread]:
    """Threads that this package started."""
    return [thread for thread in threading.enumerate() if "sysmetrics" in thread.name]


def work(seconds: float) -> None:
    """Keep this thread busy for so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def history(run_id: str, name: str) -> list[Any]:
    return sorted(mlflow.MlflowClient().get_metric_history(run_id, name), key=lambda point: point.step)


def metrics(run_id: str) -> dict[str, float]:
    return dict(mlflow.get_run(run_id).data.metrics)


# --- what a run holds --------------------------------------------------------------------------------------


def test_a_run_of_a_third_of_a_second_has_every_default_metric(spool: Path) -> None:
    """Mean and maximum of each, of a process that worked, and the figures of it all; nothing is left on disk."""
    with mlflow.start_run() as run, SystemMetricsLogger():
        began = time.process_time()
        while time.process_time() < began + 0.3:
            pass
    found = metrics(run.info.run_id)
    assert found.keys() >= DEFAULT | {f"{name}_max" for name in DEFAULT}
    assert found["system/process_cpu_percent_max"] > 5
    assert found.keys() >= FIGURES
    assert found["cpu_seconds"] == pytest.approx(0.3, abs=0.1)
    assert found["mean_cpu_percent"] == pytest.approx(100 * found["cpu_seconds"] / found["elapsed_s"])
    assert {point.step for name in FIGURES for point in history(run.info.run_id, name)} == {0}
    assert list(spool.iterdir()) == []


def test_a_run_of_three_windows_has_series_of_means_and_maxima_and_step_times() -> None:
    """Increasing steps and times, maxima not below means, and the mean time of the steps in each window."""
    watch = Measurement(interval_s=0.05, window_s=0.2)  # and a busy machine may let one last twice as long
    with mlflow.start_run() as run, SystemMetricsLogger(watch=watch) as logger:
        turns = [time.perf_counter()]
        while turns[-1] < turns[0] + 0.45:
            with logger.step():
                work(0.01)
            turns.append(time.perf_counter())
        for _ in logger.timed(range(45)):
            turns.append(time.perf_counter())
            work(0.01)
        turns.append(time.perf_counter())
    for name in DEFAULT:
        means, maxima = history(run.info.run_id, name), history(run.info.run_id, f"{name}_max")
        assert len(means) == len(maxima) >= 3
        assert all(mean.value <= maximum.value for mean, maximum in zip(means, maxima, strict=True))
        assert [point.step for point in means] == sorted({point.step for point in means})
        assert [point.timestamp for point in means] == sorted(point.timestamp for point in means)
    step_times = [point.value for point in history(run.info.run_id, "system/step_time_ms")]
    assert len(step_times) >= 3
    longest_ms = 1000 * max(end - began for began, end in pairwise(turns))
    assert all(10 <= value <= longest_ms for value in step_times)
    assert metrics(run.info.run_id)["steps"] == len(turns) - 2
    assert mlflow.get_run(run.info.run_id).data.tags["sysmetrics.memory_definition"] in ("rss-shr", "uss")


def test_a_run_anywhere_is_written_from_a_worker_thread() -> None:
    """By its id and its store's address, with a node's label in the names and another prefix."""
    uri, run_id = mlflow.get_tracking_uri(), mlflow.MlflowClient().create_run("0").info.run_id
    mlflow.set_tracking_uri("sqlite:////nowhere/mlflow.db")

    def work() -> None:
        with SystemMetricsLogger(run_id, uri, node="gpu-1", prefix="sys/"):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LIMIT_S)
    mlflow.set_tracking_uri(uri)
    found = mlflow.get_run(run_id).data
    assert "sys/gpu-1/process_memory_mb" in found.metrics
    assert found.tags["sysmetrics.node"] == "gpu-1"


def test_steps_that_raise_do_not_count() -> None:
    """The exception goes on, as does one that ends the whole block, whose last window is in the run."""

    def fail() -> None:
        with SystemMetricsLogger(watch=Measurement(sample=Ticks())) as logger:
            with pytest.raises(KeyError), logger.step():
                raise KeyError
            raise ZeroDivisionError

    with mlflow.start_run() as run, pytest.raises(ZeroDivisionError):
        fail()
    assert metrics(run.info.run_id).keys() == {"system/tick", "system/tick_max", "elapsed_s"}


def test_start_and_stop_are_idempotent_and_a_second_stretch_goes_on() -> None:
    """As in a notebook: cells run twice, out of order, and again; each reading is there once, at steps that rise."""
    with mlflow.start_run() as run:
        logger = SystemMetricsLogger()
        logger.stop()
        for _ in range(2):
            assert logger.start() is logger.start() is logger
            assert logger.is_recording
            logger.stop()
            logger.stop()
            assert not logger.is_recording
    points = history(run.info.run_id, "system/process_memory_mb")
    assert len({point.step for point in points}) == len(points) == 2


def test_a_resumed_run_goes_on_after_its_last_step() -> None:
    """Also in a process that has not seen the first part."""
    with mlflow.start_run() as run:
        mlflow.log_metric("system/tick", 1.0, step=500)
    with mlflow.start_run(run_id=run.info.run_id), SystemMetricsLogger(watch=Measurement(sample=Ticks())):
        pass
    assert history(run.info.run_id, "system/tick")[-1].step > 500


# --- one owner ---------------------------------------------------------------------------------------------


def test_a_second_logger_on_the_same_series_says_so() -> None:
    """In this process it raises, and the first goes on; another prefix or node is another series."""
    with mlflow.start_run() as run, SystemMetricsLogger(watch=Measurement(sample=Ticks())):
        with pytest.raises(ValueError, match=rf"run_id='{run.info.run_id}': a logger of this process"):
            SystemMetricsLogger()
        with (
            SystemMetricsLogger(prefix="other/", watch=Measurement(sample=Ticks())),
            SystemMetricsLogger(node="b", watch=Measurement(sample=Ticks())),
        ):
            pass
    assert metrics(run.info.run_id).keys() >= {"system/tick", "other/tick", "system/b/tick"}


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_logger_of_another_process_records_nothing_and_raises_nothing() -> None:
    """All workers of a distributed training may run the same script: one of them records."""
    with mlflow.start_run() as run:

        def child() -> bool:
            with SystemMetricsLogger(run.info.run_id, watch=Measurement(sample=Ticks())) as logger, logger.step():
                return not logger.is_recording

        with SystemMetricsLogger(watch=Measurement(sample=Ticks())):
            assert in_fork(child) == 1
    assert len(history(run.info.run_id, "system/tick")) == 1


# --- ways to end -------------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_ends_without_touching_its_parents_logger() -> None:
    """Its calls return at once and do nothing, however it ends; the parent goes on, and nothing is lost."""
    ticks = Ticks()
    with mlflow.start_run() as run:
        with SystemMetricsLogger(watch=Measurement(sample=ticks, interval_s=0.01)) as logger:

            def child() -> bool:
                with logger.step():
                    pass
                list(logger.timed(range(3)))
                recording = logger.is_recording
                logger.stop()
                return not recording

            for _ in range(5):
                assert in_fork(child) == 1
            assert in_fork(lambda: 1 / 0) == 99
            ticks.wait_for(ticks.taken + 10)
        assert covered(run.info.run_id) == (ticks.taken, 0, True)


@pytest.mark.parametrize("method", ["spawn", pytest.param("forkserver", marks=[needs_fork, pytest.mark.slow])])
def test_children_of_other_kinds_end_without_touching_it(method: str) -> None:
    """As those of a process pool or a data loader do."""
    ticks = Ticks()
    with mlflow.start_run() as run:
        with SystemMetricsLogger(watch=Measurement(sample=ticks, interval_s=0.02)):
            process = multiprocessing.get_context(method).Process(target=time.sleep, args=(0.1,))  # type: ignore[attr-defined]
            process.start()
            process.join(LIMIT_S)
            assert process.exitcode == 0
        assert covered(run.info.run_id) == (ticks.taken, 0, True)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=needs_fork), "forkserver"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_workers_of_a_pool_are_counted_together(method: str) -> None:
    """Four busy ones read what they say of themselves, 400 percent on four idle cores; their end ends no series."""
    with mlflow.start_run() as run, SystemMetricsLogger() as logger:
        with multiprocessing.get_context(method).Pool(4) as pool:
            told = pool.map(compute, [5.0] * 4, chunksize=1)
        assert logger.is_recording
    began, ended = max(marks[0][0] for marks in told), min(marks[-1][0] for marks in told)
    windows = [  # after the look for new processes, which is once a second
        (point.timestamp / 1000, point.value)
        for point in history(run.info.run_id, "system/process_cpu_percent")
        if began + 1.2 < point.timestamp / 1000 < ended
    ]
    times = [time_s for time_s, _ in windows]
    read_s = sum(value / 100 * (end - start) for (start, _), (end, value) in pairwise(windows))
    told_s = sum(float(np.diff(np.interp((times[0], times[-1]), *zip(*marks, strict=True)))[0]) for marks in told)
    seconds = times[-1] - times[0]
    print(f"{method}: 4 workers on {os.cpu_count()} cores read {100 * read_s / seconds:.0f} percent, "
          f"and say {100 * told_s / seconds:.0f}")  # fmt: skip
    assert read_s == pytest.approx(told_s, rel=0.1, abs=0.1 * seconds)  # this process is counted, too


ENDINGS: dict[str, Callable[[], object]] = {
    "os._exit": lambda: os._exit(3),
    "kill -9": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
}


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("away", [False, True], ids=["store_there", "store_away"])
@pytest.mark.parametrize(
    "ending", [ending if ending == "kill -9" else pytest.param(ending, marks=pytest.mark.slow) for ending in ENDINGS]
)
def test_a_process_that_cannot_act_any_more_loses_less_than_two_seconds(ending: str, away: bool, spool: Path) -> None:
    """What it read before, and the figures until then, is in the store or in its spool; two syncs deliver it once."""
    shared = multiprocessing.get_context("fork").Value("i", 0, lock=False)
    uri, run_id = mlflow.get_tracking_uri(), mlflow.MlflowClient().create_run("0").info.run_id
    store = f"http://127.0.0.1:{free_port()}" if away else uri.replace("sqlite:///", "sqlite:////")  # not its parent's

    class Shared(Ticks):
        def __call__(self) -> dict[str, float]:
            values = super().__call__()
            shared.value = self.taken
            return values

    def child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ticks = Shared()
        with SystemMetricsLogger(run_id, store, watch=Measurement(sample=ticks, interval_s=0.05), flush_every_s=0.5):
            ticks.wait_for(24)
            ENDINGS[ending]()

    code = in_fork(child)
    assert code == {"os._exit": 3, "kill -9": -signal.SIGKILL, "SIGTERM": -signal.SIGTERM}[ending]
    for _ in range(2):
        deliver(spool, uri)
    delivered, twice, in_order = covered(run_id)
    lost_s = (shared.value - delivered) * 0.05
    print(f"{ending}, {'store away' if away else 'store there'}: {shared.value} samples, {lost_s:.2f} s of them lost")
    assert shared.value > 20
    assert 0 <= lost_s < 2
    assert metrics(run_id)["elapsed_s"] > 0.9
    assert not twice
    assert in_order


PROGRAM = """
import signal, sys, mlflow
sys.path.insert(0, {tests!r})
from outages import Ticks
from mlflow_sysmetrics.logger import SystemMetricsLogger
from mlflow_sysmetrics.measure import Measurement
mlflow.start_run()
ticks = Ticks()
logger = SystemMetricsLogger(watch=Measurement(sample=ticks), flush_every_s=3600).start()
{ending}
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("ticks.wait_for(3)", 0),
        pytest.param("ticks.wait_for(3); 1 / 0", 1, marks=pytest.mark.slow),
        pytest.param("sys.exit(5)", 5, marks=pytest.mark.slow),
        pytest.param(
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); ticks.wait_for(3); signal.raise_signal(15)",
            7,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["end", "exception", "exit", "sigterm_handled"],
)
def test_the_last_window_of_a_program_without_stop_is_delivered(
    ending: str, code: int, spool: Path, empty_store: Path, tmp_path: Path
) -> None:
    """However it ends while Python can still act; its exit code and output are its own."""
    line = [sys.executable, "-c", PROGRAM.format(tests=str(ROOT / "tests" / "support"), ending=ending)]
    with server_here(store_uri(empty_store)) as uri:
        env = clean_environment(PYTHONPATH=str(ROOT), MLFLOW_TRACKING_URI=uri, MLFLOW_SYSMETRICS_SPOOL=str(spool))
        done = subprocess.run(line, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert "system/tick" in run.data.metrics
    assert list(spool.iterdir()) == []
    assert "sysmetrics" not in done.stderr.replace("mlflow_sysmetrics/", "")


# --- a server that hangs, a disk that is full, many cycles --------------------------------------------------


def test_stop_returns_within_its_bound_while_the_server_hangs(spool: Path) -> None:
    """The call that hangs is left behind, and the points are on disk."""
    with FaultProxy(free_port()) as proxy:
        proxy.fault = "503"
        logger = SystemMetricsLogger(
            "a" * 32,
            proxy.uri,
            watch=Measurement(sample=Ticks(), interval_s=0.01),
            flush_every_s=0.05,
            stop_within_s=0.5,
        )
        proxy.fault = "hang"
        before = proxy.failed
        logger.start()
        wait_until(lambda: proxy.failed > before, LIMIT_S, "a request that hangs")
        began = time.monotonic()
        logger.stop()
        took_s = time.monotonic() - began
        print(f"stop took {took_s:.2f} s of 0.5 s")
        assert 0.3 < took_s < 5.0  # and not for ever; what it prints is the figure
        (kept,) = spool.iterdir()
        assert '"elapsed_s":' in kept.read_text()  # the figures wait with the samples
        proxy.fault = None


@pytest.mark.slow
def test_a_logger_is_made_within_its_bound_while_the_server_hangs() -> None:
    """The one question about a run that is named by its id has a time limit."""
    with FaultProxy(free_port()) as proxy:
        proxy.fault = "hang"
        began = time.monotonic()
        SystemMetricsLogger("a" * 32, proxy.uri, watch=Measurement(sample=Ticks()))
        assert time.monotonic() - began < LIMIT_S


def test_no_place_for_a_spool_costs_no_point(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Points wait in memory, and a warning says so."""
    (tmp_path / "file").write_text("in the way")
    with (
        mlflow.start_run() as run,
        SystemMetricsLogger(watch=Measurement(sample=Ticks()), spool=tmp_path / "file" / "folder"),
    ):
        pass
    assert "system/tick" in metrics(run.info.run_id)
    assert "in memory only" in caplog.text


@pytest.mark.slow
def test_start_goes_on_while_the_disk_hangs(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After some seconds points wait in memory, and the store gets them from there."""
    with hung_disk(spool), mlflow.start_run() as run:
        began = time.monotonic()
        with SystemMetricsLogger(watch=Measurement(sample=Ticks())):
            assert time.monotonic() - began < LIMIT_S
    assert "system/tick" in metrics(run.info.run_id)
    assert "in memory only" in caplog.text


def test_training_goes_on_where_the_system_shows_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container without /proc: a warning, and no metrics. Of a process that was named, that is a mistake."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "nothing"))
    with mlflow.start_run() as run:
        with SystemMetricsLogger() as logger, logger.step():
            pass
        with pytest.raises(ValueError, match=f"pid={os.getpid()}"):
            SystemMetricsLogger(pid=os.getpid())
    assert not [name for name in metrics(run.info.run_id) if name.startswith("system/process")]
    assert len([record for record in caplog.records if "no system metrics" in record.message]) == 1


def cycles(number: int) -> tuple[list[int], list[int], list[float]]:
    """Threads, descriptors and megabytes after each of this number of starts and stops."""
    threads, descriptors, memory, process = [], [], [], psutil.Process()
    with mlflow.start_run():
        for cycle in range(number):
            with SystemMetricsLogger() as logger, logger.step():
                pass
            if cycle in (number // 4, number - 1):
                gc.collect()
            threads.append(threading.active_count())
            descriptors.append(process.num_fds())
            memory.append(process.memory_info().rss / 1e6)
    return threads, descriptors, memory


@pytest.mark.parametrize("number", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_cycles_leave_no_thread_no_descriptor_and_no_memory(number: int, spool: Path) -> None:
    """After a first quarter of them, in which MLflow fills its own caches."""
    threads, descriptors, memory = cycles(number)
    settled = number // 4
    print(f"{number} cycles: threads {threads[settled]} -> {threads[-1]}, descriptors {descriptors[settled]} -> "
          f"{descriptors[-1]}, memory {memory[settled]:.1f} -> {memory[-1]:.1f} MB")  # fmt: skip
    assert threads[-1] <= threads[settled]
    assert descriptors[-1] <= descriptors[settled]
    assert memory[-1] - memory[settled] < 5
    assert list(spool.iterdir()) == []


# --- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"interval_s": 0},
        {"flush_every_s": 0},
        {"stop_within_s": math.inf},
        {"prefix": "a@b"},
        {"prefix": 7},
        {"node": "a?"},
        {"node": "a" * 151},
        {"groups": ("process", "weather")},
        {"groups": ()},
        {"pid": 2**22 + 1},
        {"run_id": "0" * 32},
        {"run_id": ""},
        {"criteria": Criteria.parse("mean_cpu_percent<=50")},
    ],
    ids=str,
)
def test_wrong_arguments_raise_one_sentence_that_names_them(arguments: dict[str, Any]) -> None:
    """At once, with the value, and leave nothing behind."""
    ((name, value),), others = arguments.items(), set(our_threads())
    with mlflow.start_run(), pytest.raises(ValueError) as error:  # noqa: PT011
        SystemMetricsLogger(**arguments)
    assert str(error.value).startswith(f"{name}={value!r}")
    assert "\n" not in str(error.value)
    assert others.issuperset(our_threads())


def test_names_may_be_as_long_as_is_said() -> None:
    """150 characters; one more is refused."""
    with mlflow.start_run():
        SystemMetricsLogger(prefix="a" * 150)


def test_arguments_are_checked_without_reading_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler of all groups takes a while to make: that waits for `start`."""
    made = []
    monkeypatch.setattr("mlflow_sysmetrics.measure.sampler", lambda *args, **kwargs: made.append(1) or sampler())
    with mlflow.start_run():
        logger = SystemMetricsLogger(groups=GROUPS, pid=os.getpid())
        assert not made
        with logger:
            assert made


def test_no_run_is_a_mistake() -> None:
    """Without an active run and without an id there is nothing to write to."""
    with pytest.raises(ValueError, match="run_id=None: no run is active"):
        SystemMetricsLogger()


def test_an_address_that_cannot_be_read_raises_nothing_and_is_kept_without_its_password(
    spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The training begins, what it costs waits on disk, and neither that nor the log says the password."""
    with SystemMetricsLogger(
        "a" * 32, "http://me:p[hush42@there:5000", watch=Measurement(sample=Ticks()), stop_within_s=0.5
    ):
        pass
    (kept,) = spool.iterdir()
    assert '"tracking_uri": "http://there:5000"' in kept.read_text()
    assert "hush42" not in kept.read_text() + caplog.text


def test_nothing_raises_once_it_is_made(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A sampler that cannot be made any more costs the metrics, and not the training, and leaves no file behind."""
    with mlflow.start_run():
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        logger = SystemMetricsLogger(pid=child.pid)
        child.communicate(b"\n")
        with logger, logger.step():
            assert not logger.is_recording
    assert "goes on without system metrics" in caplog.text
    assert not list(spool.glob("*"))


def test_the_package_is_light() -> None:
    """Importing it takes under 50 ms and brings neither mlflow nor ray."""
    code = (
        "import sys, time; began = time.perf_counter(); import mlflow_sysmetrics; took = time.perf_counter() - began; "
        "assert not {'mlflow', 'ray', 'psutil'} & set(sys.modules); print(took)"
    )
    environment = clean_environment(PYTHONPATH=str(ROOT))
    took = [float(subprocess.check_output([sys.executable, "-c", code], env=environment)) for _ in range(3)]
    print(f"import mlflow_sysmetrics: {min(took) * 1000:.1f} ms")
    assert min(took) < 0.05


def test_broken_limit_is_told_to_the_program() -> None:
    """Once, with the limit; the run says why, the recording goes on, and the program does what it likes."""
    broken: list[Any] = []
    told = threading.Event()

    def on_break(stop: Any) -> None:
        broken.append(stop)
        told.set()

    with mlflow.start_run() as run, SystemMetricsLogger(criteria="elapsed_s<=0.3", on_break=on_break) as logger:
        assert told.wait(LIMIT_S)
        assert logger.is_recording
    assert [stop.metric for stop in broken] == ["elapsed_s"]
    ended = mlflow.get_run(run.info.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s 0.")


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_program_ends_at_its_limit_unless_it_says_otherwise(tmp_path: Path) -> None:
    """By SIGTERM, its child with it; its run is KILLED and has all its figures."""
    run_id, told = mlflow.MlflowClient().create_run("0").info.run_id, tmp_path / "told"
    store = mlflow.get_tracking_uri().replace("sqlite:///", "sqlite:////")  # not its parent's

    def program() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with SystemMetricsLogger(run_id, store, criteria="elapsed_s<=0.3"):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            told.write_text(str(child.pid))
            time.sleep(LIMIT_S)

    assert in_fork(program) == -signal.SIGTERM
    child = int(told.read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    run = mlflow.get_run(run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s 0.")
    assert run.data.metrics.keys() >= FIGURES


def test_limit_that_is_broken_at_the_very_end_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `stop` was there first, the process goes on, and its run tells of no limit."""
    now, ended, others = [0.0], list[Any](), our_threads()
    monkeypatch.setattr("mlflow_sysmetrics.logger.end_tree", ended.append)
    watch = Measurement(interval_s=3600, clock=lambda: now[0])

    class StopFirst(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.stop()

    with mlflow.start_run() as run:
        logger = SystemMetricsLogger(watch=watch, criteria="elapsed_s<=1").start()
        brake, handler = logging.getLogger("mlflow_sysmetrics.stopping.brake"), StopFirst()
        brake.addHandler(handler)
        now[0] = 5.0
        watch.read()
        brake.removeHandler(handler)
        wait_until(lambda: our_threads() == others, LIMIT_S, "the end of all its threads")
    assert ended == []
    assert metrics(run.info.run_id)["elapsed_s"] == 5.0
    assert "sysmetrics.stop_reason" not in mlflow.get_run(run.info.run_id).data.tags


def test_wrong_limit_raises_at_once() -> None:
    """Before anything is recorded, and not in the middle of a training."""
    with mlflow.start_run(), pytest.raises(ValueError, match="write a number"):
        SystemMetricsLogger(criteria="elapsed_s<=2x median")


def test_phases_are_in_the_run() -> None:
    """Their figures, and one over time; together they are the time that they took."""
    with mlflow.start_run() as run, SystemMetricsLogger() as logger:
        began = time.monotonic()
        with logger.phase("load"):
            time.sleep(0.2)
        with logger.phase("train"), logger.phase("epoch"):
            compute(0.3)
        took_s = time.monotonic() - began
    metrics = mlflow.get_run(run.info.run_id).data.metrics
    assert metrics["phase/load/elapsed_s"] + metrics["phase/train/elapsed_s"] == pytest.approx(took_s, rel=0.01)
    assert metrics["phase/train/elapsed_s"] == pytest.approx(metrics["phase/epoch/elapsed_s"], abs=0.01)
    assert metrics["phase/train/cpu_seconds"] > metrics["phase/load/cpu_seconds"] >= 0
    assert metrics["phase/load/peak_memory_mb"] > 1
    paths = [artifact.path for artifact in mlflow.MlflowClient().list_artifacts(run.info.run_id)]
    assert "phases.png" in paths


def test_phase_outside_a_recording_is_nothing() -> None:
    """Before the start, after the stop: the same code runs without metrics."""
    with mlflow.start_run():
        logger = SystemMetricsLogger()
        with logger.phase("before"):
            pass
        with logger:
            pass
        with logger.phase("after"):
            pass
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert not any(name.startswith("phase/") for name in run.data.metrics)


def test_ranks_of_a_job_share_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own series and figures; those of the run are of all, and not of one that an earlier job had more."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with mlflow.start_run() as run:
        mlflow.log_metrics({"rank_2/cpu_seconds": 1e6, "rank_2/peak_memory_mb": 1e6, "rank_2/elapsed_s": 1e6})
        loggers = []
        for rank in range(2):
            monkeypatch.setenv("RANK", str(rank))
            loggers.append(SystemMetricsLogger().start())
        for logger in loggers:
            logger.stop()
    metrics = mlflow.get_run(run.info.run_id).data.metrics
    assert metrics.keys() >= {f"rank_{rank}/{name}" for rank in range(2) for name in FIGURES}
    assert metrics.keys() >= {f"system/rank_{rank}/process_memory_mb" for rank in range(2)}
    assert metrics["ranks"] == 2
    for name in ("cpu_seconds", "peak_memory_mb"):
        assert metrics[name] == pytest.approx(sum(metrics[f"rank_{rank}/{name}"] for rank in range(2)))
    assert metrics["elapsed_s"] == max(metrics[f"rank_{rank}/elapsed_s"] for rank in range(2))


@pytest.mark.parametrize(("rank", "prefix"), [(3, "system/rank_3/"), (-1, "system/"), (None, "system/rank_1/")])
def test_rank_can_be_given(rank: int | None, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given wins over what the environment says; -1 is none."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with mlflow.start_run() as run, SystemMetricsLogger(rank=rank):
        pass
    assert f"{prefix}process_memory_mb" in mlflow.get_run(run.info.run_id).data.metrics


@pytest.mark.parametrize("rank", [-2, 1.5, True, "0"])
def test_wrong_rank_raises_at_once(rank: Any) -> None:
    """With what is allowed."""
    with mlflow.start_run(), pytest.raises(ValueError, match="whole number from 0 up"):
        SystemMetricsLogger(rank=rank)
