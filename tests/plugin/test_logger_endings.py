"""However a recorded program ends, its run has what it used: in processes that really end."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from cases import cases
from commands import wait_until
from machines import in_fork, use_cpu
from servers import free_port

from mlflow_sysmetrics import SystemMetricsLogger
from mlflow_sysmetrics.delivery.sync import deliver
from mlflow_sysmetrics.metrics import SUMMARY as COSTS

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
SUMMARY = set(COSTS) - {"peak_gpu_memory_mb", "peak_rss_mb"}  # is absent where a process has had a higher one before


@pytest.fixture
def recorded(client):
    """Have a forked child record itself while it does this; its exit code, and its run."""
    run_id = client.create_run("0").info.run_id

    def record(program, uri="", **more):
        def child():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            # Another address of the same store: the connections of a parent must not be used.
            store = uri or client.tracking_uri.replace("sqlite:///", "sqlite:////")
            return bool(program(SystemMetricsLogger(run_id, store, **more).start()))

        return in_fork(child), client.get_run(run_id)

    return record


def test_killed_process_leaves_its_summary_for_sync(recorded, client, journals):
    """It is written each second: the last one is delivered, whatever of the series the store had by then."""

    def program(logger):
        use_cpu(0.1)
        wait_until(lambda: "cpu_seconds" in "".join(each.read_text() for each in journals.iterdir()), 60.0, "a summary")
        os.kill(os.getpid(), signal.SIGKILL)

    code, run = recorded(program)
    assert code == -signal.SIGKILL
    assert "cpu_seconds" not in run.data.metrics
    client.log_metric(run.info.run_id, "peak_memory_mb", 7.0)  # the program's own, which stays
    for _ in range(2):
        assert not deliver().left
    found = client.get_run(run.info.run_id).data.metrics
    assert found.keys() >= SUMMARY | {"system/process_memory_mb"}
    assert found["elapsed_s"] > 0.9
    for name in ("elapsed_s", "peak_memory_mb"):
        assert len(client.get_metric_history(run.info.run_id, name)) == 1
    assert not list(journals.iterdir())


@cases("away", {"store is there": False, "store is away": True})
def test_program_ends_at_its_limit_unless_it_says_otherwise(away, recorded, client):
    """By SIGTERM; its run is KILLED, says why, and has all its summary."""
    uri = f"http://127.0.0.1:{free_port()}" if away else ""
    code, run = recorded(lambda logger: time.sleep(60), uri, limits="elapsed_s<=0.5")
    assert code == -signal.SIGTERM
    assert not deliver(tracking_uri=client.tracking_uri).left  # if a busy machine has not done so in half a second
    run = client.get_run(run.info.run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s ")
    assert run.data.metrics.keys() >= SUMMARY


def test_stop_in_the_handler_of_a_signal_is_bounded(recorded):
    """Wherever the main thread is: in a phase, in a step, or reading its summary."""

    def program(logger):
        took_s = []

        def stop(*_):
            began = time.monotonic()
            logger.stop()
            took_s.append(time.monotonic() - began)

        signal.signal(signal.SIGUSR1, stop)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        while not took_s:
            with logger.phase("phase"), logger.step():
                assert logger.summary
        return took_s[0] < 8

    code, run = recorded(program)
    assert code == 1
    assert run.data.metrics.keys() >= SUMMARY | {"phase/phase/elapsed_s", "steps"}


def test_program_that_forgets_to_stop_is_complete_at_its_exit(client):
    """With its own exit code."""
    run_id = client.create_run("0").info.run_id
    code = f"from mlflow_sysmetrics import SystemMetricsLogger\nSystemMetricsLogger('{run_id}').start()\nexit(3)"
    env = os.environ | {"MLFLOW_TRACKING_URI": client.tracking_uri}
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=300).returncode == 3
    assert not deliver().left  # if a busy machine has not done so in five seconds
    assert client.get_run(run_id).data.metrics.keys() >= SUMMARY
