"""A signal in the first seconds of a command, while its modules are imported, and one that means a lost terminal."""

import signal
import sys

import pytest
from cases import cases
from commands import Command, clean_environment, store_uri
from mlflow import MlflowClient

from mlflow_sysmetrics.recording.tags import STOP_REASON

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


@pytest.fixture
def end(project, empty_store):
    """Run code as a command in the project's folder to its end."""

    def ended(code, warm=True, **more):
        env = clean_environment(MLFLOW_TRACKING_URI=store_uri(empty_store), **more)
        line = [sys.executable, "-c", code]
        return Command(line, cwd=project, output=empty_store / "output", env=env, warm=warm).wait()

    return ended


@pytest.fixture
def ends(empty_store):
    """The status and the reason of each run in its store."""
    client = MlflowClient(store_uri(empty_store))
    return lambda: [(run.info.status, run.data.tags.get(STOP_REASON)) for run in client.search_runs(["0"])]


@cases("command", ["prepare", "tune", "report", "main"])
def test_signal_at_the_first_import_ends_each_command(command, end):
    """Whatever imports follow, it is heeded from the first line on. Without `mlflow run` there is no run to mark."""
    done = end(INTERRUPTED.format(command=command, module="click", name="SIGTERM"), warm=False)
    assert (done.exit_code, done.stderr) == (128 + signal.SIGTERM, "")


@cases(
    "module, name",
    [
        ("click", "SIGINT"),
        pytest.param("mlflow", "SIGTERM", marks=pytest.mark.slow),
        pytest.param("entrypoints.study.running", "SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_signal_while_modules_are_imported_marks_the_run(module, name, end, ends, empty_store):
    """As after any other: the exit code is 128 + its number, the run KILLED, and no traceback is shown."""
    run_id = MlflowClient(store_uri(empty_store)).create_run("0").info.run_id
    code = INTERRUPTED.format(command="tune", module=module, name=name)
    done = end(code, warm=False, MLFLOW_RUN_ID=run_id, MLFLOW_EXPERIMENT_ID="0")
    assert done.exit_code == 128 + getattr(signal, name)
    end_said = " What was measured is in MLflow."  # unless the end takes so long that it is forced
    assert done.stderr.strip().removesuffix(end_said) == f"Stopped by {name}."
    assert ends() == [("KILLED", f"ended by {name}")]


HANGS = """
import os, signal, time
from entrypoints.runs import recorded as runs

runs.END_WITHIN_S = 0.5
reads, writes = os.pipe()
os.close(reads)
os.dup2(writes, 2)
with runs.recorded_run("study", "hangs", {}) as run:
    run.client.create_run(run.experiment_id, tags={"mlflow.parentRunId": run.run_id})
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        time.sleep(600)
"""


def test_command_that_hangs_at_its_end_is_ended(end, ends):
    """It has a few seconds from the signal on, also where its terminal is gone; no run stays open."""
    done = end(HANGS)
    assert (done.exit_code, done.stderr) == (128 + signal.SIGTERM, "")
    assert ends() == [("KILLED", "ended by SIGTERM")] * 2


HUNG_UP = """
import os, signal
from entrypoints.runs import recorded as runs

runs.END_WITHIN_S = 600  # it is not forced, however busy the machine is
signal.signal(signal.SIGHUP, signal.{before})
with runs.recorded_run("study", "hung up", {{}}):
    os.kill(os.getpid(), signal.SIGHUP)
    print("goes on", flush=True)
"""


@cases(
    "before, run, exit_code, says",
    {
        "lost-terminal": ("SIG_DFL", ("KILLED", "ended by SIGHUP"), 128 + signal.SIGHUP, ""),
        "nohup": ("SIG_IGN", ("FINISHED", None), 0, "goes on"),
    },
)
def test_sighup_ends_a_command_like_sigterm_but_not_under_nohup(before, run, exit_code, says, end, ends):
    """A lost connection leaves nothing RUNNING, and who has asked for it goes on."""
    done = end(HUNG_UP.format(before=before))
    assert (done.exit_code, done.stdout.strip()) == (exit_code, says)
    assert ("\nStopped by SIGHUP. What was measured is in MLflow.\n" in done.stderr) is (exit_code > 0)
    assert "Traceback" not in done.stderr
    assert ends() == [run]


FOUND = """
import os, signal
from entrypoints.runs import recorded as runs

with runs.recorded_command("study", "found", {}) as command:
    command.open()
    command.best_so_far = lambda: "val_rmse 0.66 by b8"
    command.continued_by = "mlflow run . -P resume=1"
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_interrupted_command_says_what_it_has_found_and_how_to_go_on(end):
    """In its last lines."""
    assert end(FOUND).stderr.splitlines()[-3:] == [
        "Stopped by SIGINT. What was measured is in MLflow.",
        "Best so far: val_rmse 0.66 by b8",
        "Continue with: mlflow run . -P resume=1",
    ]
