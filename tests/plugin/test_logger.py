"""`SystemMetricsLogger` on real runs in a real store: what a run holds, who writes it, and what goes wrong."""

import os
import re
import signal
import threading
import time
from unittest.mock import Mock

import mlflow
import pytest
from cases import cases
from commands import wait_until
from machines import Clock, Ticks, child, covered, in_fork, use_cpu
from mlflow import MlflowClient

from mlflow_sysmetrics import Limits, Measurement, SystemMetricsLogger
from mlflow_sysmetrics.metrics import SUMMARY as COSTS

LIMIT_S = 60.0
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(autouse=True)
def no_thread_is_left(store_in_use):
    """MLflow's current store is an empty one, and threads that this package starts in the test have ended after it."""
    before = threading.enumerate()  # those of integrations stay as long as the process
    yield

    def have_ended():
        return not any("sysmetrics" in thread.name for thread in threading.enumerate() if thread not in before)

    wait_until(have_ended, LIMIT_S, "the end of all threads")


def ticking(**more):
    """A logger of numbered readings."""
    return SystemMetricsLogger(measurement=Measurement(sample=Ticks(), interval_s=0.01), **more)


def metrics(run_id):
    return mlflow.get_run(run_id).data.metrics


# --- what a run holds --------------------------------------------------------------------------------------


def test_run_has_series_summary_phases_steps_and_tags(journals, monkeypatch):
    """In a few lines of a script, beside the machine's metrics that MLflow reads itself; nothing is left on disk."""
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with mlflow.start_run(log_system_metrics=True) as run, SystemMetricsLogger() as logger:
        with logger.phase("load"):
            time.sleep(0.2)
        with logger.phase("train"):
            use_cpu(0.3)
        for _ in logger.timed(range(3)):
            time.sleep(0.01)
        with pytest.raises(KeyError), logger.step():
            raise KeyError
        assert logger.is_recording
    assert not logger.is_recording
    run = mlflow.get_run(run.info.run_id)
    found = run.data.metrics
    assert found.items() >= logger.summary.items()
    series = {"system/process_memory_mb_max", "system/step_time_ms", "system/network_receive_megabytes"}
    assert found.keys() >= series | set(COSTS) - {"peak_gpu_memory_mb", "peak_rss_mb"}
    assert found["steps"] == 3
    assert found["mean_step_time_ms"] > 10
    assert found["phase/train/cpu_seconds"] > found["phase/load/cpu_seconds"] >= 0
    (point,) = MlflowClient().get_metric_history(run.info.run_id, "cpu_seconds")
    assert point.step == 0
    assert run.data.tags["sysmetrics.pid"] == str(os.getpid())
    assert "sysmetrics.memory_definition" in run.data.tags
    assert list(journals.iterdir()) == []


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
        assert covered(run.info.run_id) == [*range(1, ticks.taken + 1)]
    assert "steps" not in metrics(run.info.run_id)


# --- limits ------------------------------------------------------------------------------------------------


def test_broken_limit_is_told_to_the_program():
    """With the limit; the run says why, and the recording goes on."""
    broken = []
    with mlflow.start_run() as run, SystemMetricsLogger(limits="elapsed_s<=0.3", on_break=broken.append) as logger:
        wait_until(lambda: broken, LIMIT_S, "the limit")
        assert logger.is_recording
    assert [stop.metric for stop in broken] == ["elapsed_s"]
    ended = mlflow.get_run(run.info.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s ")


def test_broken_limit_ends_the_process_that_is_measured():
    """Which is another than this where a measurement of that was made before."""
    with child() as program, mlflow.start_run() as run:
        measurement = Measurement(program.pid)
        with SystemMetricsLogger(measurement=measurement, limits="elapsed_s<=0.2"):
            assert program.wait(LIMIT_S) == -signal.SIGTERM
    tags = mlflow.get_run(run.info.run_id).data.tags
    assert (tags["sysmetrics.pid"], tags["sysmetrics.stop_metric"]) == (str(program.pid), "elapsed_s")


def test_limit_that_is_broken_at_the_very_end_ends_nothing(monkeypatch):
    """Where `stop` was there first, the process goes on, and its run tells of no limit."""
    clock, end_tree = Clock(), Mock()
    measurement = Measurement(interval_s=3600, clock=clock)
    ended = threading.Event()

    def stop_first(end, name):
        logger.stop()
        end()
        ended.set()

    with mlflow.start_run() as run:
        logger = SystemMetricsLogger(measurement=measurement, limits="elapsed_s<=1").start()
        monkeypatch.setattr("mlflow_sysmetrics.recording.logger.end_tree", end_tree)
        monkeypatch.setattr("mlflow_sysmetrics.recording.logger.start_thread", stop_first)
        clock.now = 5.0
        measurement.interval()  # or the monitor's thread, if its first reading is as late as this
        assert ended.wait(LIMIT_S)
    assert metrics(run.info.run_id)["elapsed_s"] == 5.0
    assert "sysmetrics.stop_reason" not in mlflow.get_run(run.info.run_id).data.tags
    end_tree.assert_not_called()


# --- mistakes ----------------------------------------------------------------------------------------------


@cases(
    "name, value",
    [
        ("pid", 2**22 + 1),
        ("run_id", "0" * 32),
        ("prefix", "a@b"),
        ("prefix", "a/../b/"),
        ("prefix", "a" * 151),
        ("limits", Limits.parse("mean_cpu_percent<=50")),
    ],
)
def test_wrong_argument_raises_one_sentence_that_names_it(name, value):
    """At once, with the value."""
    with mlflow.start_run(), pytest.raises(ValueError, match=f"^{name}={re.escape(repr(value))}.*$"):
        SystemMetricsLogger(**{name: value})


def test_process_that_has_ended_raises_nothing():
    """Nor is anybody there whom a limit would end."""
    with child() as program, mlflow.start_run() as run:
        logger = SystemMetricsLogger(pid=program.pid, limits="elapsed_s<=0.2")
        program.communicate("exit()")
        with logger, logger.step():
            time.sleep(0.5)
    run = mlflow.get_run(run.info.run_id)
    assert run.data.metrics.keys() >= {"elapsed_s", "steps"}
    assert "sysmetrics.stop_reason" not in run.data.tags


def test_disk_that_keeps_no_journal_raises_nothing(journals):
    """All goes to the run."""
    journals.touch()
    with mlflow.start_run() as run, ticking():
        pass
    assert "system/tick" in metrics(run.info.run_id)
