"""The command line: it teaches, starts fast, names mistakes in a sentence, and leaves a program's output as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import ROOT, clean_environment, store_uri, the_run, wait_until
from mlflow import MlflowClient

from mlflow_sysmetrics.command.cli import main
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import Header, SpoolFile, spool_path
from mlflow_sysmetrics.sampling import GROUPS

LIMIT_S = 60.0
COMMAND = [sys.executable, "-m", "mlflow_sysmetrics.command.cli"]
TRAIN = """
import sys, time, mlflow
with mlflow.start_run():
    mlflow.log_metric("loss", 0.5)
    print("trained", sys.stdin.readline().strip())
    print("careful", file=sys.stderr)
    end = time.time() + 0.3
    while time.time() < end: pass
sys.exit(3)
"""


def environment(folder: Path) -> dict[str, str]:
    """A user's environment with the store of a folder."""
    return clean_environment(
        PYTHONPATH=str(ROOT), MLFLOW_TRACKING_URI=store_uri(folder), MLFLOW_SYSMETRICS_SPOOL=str(folder / "spool")
    )


@pytest.mark.parametrize("command", ["run", "sync", "ui", "views"])
def test_help_explains_every_option(command: str) -> None:
    """Each option has a sentence, and the group's help shows how to begin."""
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    options = [option for option in main.commands[command].params if option.param_type_name == "option"]
    assert options
    assert [option.name for option in options if not option.help] == []  # type: ignore[attr-defined]
    assert "mlflow-sysmetrics run -- python train.py" in CliRunner().invoke(main, ["--help"]).output


def test_help_names_every_group() -> None:
    """What can be read does not have to be looked up."""
    shown = CliRunner().invoke(main, ["run", "--help"]).output
    assert [group for group in GROUPS if f"{group} (" not in shown and f"{group}," not in shown] == []


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["--interval-s", "0", "--", "true"], "interval_s=0.0"),
        (["--groups", "process,disk", "--", "true"], "groups='process,disk'"),
        (["--run-name", "mine", "--", "true"], "MLFLOW_RUN_ID"),
        ([], "COMMAND"),
    ],
    ids=["interval", "group", "name-of-a-run-that-exists", "no-command"],
)
def test_mistake_is_one_sentence(arguments: list[str], wrong: str) -> None:
    """It names what was given, and nothing was started."""
    shown = CliRunner().invoke(main, ["run", *arguments], env={"MLFLOW_RUN_ID": "1"})
    assert shown.exit_code == 2
    assert wrong in shown.output.splitlines()[-1]


@pytest.mark.slow  # a real run
def test_program_logs_into_the_run_and_keeps_its_output(empty_store: Path) -> None:
    """What it logs with mlflow and what it costs are in one run, and each byte it wrote is where it belongs."""
    done = subprocess.run(
        [*COMMAND, "run", "--run-name", "night", "--", sys.executable, "-c", TRAIN],
        cwd=empty_store, env=environment(empty_store), input="well\n", capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (3, "trained well\n", "careful\n")
    run = the_run(empty_store)
    assert (run.info.run_name, run.info.status, run.data.metrics["loss"]) == ("night", "FAILED", 0.5)
    history = MlflowClient(store_uri(empty_store)).get_metric_history(run.info.run_id, "system/process_memory_mb_max")
    assert max(point.value for point in history) > 50


@pytest.mark.slow  # a real run
def test_new_store_is_made_without_a_word(tmp_path: Path) -> None:
    """MLflow's remarks on its tables do not come between the program's lines."""
    done = subprocess.run(
        [*COMMAND, "run", "true"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert the_run(tmp_path).info.status == "FINISHED"


@pytest.mark.slow  # a real run
def test_signal_for_the_wrapper_ends_program_and_run(empty_store: Path) -> None:
    """Whoever stops the wrapper sees it die of that signal, and the run is KILLED with its last figures."""
    process = subprocess.Popen(
        [*COMMAND, "run", "--", "sh", "-c", f"touch {empty_store}/up; exec sleep 60"],
        cwd=empty_store, env=environment(empty_store),
    )  # fmt: skip
    wait_until((empty_store / "up").exists, LIMIT_S, "the program's start")
    wait_until((empty_store / "spool").exists, LIMIT_S, "the first look at the program")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == -signal.SIGTERM
    run = the_run(empty_store)
    assert run.info.status == "KILLED"
    assert run.data.metrics["system/process_memory_mb"] > 0


def test_sync_delivers_what_an_outage_left(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice: the second time there is nothing left to do."""
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    client = MlflowClient(store_uri(empty_store))
    header = Header(client.create_run("0").info.run_id, store_uri(empty_store))
    folder = empty_store / "spool"
    spool = SpoolFile.create(spool_path(folder, header, "system/"), header)
    spool.append([Point("system/process_memory_mb", 7.0, 1000, 1)])
    spool.close()
    outputs = [CliRunner().invoke(main, ["sync", "--folder", str(folder)]) for _ in range(2)]
    assert [shown.exit_code for shown in outputs] == [0, 0]
    assert ["1 point" in shown.output for shown in outputs] == [True, False]
    assert [point.value for point in client.get_metric_history(header.run_id, "system/process_memory_mb")] == [7.0]


def test_sync_that_leaves_something_says_so(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, and an exit code that a scheduler sees."""
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    (empty_store / "other.jsonl").write_text("something else\n")
    shown = CliRunner().invoke(main, ["sync", "--folder", str(empty_store)])
    assert shown.exit_code == 1
    assert "other.jsonl" in shown.output
