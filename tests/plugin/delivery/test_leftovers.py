"""What a writer could not write: on disk, and from there into a real store, once."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hung_disk import hung_disk
from mlflow import MlflowClient
from mlflow.entities import Run

from mlflow_sysmetrics.delivery.leftovers import keep
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import Header, SpoolFile
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.delivery.sync import Delivered, deliver
from mlflow_sysmetrics.delivery.writer import Writer

LIMIT_S = 10.0
WAITING = [Point("loss", 1.0 / step, 1000 + step, step) for step in range(1, 4)]

OF_TUNE = {"sysmetrics.study_id": "sweep"}  # which may restore the experiment


def test_run_that_was_left_open_is_completed(client: MlflowClient, tmp_path: Path) -> None:
    """Its points, tags, parameters, and how and when it ended; the file is gone then."""
    run_id = client.create_run("0").info.run_id
    header = Header(run_id, client.tracking_uri, {"a": "b"}, {"alpha": "0.1"}, "KILLED", 5_000)
    assert keep([(header, WAITING)], tmp_path) == 1
    assert deliver(tmp_path) == Delivered(runs=1, points=3)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time) == ("KILLED", 5_000)
    assert run.data.params == {"alpha": "0.1"}
    assert run.data.tags["a"] == "b"
    assert len(client.get_metric_history(run_id, "loss")) == 3
    assert list(tmp_path.glob("*.jsonl")) == []


@pytest.mark.parametrize("known", [True, False], ids=["known", "created-unsaid"])
def test_run_that_has_ended_again_since_gets_what_it_lacks(client: MlflowClient, tmp_path: Path, known: bool) -> None:
    """As after `Tuner.restore`: how it ended then is over, and no step comes twice, but for numbers of samples."""
    created = {"sysmetrics.trial_id": "t1"} | OF_TUNE
    run_id = client.create_run("0", 4_000, created).info.run_id
    client.set_tag(run_id, "sysmetrics.pid", "2")
    for step, value in ((1, 7.0), (4, 0.25)):
        client.log_metric(run_id, "loss", value, 6_000, step)
    client.log_metric(run_id, "elapsed_s", 9.0, 6_000)
    client.set_terminated(run_id, "FINISHED", 6_000)
    told = {"stop_reason": "limit", "error": "x", "pid": "1", "not_finite": "loss is nan at step 2"}
    told = {f"sysmetrics.{name}": text for name, text in told.items()}
    left = Header(run_id * known, client.tracking_uri, created, {}, "KILLED", 5_000, "0", 4_000, new_tags=told)
    for missing in (2, 0):
        others = [Point("elapsed_s", 3.0, 5_000, 0), Point("system/process_threads", 2.0, 4_500 + missing, 1)]
        assert keep([(left, [*WAITING, *others])], tmp_path) == 1
        assert deliver(tmp_path) == Delivered(runs=1, points=missing + 1)
        run = client.get_run(run_id)
        assert (run.info.status, run.info.end_time) == ("FINISHED", 6_000)
        assert {name: text for name, text in run.data.tags.items() if name.startswith("sysmetrics.")} == {
            **created, "sysmetrics.pid": "2", "sysmetrics.not_finite": "loss is nan at step 2",
        }  # fmt: skip
        steps = sorted((each.step, each.value) for each in client.get_metric_history(run_id, "loss"))
        assert steps == [(1, 7.0), (2, 1 / 2), (3, pytest.approx(1 / 3)), (4, 0.25)]
        assert run.data.metrics["elapsed_s"] == 9.0
    assert len(client.get_metric_history(run_id, "system/process_threads")) == 2
    assert list(tmp_path.glob("*.jsonl")) == []


def test_run_that_goes_on_keeps_going(client: MlflowClient, tmp_path: Path) -> None:
    """Somebody calls `sync` while the restored experiment still runs."""
    run_id = client.create_run("0", 4_000, OF_TUNE).info.run_id
    client.log_metric(run_id, "loss", 7.0, 6_000, 3)
    stopped = {"sysmetrics.stopped_by": "experiment_end"}
    left = Header(run_id, client.tracking_uri, {}, {}, "KILLED", 5_000, new_tags=stopped)
    assert keep([(left, WAITING)], tmp_path) == 1
    assert deliver(tmp_path) == Delivered(runs=1, points=2)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics["loss"]) == ("RUNNING", 7.0)
    assert "sysmetrics.stopped_by" not in run.data.tags


@pytest.mark.parametrize("status", ["KILLED", None], ids=["its own end", "its starter's"])
def test_run_that_tune_does_not_restore_gets_all_that_waits(
    client: MlflowClient, tmp_path: Path, status: str | None
) -> None:
    """Who started the run has ended it by then, which must not lose what ended the program."""
    run_id = client.create_run("0", 4_000).info.run_id
    client.set_terminated(run_id, "FAILED", 6_000)
    told = {"sysmetrics.stop_reason": "peak_memory_mb 9 > 8"}
    left = Header(run_id, client.tracking_uri, {}, {}, status, 5_000, new_tags=told)
    assert keep([(left, WAITING)], tmp_path) == 1
    assert deliver(tmp_path) == Delivered(runs=1, points=3)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags.items() >= told.items()) == (status or "FAILED", True)


@pytest.mark.parametrize("end_ms", [4_500, 6_000], ids=["earlier", "swept"])
def test_run_gets_its_end_in_place_of_an_older_one(client: MlflowClient, tmp_path: Path, end_ms: int) -> None:
    """It went on while the store was away; or it had come to its end, of which a restored experiment did not know."""
    run_id = client.create_run("0", 4_000, OF_TUNE).info.run_id
    for name, text in (("stopped_by", "experiment_end"), ("stop_reason", "the experiment ended"), ("pid", "1")):
        client.set_tag(run_id, f"sysmetrics.{name}", text)
    client.set_terminated(run_id, "KILLED", end_ms)
    left = Header(run_id, client.tracking_uri, {}, {}, "FINISHED", 5_000)
    assert keep([(left, WAITING)], tmp_path) == 1
    assert deliver(tmp_path) == Delivered(runs=1, points=3)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time) == ("FINISHED", 5_000)
    assert {name for name in run.data.tags if name.startswith("sysmetrics.")} == {"sysmetrics.pid", *OF_TUNE}


def test_run_that_was_never_created_is_created_once(client: MlflowClient, tmp_path: Path) -> None:
    """Also if an attempt to deliver it has ended right after its creation."""
    tags = {"sysmetrics.trial_id": "t1"}
    header = Header("", client.tracking_uri, tags, {}, "FINISHED", 9_000, "0", 4_000, "trial 1")
    client.create_run("0", 4_000, tags, "trial 1")
    assert keep([(header, WAITING)], tmp_path) == 1
    assert deliver(tmp_path) == Delivered(runs=1, points=3)
    (run,) = client.search_runs(["0"])
    assert (run.info.run_name, run.info.status, run.info.start_time) == ("trial 1", "FINISHED", 4_000)
    assert run.data.metrics == {"loss": pytest.approx(1 / 3)}


def test_run_whose_end_alone_is_missing_stays_until_the_store_takes_it(client: MlflowClient, tmp_path: Path) -> None:
    """A spool without points is not empty."""
    run_id = client.create_run("0").info.run_id
    header = Header(run_id, client.tracking_uri, status="FINISHED", end_ms=7_000)
    assert keep([(header, [])], tmp_path) == 1
    assert len(deliver(tmp_path, "http://127.0.0.1:9").left) == 1
    assert client.get_run(run_id).info.status == "RUNNING"
    assert deliver(tmp_path) == Delivered(runs=1)
    assert client.get_run(run_id).info.status == "FINISHED"


def test_place_that_cannot_be_written_costs_no_exception(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says what is lost."""
    (tmp_path / "file").write_text("")
    header = Header("abc", "sqlite:///x.db", name="trial 1")
    assert keep([(header, WAITING)], tmp_path / "file" / "below") == 0
    assert "trial 1 is lost" in caplog.text


def test_points_that_cannot_be_written_cost_no_exception(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor do they cost the other runs anything."""
    odd = [Point("loss", object(), 1000, 1)]  # type: ignore[arg-type]
    assert keep([(Header("abc", "sqlite:///x.db"), odd), (Header("def", "sqlite:///x.db"), WAITING)], tmp_path) == 2
    assert "1 points of run abc are lost" in caplog.text
    assert sum(b"loss" in path.read_bytes() for path in tmp_path.iterdir()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk_keeps_how_runs_ended_and_is_told_once(
    client: MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where points do not fit any more, statuses and parameters do."""
    import resource

    many = [Point("loss", 1.0, 1000 + step, step) for step in range(1000)]
    runs = [client.create_run("0", run_name=f"trial {number}").info for number in range(3)]
    left = [
        (Header(run.run_id, client.tracking_uri, status="KILLED", end_ms=5, name=run.run_name), many) for run in runs
    ]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        assert keep(left, tmp_path / "spools") == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("1000 points of run trial 0 are lost.")
    assert "2 more runs" in told
    assert deliver(tmp_path / "spools") == Delivered(runs=3)
    assert {run.info.status for run in client.search_runs(["0"])} == {"KILLED"}


def test_how_all_runs_ended_is_kept_before_any_points(client: MlflowClient, tmp_path: Path) -> None:
    """A disk that becomes full of points then costs points alone."""

    class Counting(list[Point]):
        kept_before: int | None = None

        def __iter__(self) -> Any:
            self.kept_before = len(list((tmp_path / "spools").iterdir()))
            return super().__iter__()

    runs = [(Header(str(number), client.tracking_uri), Counting(WAITING)) for number in range(3)]
    assert keep(runs, tmp_path / "spools") == 3
    assert [points.kept_before for _, points in runs] == [3, 3, 3]


def test_a_disk_that_hangs_costs_a_limited_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The end of an experiment does not wait for it, and says so."""
    with hung_disk(tmp_path):
        began = time.monotonic()
        assert keep([(Header("abc", "sqlite:///x.db"), WAITING)], tmp_path, within_s=0.2) == 0
        assert time.monotonic() - began < LIMIT_S / 2
    assert "the disk did not answer" in caplog.text


# --- trials and the run around them ------------------------------------------------------------------------


class GoingAway(Store):
    """A store that creates this number of runs and then hangs, or even with the answer about the last of them."""

    def __init__(self, client: MlflowClient, creates: int, silent: bool = False) -> None:
        super().__init__(client.tracking_uri)
        self._creates, self._silent = creates, silent
        self.created, self.hangs_no_more = threading.Event(), threading.Event()

    def create_run(self, *arguments: Any) -> str:
        if not self._creates:
            self._is_away()
        self._creates -= 1
        run_id = super().create_run(*arguments)
        if not self._creates:
            self.created.set()
            if self._silent:
                self._is_away()
        return run_id

    def created_run(self, *arguments: Any) -> str | None:
        return self._is_away()

    def log_batch(self, *arguments: Any) -> None:
        self._is_away()

    def set_status(self, *arguments: Any) -> None:
        self._is_away()

    def _is_away(self) -> None:
        self.hangs_no_more.wait(LIMIT_S)
        raise ConnectionError("the store is away")


def leave(store: GoingAway, folder: Path, creates: int) -> None:
    """Leave a study of three trials, of which the store has taken the first runs alone."""
    writer = Writer(store, every_s=0.001)
    writer.start()
    writer.create("study", experiment_id="0", name="study", tags={"sysmetrics.kind": "study"})
    if creates:
        assert store.created.wait(LIMIT_S)
    for number in range(3):
        key = f"trial {number}"
        writer.create(key, experiment_id="0", name=key, tags={"sysmetrics.trial_id": key}, parent="study")
        writer.log(key, WAITING, tags={"sysmetrics.late": "told after its creation"})
        writer.end(key, "FINISHED")
    writer.end("study", "FINISHED")
    assert not writer.close(0.1)
    keep(writer.left(store.tracking_uri), folder)
    store.hangs_no_more.set()


def nested(client: MlflowClient) -> tuple[Run, list[Run]]:
    """The one study of the store, and the trials below it."""
    runs = client.search_runs(["0"])
    (study,) = [run for run in runs if run.info.run_name == "study"]
    return study, [run for run in runs if run.data.tags.get("mlflow.parentRunId") == study.info.run_id]


TAKEN = {"nothing": (0, False), "study": (1, False), "study-unsaid": (1, True)}


@pytest.mark.parametrize(("creates", "silent"), TAKEN.values(), ids=list(TAKEN))
def test_trials_are_nested_whatever_the_store_took(
    creates: int, silent: bool, client: MlflowClient, tmp_path: Path
) -> None:
    """Nothing, or the study's run, whose creation the store may not have told: one study, and all trials below it."""
    leave(GoingAway(client, creates, silent), tmp_path, creates)
    assert deliver(tmp_path).points == 9
    study, trials = nested(client)
    assert sorted(run.info.run_name for run in trials) == ["trial 0", "trial 1", "trial 2"]
    assert {run.info.status for run in (study, *trials)} == {"FINISHED"}
    assert list(tmp_path.glob("*.jsonl")) == []


def test_trials_are_nested_below_a_study_whose_own_spool_is_lost(client: MlflowClient, tmp_path: Path) -> None:
    """Trials know enough of it to create it and to end it; while other spools are in use, they wait for it."""
    leave(GoingAway(client, 0), tmp_path, 0)
    (path,) = [
        path for path in tmp_path.glob("*.jsonl") if b'"name": "study"' in path.read_bytes().partition(b', "parent"')[0]
    ]
    spool = SpoolFile.open(path)
    answer = deliver(tmp_path)
    assert (answer.in_use, answer.runs, len(answer.left)) == (1, 0, 3)
    assert client.search_runs(["0"]) == []
    spool.close()  # which removes it: it has no points
    assert deliver(tmp_path) == Delivered(runs=3, points=9)
    study, trials = nested(client)
    assert (study.info.status, len(trials)) == ("FINISHED", 3)


def test_run_that_the_store_did_not_tell_of_is_found(client: MlflowClient, tmp_path: Path) -> None:
    """It is completed, with the tags that came later, and not created again."""
    store = GoingAway(client, 1, silent=True)
    writer = Writer(store, every_s=0.001)
    writer.start()
    writer.create("a", experiment_id="0", name="a", tags={"sysmetrics.trial_id": "a"})
    writer.end("a", "KILLED", tags={"sysmetrics.stop_reason": "limit"})
    assert store.created.wait(LIMIT_S)
    assert not writer.close(0.1)
    keep(writer.left(store.tracking_uri), tmp_path)
    store.hangs_no_more.set()
    assert deliver(tmp_path).runs == 1
    (run,) = client.search_runs(["0"])
    assert (run.info.status, run.data.tags["sysmetrics.stop_reason"]) == ("KILLED", "limit")
