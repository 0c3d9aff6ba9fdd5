"""Mistakes of a user: each ends in seconds with one sentence that says what to do, and a FAILED run that repeats it."""

from __future__ import annotations

import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Command, Finished, RunProject, Study, clean_environment, copy_store, store_uri
from mlflow import MlflowClient

WITHIN_S = 15.0


@dataclass(frozen=True)
class Mistake:
    """Options, and what the sentence about them says: what was given and what is allowed."""

    options: dict[str, str]
    says: tuple[str, ...]

    @property
    def name(self) -> str:
        """The options, as the user would write them."""
        return ",".join(f"{key}={value}" for key, value in self.options.items())


MISTAKES = [
    Mistake({"dataset": "red_vine"}, ("dataset=red_vine", "diabetes, red_wine")),
    Mistake({"learning_rates": "abc"}, ("learning_rates=abc", "numbers separated by commas")),
    Mistake({"folds": "1"}, ("folds=1", "from 2")),
    Mistake({"batch_sizes": "0"}, ("batch_sizes=0", "from 1")),
    Mistake({"algorithm": "svm"}, ("algorithm=svm", "linear")),
    Mistake({"max_steps": "0", "max_epochs": "0"}, ("max_steps=0", "max_epochs=0", "above 0")),
    Mistake({"batch_sizes": "64,5000", "folds": "3"}, ("batch_sizes=64,5000", "746")),
]


@dataclass(frozen=True)
class Outcome:
    """What a command left, and the status and error of the run that was made for it."""

    command: Finished
    status: str
    error: str | None


@pytest.fixture(scope="module")
def client(study: Study, tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """A copy of the small study's store, where the data of the last mistake is prepared already."""
    return MlflowClient(store_uri(copy_store(study.folder, tmp_path_factory.mktemp("mistakes"))))


@pytest.fixture(scope="module")
def outcomes(client: MlflowClient, project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Every mistake made in `python -m entrypoints.tune`, two at a time, in the environment that `mlflow run` makes."""

    def make(mistake: Mistake) -> Outcome:
        run_id = client.create_run("0").info.run_id
        env = clean_environment(MLFLOW_RUN_ID=run_id, MLFLOW_EXPERIMENT_ID="0", MLFLOW_TRACKING_URI=client.tracking_uri)
        finished = _tune(project, tmp_path_factory.mktemp("mistake"), env, **mistake.options)
        run = client.get_run(run_id)
        return Outcome(finished, run.info.status, run.data.tags.get("sysmetrics.error"))

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as executor:
        return dict(zip([each.name for each in MISTAKES], executor.map(make, MISTAKES), strict=True))


def _tune(project: Path, output: Path, env: dict[str, str], **options: str) -> Finished:
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = Command([sys.executable, "-m", "entrypoints.tune", *given], cwd=project, output=output, env=env)
    return command.wait(60)


def _sentence(stderr: str) -> str:
    """The one line that starts with "Error: ", without that start."""
    (line,) = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    return line.removeprefix("Error: ")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistake_is_answered_with_one_sentence(outcomes: dict[str, Outcome], mistake: Mistake) -> None:
    """Standard error holds the sentence and nothing else; it names the value given and what is allowed."""
    command = outcomes[mistake.name].command
    assert command.stderr == f"Error: {_sentence(command.stderr)}\n"
    assert all(text in command.stderr for text in mistake.says)
    assert "Traceback" not in command.stdout + command.stderr
    assert command.exit_code != 0


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistake_is_recorded_in_the_run(outcomes: dict[str, Outcome], mistake: Mistake) -> None:
    """The run is FAILED, and the sentence stands in it too."""
    outcome = outcomes[mistake.name]
    assert outcome.status == "FAILED"
    assert outcome.error == _sentence(outcome.command.stderr)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistake_is_answered_in_seconds(outcomes: dict[str, Outcome], mistake: Mistake) -> None:
    """Nobody waits for a search to learn of a typing error."""
    assert outcomes[mistake.name].command.seconds < WITHIN_S


def test_mistake_leaves_no_run_running(outcomes: dict[str, Outcome], client: MlflowClient) -> None:
    """Neither the command's own run nor one that it has made stays RUNNING."""
    assert len(client.search_runs(["0"], "attributes.status = 'FAILED'")) == len(outcomes)
    assert client.search_runs(["0"], "attributes.status = 'RUNNING'") == []


@pytest.mark.parametrize("mistake", MISTAKES[:2], ids=lambda mistake: mistake.name)
def test_mistake_under_mlflow_run(run_project: RunProject, empty_store: Path, mistake: Mistake) -> None:
    """`mlflow run` passes the sentence on and makes no second run: its own is FAILED and says why."""
    command = run_project("tune", empty_store, **mistake.options)
    assert command.exit_code != 0
    assert "Traceback" not in command.stdout + command.stderr
    assert all(text in _sentence(command.stderr) for text in mistake.says)
    (run,) = MlflowClient(store_uri(empty_store)).search_runs(["0"])
    assert run.info.status == "FAILED"
    assert run.data.tags["sysmetrics.error"] == _sentence(command.stderr)
    assert command.seconds < WITHIN_S


def test_unreachable_server_is_answered_with_one_sentence(project: Path, tmp_path: Path) -> None:
    """MLflow would try for minutes; the command says at once which address does not answer."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
        command = _tune(project, tmp_path, clean_environment(MLFLOW_TRACKING_URI=uri, MLFLOW_RUN_ID="0" * 32))
    assert command.stderr == f"Error: {_sentence(command.stderr)}\n"
    assert uri in command.stderr
    assert "Traceback" not in command.stdout
    assert command.exit_code != 0
    assert command.seconds < WITHIN_S
