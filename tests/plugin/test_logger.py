"""`SystemMetricsLogger` on real runs in a real store: what a run holds, who writes it, and what goes wrong."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import mlflow
import pytest
from busy_worker import use_cpu
from commands import wait_until
from forks import in_fork
from mlflow import MlflowClient
from outages import Ticks, covered

from mlflow_sysmetrics import Limits, Measurement, SystemMetricsLogger
from mlflow_sysmetrics.delivery.journal import Journal, journal_path
from mlflow_sysmetrics.delivery.operations import Batch, Point
from mlflow_sysmetrics.delivery.sync import deliver
from mlflow_sysmetrics.metrics import SUMMARY as COSTS

LIMIT_S = 60.0
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


_before = set()


@pytest.fixture(autouse=True)
def _nothing_is_left(journals, store_in_use):
    """MLflow's current store is an empty one, and no thread that this package starts in the test is left."""
    _before.clear()
    _before.update(threading.enumerate())
    yield
    wait_until(lambda: not our_threads(), LIMIT_S, "the end of all threads")


def our_threads():
    """Threads that this package started in this test: those of integrations stay as long as the process."""
    return [thread for thread in threading.enumerate() if "sysmetrics" in thread.name and thread not in _before]


def ticking(**more):
    """A logger of numbered readings."""
    return SystemMetricsLogger(measurement=Measurement(sample=Ticks(), interval_s=0.01), **more)


def history(run_id, name):
    return sorted(MlflowClient().get_metric_history(run_id, name), key=lambda point: point.timestamp)


def metrics(run_id):
    return dict(mlflow.get_run(run_id).data.metrics)


# --- what a run holds --------------------------------------------------------------------------------------


def test_run_has_series_summary_phases_steps_and_tags(journals, monkeypatch):
    """In a few lines of a script, beside the machine's metrics that MLflow reads itself; nothing is left on disk."""
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with mlflow.start_run(log_system_metrics=True) as run, SystemMetricsLogger() as logger:
        with logger.phase("load"):
            time.sleep(0.2)
        with logger.phase("train"), logger.phase("epoch") as epoch:
            use_cpu(0.3)
        for _ in logger.timed(range(3)):
            with logger.step():
                time.sleep(0.01)
        with pytest.raises(KeyError), logger.step():
            raise KeyError
        assert logger.is_recording
        assert logger.summary["cpu_seconds"] > 0
    assert not logger.is_recording
    found = metrics(run.info.run_id)
    series = {"system/process_memory_mb", "system/process_memory_mb_max", "system/step_time_ms"}
    series |= {"system/network_receive_megabytes"}
    assert found.keys() >= series | set(COSTS) - {"peak_gpu_memory_mb", "peak_rss_mb"}
    assert {name: found[name] for name in logger.summary} == logger.summary
    assert (found["steps"], found["mean_step_time_ms"] > 10) == (6, True)
    assert found["phase/train/cpu_seconds"] == pytest.approx(epoch.summary["cpu_seconds"], abs=0.1)
    assert found["phase/train/cpu_seconds"] > found["phase/load/cpu_seconds"] >= 0
    assert found["phase/load/peak_memory_mb"] > 1
    assert {point.step for name in logger.summary for point in history(run.info.run_id, name)} == {0}
    tags = mlflow.get_run(run.info.run_id).data.tags
    assert tags["sysmetrics.pid"] == str(os.getpid())
    assert tags["sysmetrics.memory_definition"] in ("rss-shr", "uss")
    assert list(journals.iterdir()) == []


def test_steps_of_series_are_tenths_of_a_second_since_the_start_of_the_run():
    """Of a second recording too, and of a run that another process began; a result of such a name keeps its own."""
    run_id = MlflowClient().create_run("0", round(time.time() * 1000) - 60_000).info.run_id
    with mlflow.start_run(run_id=run_id):
        mlflow.log_metric("system/ram", 3.0, step=7)
        for _ in range(2):
            ticks = Ticks()
            with SystemMetricsLogger(measurement=Measurement(sample=ticks, interval_s=0.01, window_s=0.1)):
                ticks.wait_for(40)
    points, start_ms = history(run_id, "system/tick"), mlflow.get_run(run_id).info.start_time
    assert len(points) >= 4
    assert [point.step for point in points] == [(point.timestamp - start_ms) // 100 for point in points]
    assert 600 <= points[0].step < points[-1].step < 1200
    assert [point.step for point in history(run_id, "system/ram")] == [7]


def test_another_logger_goes_on_in_the_run(caplog):
    """As in a notebook: cells run twice, and again. The second summary is the run's; a stopped logger says so."""
    with mlflow.start_run() as run:
        for cpu_s in (0.2, 0.0):
            logger = SystemMetricsLogger()
            assert logger.start() is logger.start() is logger
            use_cpu(cpu_s)
            assert logger.stop() == logger.stop() == logger.summary
        assert not logger.start().is_recording
    assert "make a new one" in caplog.text
    assert len(history(run.info.run_id, "system/process_memory_mb")) >= 2
    assert metrics(run.info.run_id)["elapsed_s"] == logger.summary["elapsed_s"]


def test_run_anywhere_is_written_from_any_thread():
    """By its id and its store's address, with another prefix of all names."""
    uri, run_id = mlflow.get_tracking_uri(), MlflowClient().create_run("0").info.run_id
    mlflow.set_tracking_uri("sqlite:////nowhere/mlflow.db")
    thread = threading.Thread(target=lambda: SystemMetricsLogger(run_id, uri, prefix="sys/gpu-1/").start().stop())
    thread.start()
    thread.join(LIMIT_S)
    mlflow.set_tracking_uri(uri)
    assert metrics(run_id).keys() >= {"sys/gpu-1/process_memory_mb", "sys/gpu-1/elapsed_s"}


# --- one writer --------------------------------------------------------------------------------------------


def test_series_have_one_writer():
    """A second one in this process raises; in another process it records nothing and raises nothing."""
    with mlflow.start_run() as run, ticking():
        with pytest.raises(ValueError, match=rf"run_id='{run.info.run_id}': a logger of this process"):
            SystemMetricsLogger()
        with ticking(prefix="other/"), ticking(prefix="system/b/"):
            pass

        def child():
            with ticking(run_id=run.info.run_id) as logger:
                list(logger.timed(range(3)))
                return not logger.is_recording and "steps" not in logger.summary

        assert in_fork(child) == 1
    assert metrics(run.info.run_id).keys() >= {"system/tick", "other/tick", "system/b/tick"}


def test_forked_child_leaves_its_parents_logger_alone():
    """Its calls return at once and do nothing, however it ends; the parent goes on, and nothing is lost."""
    ticks = Ticks()
    with mlflow.start_run() as run:
        with SystemMetricsLogger(measurement=Measurement(sample=ticks, interval_s=0.01, window_s=0.1)) as logger:

            def child():
                with logger.step(), logger.phase("child"):
                    pass
                list(logger.timed(range(3)))
                logger.stop()
                return not logger.is_recording

            for _ in range(5):
                assert in_fork(child) == 1
            assert in_fork(lambda: 1 / 0) == 99
            ticks.wait_for(ticks.taken + 20)
        assert covered(run.info.run_id) == (ticks.taken, 0, True)
    assert "steps" not in metrics(run.info.run_id)


# --- limits ------------------------------------------------------------------------------------------------


def test_broken_limit_is_told_to_the_program():
    """Once, with the limit; the run says why, and the recording goes on."""
    broken = list[Any]()
    with mlflow.start_run() as run, SystemMetricsLogger(limits="elapsed_s<=0.3", on_break=broken.append) as logger:
        wait_until(lambda: broken, LIMIT_S, "the limit")
        assert logger.is_recording
        time.sleep(0.3)
    assert [stop.metric for stop in broken] == ["elapsed_s"]
    ended = mlflow.get_run(run.info.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s ")


def test_broken_limit_ends_the_process_that_is_measured():
    """Which is another than this where a measurement of that was made before."""
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child,
        mlflow.start_run() as run,
        SystemMetricsLogger(measurement=Measurement(child.pid), limits="elapsed_s<=0.2"),
    ):
        assert child.wait(LIMIT_S) == -signal.SIGTERM
    tags = mlflow.get_run(run.info.run_id).data.tags
    assert (tags["sysmetrics.pid"], tags["sysmetrics.stop_metric"]) == (str(child.pid), "elapsed_s")


def test_limit_that_is_broken_at_the_very_end_ends_nothing(monkeypatch, caplog):
    """Where `stop` was there first, the process goes on, and its run tells of no limit."""
    now, ended, start = [0.0], list[Any](), threading.Thread.start
    measurement = Measurement(interval_s=3600, clock=lambda: now[0])

    def stop_first(thread):
        if thread.name == "mlflow-sysmetrics-stop":
            logger.stop()
        start(thread)

    with mlflow.start_run() as run:
        logger = SystemMetricsLogger(measurement=measurement, limits="elapsed_s<=1").start()
        monkeypatch.setattr("mlflow_sysmetrics.logger.end_tree", ended.append)
        monkeypatch.setattr(threading.Thread, "start", stop_first)
        now[0] = 5.0
        measurement.interval()
        wait_until(lambda: not our_threads(), LIMIT_S, "the end of all threads")
    assert (ended, "failed" in caplog.text) == ([], False)
    assert metrics(run.info.run_id)["elapsed_s"] == 5.0
    assert "sysmetrics.stop_reason" not in mlflow.get_run(run.info.run_id).data.tags


# --- stores and disks that fail ----------------------------------------------------------------------------


def test_what_an_earlier_process_left_waits_for_sync(journals, caplog):
    """The logger of the next one says so, and does not read it, however long it is."""
    run_id, uri = MlflowClient().create_run("0", 4_000).info.run_id, mlflow.get_tracking_uri()
    left = Journal(journal_path(uri, run_id, "system/"), {"tracking_uri": uri, "run_id": run_id})
    left.append([Batch(5_000, [Point("system/tick", 9.0, 5_000)])])
    left.close()
    with ticking(run_id=run_id):
        pass
    assert f"`mlflow-sysmetrics sync` delivers what an earlier process left of run {run_id!r}" in caplog.text
    assert history(run_id, "system/tick")[0].value != 9.0
    assert not deliver().left
    assert history(run_id, "system/tick")[0].value == 9.0
    assert list(journals.iterdir()) == []


# --- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        *[{"pid": 2**22 + 1}, {"pid": "me"}, {"run_id": "0" * 32}, {"run_id": ""}],
        *[{"prefix": "a@b"}, {"prefix": 7}, {"prefix": "a/../b/"}, {"prefix": "a" * 151}],
        {"limits": Limits.parse("mean_cpu_percent<=50")},
    ],
    ids=str,
)
def test_wrong_argument_raises_one_sentence_that_names_it(arguments):
    """At once, with the value."""
    ((name, value),) = arguments.items()
    with mlflow.start_run(), pytest.raises(ValueError) as error:  # noqa: PT011
        SystemMetricsLogger(**arguments)
    assert str(error.value).startswith(f"{name}={value!r}")
    assert "\n" not in str(error.value)


def test_nothing_raises_once_it_is_made(journals, caplog, monkeypatch):
    """A process that has ended; an address that cannot be read, whose password nobody sees; no place for a journal."""
    with mlflow.start_run() as run:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        logger = SystemMetricsLogger(pid=child.pid, limits="elapsed_s<=0.2")
        child.communicate(b"\n")
        with logger, logger.step():
            time.sleep(0.5)
    assert metrics(run.info.run_id).keys() >= {"elapsed_s", "steps"}
    assert "sysmetrics.stop_reason" not in mlflow.get_run(run.info.run_id).data.tags  # nobody is there to be ended
    assert not list(journals.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("mlflow_sysmetrics.logger.DELIVER_S", 1.0)
        with ticking(run_id="a" * 32, tracking_uri="http://me:p[hush42@there:5000"):
            pass
    (kept,) = journals.iterdir()
    assert "hush42" not in kept.read_text() + caplog.text
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(kept / "folder"))
    with mlflow.start_run() as run, ticking():
        pass
    assert "system/tick" in metrics(run.info.run_id)
