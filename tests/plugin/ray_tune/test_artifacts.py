"""The files of trials, on their way into runs: slow, hanging and failing uploads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from commands import wait_until
from mlflow import MlflowClient

from mlflow_sysmetrics.ray_tune.artifacts import Artifacts
from mlflow_sysmetrics.ray_tune.destination import find_destination
from mlflow_sysmetrics.ray_tune.endings import FINISHED
from mlflow_sysmetrics.ray_tune.trial_runs import TrialRuns

LIMIT_S = 10.0


class Uploads(MlflowClient):
    """Uploads that wait until they are let on, or fail."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.open, self.begun = threading.Event(), threading.Event()
        self.done: list[tuple[str, str]] = []

    def log_artifacts(self, run_id: str, folder: str, *more: Any) -> None:  # type: ignore[override]
        """Note what was copied where."""
        self.begun.set()
        self.open.wait(2 * LIMIT_S)
        if folder == "broken":
            raise OSError("no such folder")
        self.done.append((run_id, folder))


@pytest.fixture
def uploads(client: MlflowClient) -> Iterator[Uploads]:
    """On a real store; let on at last."""
    made = Uploads(client.tracking_uri)
    yield made
    made.open.set()


def test_folders_are_copied_one_after_the_other(uploads: Uploads, caplog: pytest.LogCaptureFixture) -> None:
    """One that cannot be read, and one of a trial that has no run, cost a warning each."""
    uploads.open.set()
    artifacts = Artifacts(uploads, lambda trial_id: None if trial_id == "none" else f"run of {trial_id}")
    for trial_id, folder in (("a", "one"), ("b", "broken"), ("none", "x"), ("c", "two")):
        artifacts.save(trial_id, folder)
    artifacts.close(LIMIT_S)
    assert uploads.done == [("run of a", "one"), ("run of c", "two")]
    assert [record.getMessage() for record in caplog.records] == [
        "the files of trial b are not in its run",
        "the files of trial none are not in its run",
    ]


def test_runs_end_before_slow_uploads(uploads: Uploads) -> None:
    """The time that is left at the end is for them first."""
    named = dict.fromkeys(("experiment_name", "parent_run_id", "study_id"))
    runs = TrialRuns(uploads, find_destination(uploads, experiment_id="1", **named), {}, (), 1.0)
    runs.start()
    for trial_id in ("ended", "swept"):
        runs.open(trial_id, name=trial_id, tags={}, study_name="study")
    runs.save_files("ended", "folder")
    runs.end("ended", FINISHED)
    assert uploads.begun.wait(LIMIT_S)
    ends = {"ended": "FINISHED", "swept": "KILLED", "study": "KILLED"}

    def let_on_when_all_have_ended() -> None:
        found = MlflowClient(uploads.tracking_uri)
        wait_until(
            lambda: {run.info.run_name: run.info.status for run in found.search_runs(["1"])} == ends, LIMIT_S, "ends"
        )
        uploads.open.set()

    thread = threading.Thread(target=let_on_when_all_have_ended)
    thread.start()
    assert runs.close(60.0)
    thread.join(LIMIT_S)
    assert uploads.open.is_set()
    assert uploads.done == [(runs.run_id("ended"), "folder")]


def test_upload_that_takes_too_long_is_told(uploads: Uploads, caplog: pytest.LogCaptureFixture) -> None:
    """With what waits behind it."""
    artifacts = Artifacts(uploads, str)
    for trial_id in ("a", "b"):
        artifacts.save(trial_id, "folder")
    artifacts.close(0.0)
    assert "those of 2 trials are not in their runs" in caplog.text


def test_upload_that_hangs_does_not_hold_up_the_end_of_the_interpreter(uploads: Uploads) -> None:
    """Its thread is left behind: a daemon's end is not awaited."""
    others, artifacts = set(threading.enumerate()), Artifacts(uploads, str)
    artifacts.save("a", "folder")
    assert uploads.begun.wait(LIMIT_S)
    artifacts.close(0.0)
    ours = set(threading.enumerate()) - others
    assert [thread.daemon for thread in ours] == [True] * len(ours)
    assert ours
