"""How a study ends when a person or the system ends it: soon, with its runs marked and no process left."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil
import pytest
from commands import Command, StartProject, Study, children, copy_store, listening, runs_of_kind, store_uri, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = pytest.mark.slow  # a default test of a run's end is in test_signals

ENDED_WITHIN_S = 30.0  # 8 s where something hangs, and then some on a busy machine
ENDINGS = {
    "SIGINT to the group": (signal.SIGINT, True),
    "SIGTERM to the group": (signal.SIGTERM, True),
    "SIGTERM to mlflow run": (signal.SIGTERM, False),
}
# Far more trials of a second or less than the tests wait for; the data is prepared in the small study's store.
SEARCH = {
    "space": json.dumps(
        {"batch_size": 64, "learning_rate": [rate / 100_000 for rate in range(1, 201)], "alpha": 0.001}
    ),
    "folds": "3",
    "max_steps": "500",
    "cpus": "1",
}


@dataclass(frozen=True)
class EarlyEnd:
    """A study that was ended in mid-search: what was there just before, and what a moment later."""

    command: Command
    seconds: float
    processes_before: list[str]
    listening_before: set[str]
    processes_after: list[str]
    finished_before: dict[str, Run]
    client: MlflowClient
    study: Run

    @property
    def trials(self) -> list[Run]:
        """The study's trials as they are now."""
        return children(self.client, self.study, "trial")


@pytest.fixture(scope="module", params=ENDINGS)
def ending(
    request: pytest.FixtureRequest,
    study: Study,
    start_project: StartProject,
    tmp_path_factory: pytest.TempPathFactory,
) -> EarlyEnd:
    """Wait until two trials have finished, send the signal, and wait until all processes have ended."""
    folder = copy_store(study.folder, tmp_path_factory.mktemp("search"))
    command, client = start_project("tune", folder, **SEARCH), MlflowClient(store_uri(folder))
    wait_until(lambda: len(_finished_trials(client)) >= 2, 120, "two finished trials in the store")
    before, finished = list(command.processes().values()), _finished_trials(client)
    addresses = listening(command.processes())
    number, group = ENDINGS[request.param]
    sent = time.monotonic()
    command.signal(number, group=group)
    with suppress(subprocess.TimeoutExpired):
        command.process.wait(3 * ENDED_WITHIN_S)
    while (living := command.processes()) and (left_s := sent + 3 * ENDED_WITHIN_S - time.monotonic()) > 0:
        psutil.wait_procs(living, left_s)
    seconds = time.monotonic() - sent
    after = list(command.processes().values())
    command.kill()
    study = _study_of_search(client)
    assert study
    return EarlyEnd(command, seconds, before, addresses, after, finished, client, study)


def _study_of_search(client: MlflowClient) -> Run | None:
    """The study of these tests: the store has an older one, with other parameters."""
    studies = [run for run in runs_of_kind(client, "study") if run.data.params.get("cpus") == SEARCH["cpus"]]
    studies = [run for run in studies if run.data.params["space"] == shlex.quote(SEARCH["space"])]
    return studies[0] if studies else None


def _finished_trials(client: MlflowClient) -> dict[str, Run]:
    study = _study_of_search(client)
    trials = children(client, study, "trial") if study else []
    return {run.info.run_id: run for run in trials if run.info.status == "FINISHED"}


def test_search_had_processes_of_all_kinds(ending: EarlyEnd) -> None:
    """The tests below are worth something: `mlflow run`, the study, Ray and a trial were seen before the signal."""
    for kind in ("mlflow run", "entrypoints.tune", "raylet", "ray::"):
        assert any(kind in line for line in ending.processes_before)


def test_study_listens_on_loopback_alone(ending: EarlyEnd) -> None:
    """Neither the command nor a process of its Ray answers another machine."""
    assert ending.listening_before == {"127.0.0.1"}


def test_everything_ends_in_time(ending: EarlyEnd) -> None:
    """Soon after the signal no process of the command is left, those of Ray included."""
    assert ending.processes_after == []
    assert ending.seconds < ENDED_WITHIN_S


def test_exit_code_is_not_zero(ending: EarlyEnd) -> None:
    """A shell script sees that the study did not come to its end."""
    assert ending.command.process.returncode != 0


def test_no_run_stays_running(ending: EarlyEnd) -> None:
    """The study is KILLED, and so are the trials that were under way; nothing waits for ever in the UI."""
    assert ending.client.search_runs(["0"], "attributes.status = 'RUNNING'") == []
    assert ending.study.info.status == "KILLED"
    assert {run.info.status for run in ending.trials} == {"FINISHED", "KILLED"}


def test_finished_trials_keep_what_they_have(ending: EarlyEnd) -> None:
    """A trial that had come to its end stays FINISHED with all of its metrics."""
    assert len(ending.finished_before) >= 2
    for run_id, before in ending.finished_before.items():
        now = ending.client.get_run(run_id)
        assert now.info.status == "FINISHED"
        assert now.data.metrics == before.data.metrics
        assert "test_rmse" in now.data.metrics


def test_user_is_told_and_sees_no_traceback(ending: EarlyEnd) -> None:
    """The study says what stopped it and where its data is; it shows none of its own code."""
    assert "What was measured is in MLflow." in ending.command.stderr
    assert "entrypoints/" not in ending.command.stderr
