"""The command line: it teaches, names mistakes in a sentence, and leaves a program's output as it was."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest
from cases import cases
from click.testing import CliRunner
from commands import ROOT, clean_environment, store_uri, the_run
from mlflow import MlflowClient
from server_here import server_here

from mlflow_sysmetrics.command.cli import main
from mlflow_sysmetrics.delivery import writer_for
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.outcome import Outcome

LIMIT_S = 240.0
COMMAND = [sys.executable, "-m", "mlflow_sysmetrics.command.cli"]
TRAIN = """
import sys, mlflow
with mlflow.start_run():
    mlflow.log_metric("loss", 0.5)
    print("trained", sys.stdin.readline().strip())
    print("careful", file=sys.stderr)
sys.exit(3)
"""


def shown(*arguments, code=0, **environment):
    """What the command prints."""
    result = CliRunner().invoke(main, list(arguments), env=environment)
    assert result.exit_code == code, result.output
    return result.output


def test_help_explains_every_option():
    """Each option has a sentence, and the group's help shows how to begin."""
    for name in ("run", "served", "sync", "ui"):
        assert shown(name, "--help")
        options = [option for option in main.commands[name].params if option.param_type_name == "option"]
        assert [option.name for option in options if not option.help] == []
    assert "mlflow-sysmetrics run -- python train.py" in shown("--help")


@cases(
    "arguments, wrong",
    [
        (["--limits", "elapsed_s<=2x median", "--", "true"], "is not a limit; write name<=3"),
        (["--run-name", "mine", "--", "true"], "MLFLOW_RUN_ID"),
        ([], "COMMAND"),
    ],
)
def test_mistake_is_one_sentence(arguments, wrong):
    """It names what was given, and nothing was started."""
    assert wrong in shown("run", *arguments, code=2, MLFLOW_RUN_ID="1").splitlines()[-1]


@cases("command", ["run", "check"])
def test_other_system_than_linux_is_named(command, monkeypatch):
    """Before anything starts."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert f"{command} needs Linux" in shown(command, "--", "true", code=2).splitlines()[-1]


def recorded(folder, uri, *arguments):
    """Run a command line in a folder, with this store."""
    options = {"capture_output": True, "text": True, "timeout": LIMIT_S, "input": "well\n"}
    given = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_SYSMETRICS_SPOOL": str(folder / "journals")}
    given["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # by the program's own MLflow
    environment = clean_environment(PYTHONPATH=str(ROOT), **given)
    return subprocess.run([*COMMAND, "run", *arguments], cwd=folder, env=environment, **options)


def test_program_keeps_its_input_and_output(empty_store, monkeypatch):
    """Each byte that it wrote is where it belongs; the summary comes after it, on the error output."""
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", empty_store.as_uri())
    named = ("--run-name", "night", "--experiment-name", "nightly")
    with server_here(store_uri(empty_store)) as uri:
        done = recorded(empty_store, uri, *named, "--", sys.executable, "-c", TRAIN)
    assert (done.returncode, done.stdout) == (3, "trained well\n")
    first, title, *lines = done.stderr.splitlines()
    assert (first, title) == ("careful", "mlflow-sysmetrics:")
    assert len({len(line) for line in lines[:-1]}) == 1  # aligned; then where to see it
    client = MlflowClient(store_uri(empty_store))
    (run,) = client.search_runs([client.get_experiment_by_name("nightly").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.metrics["loss"]) == ("night", "FAILED", 0.5)


def test_mlflow_skinny_is_enough_for_a_tracking_server(empty_store):
    """Nothing of what only the whole of MLflow brings is imported."""
    absent = ["alembic", "docker", "flask", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "sqlalchemy"]
    code = f"import sys; sys.modules |= dict.fromkeys({absent})\nfrom mlflow_sysmetrics.command.cli import main; main()"
    with server_here(store_uri(empty_store)) as uri:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": uri}
        subprocess.run([sys.executable, "-c", code, "run", "true"], env=environment, check=True, timeout=LIMIT_S)
    run = the_run(empty_store)
    assert (run.info.status, "elapsed_s" in run.data.metrics) == ("FINISHED", True)


@pytest.mark.slow
def test_new_store_is_made_without_a_word(tmp_path):
    """MLflow's remarks on its tables do not come between the program's lines."""
    done = recorded(tmp_path, store_uri(tmp_path), "true")
    assert (done.returncode, done.stdout) == (0, "")
    assert all(line.startswith(("mlflow-sysmetrics:", "  ")) for line in done.stderr.splitlines())
    assert the_run(tmp_path).info.status == "FINISHED"


@pytest.mark.slow
def test_two_first_commands_share_a_new_store(tmp_path):
    """One makes its tables, and the other waits: made by both at once, the database is broken for good."""
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: recorded(tmp_path, store_uri(tmp_path), "--run-name", name, "true"), "ab"))
    assert [(each.returncode, each.stdout) for each in done] == [(0, "")] * 2
    runs = MlflowClient(store_uri(tmp_path)).search_runs(["0"])
    assert {run.info.run_name for run in runs} == {"a", "b"}


@pytest.fixture
def leave(empty_store, monkeypatch):
    """Leave on disk the end of a run, while the store is away."""

    def leave(run_id):
        with monkeypatch.context() as patch:
            patch.setattr(Store, "run", Mock(side_effect=OSError("away")))
            patch.setattr(Store, "log_batch", Mock(side_effect=OSError("away")))
            run = writer_for(store_uri(empty_store)).open(run_id)
            run.log(tags={"why": "late"})
            run.end(Outcome("KILLED"))
            assert not run.close(0.1)

    return leave


def test_sync_delivers_what_an_outage_left_and_says_what_it_leaves(empty_store, leave, journals):
    """With the reason, and an exit code that a scheduler sees; a file that is none of ours stays."""
    client = MlflowClient(store_uri(empty_store))
    known = client.create_run("0").info.run_id
    leave(known)
    assert "of 1 run." in shown("sync")
    assert client.get_run(known).info.status == "KILLED"
    leave("0" * 32)
    (journals / "other.jsonl").write_text("something else\n")
    assert "other.jsonl" in shown("sync", code=1)
