"""A signal in the first seconds of a command, while its modules are imported, and one that means a lost terminal."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from commands import Command, clean_environment, store_uri, wait_until
from mlflow import MlflowClient

from entrypoints import signals
from mlflow_sysmetrics.tags import PID

GONE = 2**30  # the id of no process
MARKED_WITHIN_S = 600.0  # a process of its own does it, which imports mlflow
# A command that gets a signal just when it asks for a module.
INTERRUPTED = """
import os, runpy, signal, sys

class Sends:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{name})

sys.meta_path.insert(0, Sends())
runpy.run_module("entrypoints.{command}", run_name="__main__", alter_sys=True)
"""

# In the place of `mlflow run`, which waits for the command and says FAILED when that has ended.
MLFLOW_RUN = """
import sqlite3, subprocess, sys
code, store, run_id = sys.argv[1:]
ended = subprocess.run([sys.executable, "-c", code])
with sqlite3.connect(store) as database:
    database.execute("UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", [run_id])
sys.exit(ended.returncode)
"""


@pytest.mark.parametrize("command", ["prepare", "tune", "report", "main"])
def test_signal_at_the_first_import_ends_each_command(command: str, project: Path, tmp_path: Path) -> None:
    """Whatever imports follow, it is heeded from the first line on."""
    code = INTERRUPTED.format(command=command, module="click", name="SIGTERM")
    done = Command([sys.executable, "-c", code], cwd=project, output=tmp_path, env=clean_environment()).wait()
    assert (done.exit_code, done.stderr.strip()) == (128 + signal.SIGTERM, "Stopped by SIGTERM.")


@pytest.mark.parametrize(
    ("command", "module", "name"),
    [
        pytest.param("tune", "click", "SIGINT", id="first-import"),
        pytest.param("tune", "mlflow", "SIGTERM", id="mlflow", marks=pytest.mark.slow),
        pytest.param("tune", "entrypoints.search.study", "SIGTERM", id="study", marks=pytest.mark.slow),
    ],
)
def test_signal_while_modules_are_imported_marks_the_run(
    command: str, module: str, name: str, project: Path, empty_store: Path
) -> None:
    """As after any other: the exit code is 128 + its number, the run KILLED, and no traceback is shown."""
    client = MlflowClient(store_uri(empty_store))
    run_id = client.create_run("0").info.run_id
    env = clean_environment(MLFLOW_RUN_ID=run_id, MLFLOW_EXPERIMENT_ID="0", MLFLOW_TRACKING_URI=client.tracking_uri)
    code = INTERRUPTED.format(command=command, module=module, name=name)
    line = [sys.executable, "-c", MLFLOW_RUN, code, str(empty_store / "mlflow.db"), run_id]
    started = Command(line, cwd=project, output=empty_store / "output", env=env)
    done = started.wait()
    assert done.exit_code == 128 + getattr(signal, name)
    end = " What was measured is in MLflow."  # unless the end takes so long that it is forced
    assert done.stderr.strip().removesuffix(end) == f"Stopped by {name}."
    wait_until(lambda: client.get_run(run_id).info.status == "KILLED", MARKED_WITHIN_S, "the mark")


@pytest.mark.parametrize(
    ("status", "tags", "then", "of_child"),
    [
        pytest.param("RUNNING", {}, "KILLED", "KILLED", id="not-ended"),
        pytest.param("FAILED", {PID: str(GONE)}, "KILLED", "KILLED", id="as-mlflow-run-says"),
        pytest.param("FINISHED", {}, "FINISHED", "RUNNING", id="came-to-its-end"),
        pytest.param("RUNNING", {PID: "1"}, "RUNNING", "RUNNING", id="continued-by-another-command"),
    ],
)
def test_runs_of_a_command_that_has_ended_are_marked(
    status: str, tags: dict[str, str], then: str, of_child: str, client: MlflowClient
) -> None:
    """With what is open below them, unless they have come to their end or are another command's by now."""
    run_id = client.create_run("1", tags=tags).info.run_id
    child_id = client.create_run("1", tags={"mlflow.parentRunId": run_id}).info.run_id
    client.update_run(run_id, status)
    signals.mark(GONE, GONE, [run_id], client)
    assert [client.get_run(each).info.status for each in (run_id, child_id)] == [then, of_child]


HANGS = """
import os, signal, time
from entrypoints import signals
from entrypoints.runs import recorded_run

signals.END_WITHIN_S = 0.5
signals.STARTED_BY = {gone}  # no `mlflow run` for which the mark has to wait
reads, writes = os.pipe()
os.close(reads)
os.dup2(writes, 2)
with recorded_run("study", "hangs", {{}}):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        time.sleep(600)
"""


def test_command_that_hangs_at_its_end_is_ended(project: Path, empty_store: Path) -> None:
    """It has a few seconds from the signal on, also where its terminal is gone."""
    env = clean_environment(MLFLOW_TRACKING_URI=store_uri(empty_store))
    line = [sys.executable, "-c", HANGS.format(gone=GONE)]
    done = Command(line, cwd=project, output=empty_store / "output", env=env, warm=True).wait()
    assert (done.exit_code, done.stderr) == (128 + signal.SIGTERM, "")
    client = MlflowClient(store_uri(empty_store))
    (run,) = client.search_runs(["0"])
    wait_until(lambda: client.get_run(run.info.run_id).info.status == "KILLED", MARKED_WITHIN_S, "the mark")


HUNG_UP = """
import os, signal
from entrypoints import signals
from entrypoints.runs import child_run, recorded_run

signals.END_WITHIN_S = 600  # it is not forced, however busy the machine is
signal.signal(signal.SIGHUP, signal.{before})
with recorded_run("study", "hung up", {{}}) as run, child_run(run, "trial", "under way"):
    os.kill(os.getpid(), signal.SIGHUP)
    print("goes on", flush=True)
"""


@pytest.mark.parametrize(
    ("before", "status", "exit_code", "says"),
    [
        pytest.param("SIG_DFL", "KILLED", 128 + signal.SIGHUP, "", id="lost-terminal"),
        pytest.param("SIG_IGN", "FINISHED", 0, "goes on", id="nohup"),
    ],
)
def test_sighup_ends_a_command_like_sigterm_but_not_under_nohup(
    before: str, status: str, exit_code: int, says: str, project: Path, empty_store: Path
) -> None:
    """A lost connection leaves nothing RUNNING, and who has asked for it goes on."""
    line = [sys.executable, "-c", HUNG_UP.format(before=before)]
    env = clean_environment(MLFLOW_TRACKING_URI=store_uri(empty_store))
    done = Command(line, cwd=project, output=empty_store / "output", env=env, warm=True).wait()
    assert (done.exit_code, done.stdout.strip()) == (exit_code, says)
    assert ("\nStopped by SIGHUP. What was measured is in MLflow.\n" in done.stderr) is (status == "KILLED")
    assert "Traceback" not in done.stderr
    runs = MlflowClient(store_uri(empty_store)).search_runs(["0"])
    assert [run.info.status for run in runs] == [status] * 2
