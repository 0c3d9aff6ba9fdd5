"""The command line: it teaches, names mistakes in a sentence, and leaves a program's output as it was."""

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import click
import mlflow
import pytest
from cases import cases, rows
from click.testing import CliRunner
from commands import ROOT, clean_environment, store_uri, the_run
from mlflow import MlflowClient
from servers import server_here

from mlflow_sysmetrics.command.cli import main
from mlflow_sysmetrics.delivery import writer_for
from mlflow_sysmetrics.recording.outcome import Outcome

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


def shown(*arguments, code=0):
    """What the command prints."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert not isinstance(result.exception, Exception)
    return result.output


def test_help_explains_every_option():
    """Each option has a sentence, and the group's help shows how to begin."""
    context = click.Context(main)
    commands = [main.get_command(context, name) for name in main.list_commands(context)]
    assert {"check", "served"} < {command.name for command in commands}  # of another package
    for command in commands:
        options = [option for option in command.params if option.param_type_name == "option"]
        assert [option.name for option in options if not option.help] == []
    assert "mlflow-sysmetrics run -- python train.py" in shown("--help")


@cases("line, why", rows(__file__, "refused.txt"))
def test_mistake_is_one_sentence_without_a_password(store_in_use, empty_store, monkeypatch, line, why):
    """Nothing is started, and no file is made."""
    old = store_in_use.create_experiment("old")
    store_in_use.delete_experiment(old)
    (empty_store / "text.db").write_text("no database" * 1000)
    before = sorted(empty_store.iterdir())
    words = shlex.split(line.format(old=old))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    while "=" in words[0]:
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    said = shown(*words, code=2)
    assert why in said.splitlines()[-1]
    assert "hush" not in said
    assert sorted(empty_store.iterdir()) == before


@cases("command", ["run", "check", "served"])
def test_other_system_than_linux_is_named(command, monkeypatch):
    """Before anything starts."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert f"{command} needs Linux" in shown(command, "--", "true", code=2).splitlines()[-1]


def recorded(folder, uri, *arguments):
    """Run a command line in a folder, with this store."""
    environment = clean_environment(
        PYTHONPATH=str(ROOT),
        MLFLOW_TRACKING_URI=uri,
        MLFLOW_SYSMETRICS_SPOOL=str(folder / "journals"),
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",  # by the program's own MLflow
    )
    options = {"capture_output": True, "text": True, "timeout": LIMIT_S, "input": "well\n"}
    return subprocess.run([*COMMAND, "run", *arguments], cwd=folder, env=environment, **options)


def test_program_keeps_its_input_and_output(empty_store, monkeypatch):
    """Each byte that it wrote is where it belongs; the summary comes after it, on the error output."""
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", empty_store.as_uri())
    named = ("--run-name", "night", "--experiment-name", "nightly")
    with server_here(store_uri(empty_store)) as uri:
        done = recorded(empty_store, uri, *named, "--", sys.executable, "-c", TRAIN)
    assert done.returncode == 3
    assert done.stdout == "trained well\n"
    assert done.stderr.startswith("careful\nmlflow-sysmetrics:\n  elapsed_s")
    client = MlflowClient(store_uri(empty_store))
    (run,) = client.search_runs([client.get_experiment_by_name("nightly").experiment_id])
    assert run.info.run_name == "night"
    assert run.info.status == "FAILED"


def test_mlflow_skinny_is_enough_for_a_tracking_server(empty_store):
    """Nothing of what only the whole of MLflow brings is imported."""
    absent = ["alembic", "docker", "flask", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "sqlalchemy"]
    code = f"import sys; sys.modules |= dict.fromkeys({absent})\nfrom mlflow_sysmetrics.command.cli import main; main()"
    with server_here(store_uri(empty_store)) as uri:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": uri}
        subprocess.run([sys.executable, "-c", code, "run", "true"], env=environment, check=True, timeout=LIMIT_S)
    assert "elapsed_s" in the_run(empty_store).data.metrics


@pytest.mark.slow
def test_two_first_commands_make_a_new_store_without_a_word(tmp_path):
    """One makes its tables, and the other waits: made by both at once, the database is broken for good.

    MLflow's remarks on its tables do not come between the program's lines.
    """
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda name: recorded(tmp_path, store_uri(tmp_path), "--run-name", name, "true"), "ab"))
    for done in both:
        assert (done.returncode, done.stdout) == (0, "")
        assert all(line.startswith(("mlflow-sysmetrics:", "  ")) for line in done.stderr.splitlines())
    runs = MlflowClient(store_uri(tmp_path)).search_runs(["0"])
    assert sorted(run.info.run_name for run in runs) == ["a", "b"]


def leave(run_id):
    """Leave on disk the end of a run, whose store is away."""
    run = writer_for("http://127.0.0.1:9").open(run_id)
    run.log(tags={"why": "late"})
    run.end(Outcome("KILLED"))
    assert not run.close(0.1)


def test_sync_delivers_what_an_outage_left_and_says_what_it_leaves(store_in_use, journals):
    """With the reason, and an exit code that a scheduler sees; a file that is none of ours stays."""
    sync = ("sync", "--tracking-uri", store_in_use.tracking_uri)
    known = store_in_use.create_run("0").info.run_id
    leave(known)
    assert "of 1 run." in shown(*sync)
    assert store_in_use.get_run(known).info.status == "KILLED"
    leave("0" * 32)
    (journals / "other.jsonl").write_text("something else\n")
    assert "other.jsonl" in shown(*sync, code=1)
