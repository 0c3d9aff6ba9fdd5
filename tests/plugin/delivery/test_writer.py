"""The writer's thread: nobody waits for the store, an outage is told once, and the end is bounded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hung_disk import hung_disk
from mlflow import MlflowClient
from scripted_store import LIMIT_S, Kept, ScriptedStore

from mlflow_sysmetrics.delivery import journal as journals
from mlflow_sysmetrics.delivery import outbox as outboxes
from mlflow_sysmetrics.delivery import writer as writers
from mlflow_sysmetrics.delivery.operations import Operation, Point, log
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.delivery.sync import deliver
from mlflow_sysmetrics.delivery.writer import Writer


@pytest.fixture
def store() -> ScriptedStore:
    """A store in memory."""
    return ScriptedStore()


@pytest.fixture
def writer(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    """A writer that repeats what failed after milliseconds."""
    monkeypatch.setattr(writers, "MAX_PAUSE_S", 0.01)
    writer = Writer(store, every_s=0.01)
    writer.start()
    yield writer
    store.open.set()
    writer.close(0.5)


def points(*values: float, first: int = 0) -> list[Point]:
    """One for each value, at steps that count up."""
    return [Point("loss", value, 1000 + step, step) for step, value in enumerate(values, first)]


def test_run_in_mlflow_holds_all_that_was_logged(client: MlflowClient) -> None:
    """More than one request takes, texts as its databases can hold them, and all around a name that it refuses."""
    writer = Writer(Store(client.tracking_uri))
    writer.start()
    writer.create("study", experiment_id="0", name="study", start_ms=4_000)
    writer.create("a", experiment_id="0", name="trial\0" * 100, tags={"long": "x" * 9000}, parent="study")
    params: dict[Any, Any] = {number: number for number in range(250)}
    params |= {"url": "http://me:hush42@there", "odd@": 1, "file": "a\udc80b\0c"}
    writer.add("a", log([*points(*range(1500)), *points(float("nan"), float("inf"), first=2000)], params=params))
    writer.add("a", log([Point("system/x", 1.0, 0)], summary={"elapsed_s": 2.0}, tags={"b@d": "no"}))
    writer.end("a", "KILLED", tags={"sysmetrics.stop_reason": "limit"})
    writer.end("study", "FINISHED")
    assert writer.close(60)
    assert writer.close(60)
    run, study = client.get_run(str(writer.run_id("a"))), client.get_run(str(writer.run_id("study")))
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == list(range(1500))
    assert len(run.data.params) == 252
    assert (run.data.params["url"], run.data.params["file"]) == ("http://there", "a?bc")
    assert run.info.run_name == "trial" * 50
    assert (len(run.data.tags["long"]), run.data.tags["mlflow.parentRunId"]) == (5000, study.info.run_id)
    assert client.get_metric_history(run.info.run_id, "system/x")[0].step == -run.info.start_time // 100
    assert run.data.metrics.items() >= {"elapsed_s": 2.0}.items()
    assert (run.info.status, run.data.tags["sysmetrics.stop_reason"]) == ("KILLED", "limit")
    assert (study.info.status, study.info.start_time) == ("FINISHED", 4_000)


def test_caller_never_waits_for_the_store(writer: Writer, store: ScriptedStore) -> None:
    """While the store holds the thread in a request, every method returns; what they queued is written later."""
    store.open.clear()
    began = time.monotonic()
    writer.create("a", experiment_id="0", name="a")
    assert store.entered.wait(LIMIT_S)
    writer.create("a", experiment_id="0", name="again")
    writer.create("b", experiment_id="0", name="b", parent="a")
    for key in "ab":
        writer.add(key, log(points(1.0, 2.0)))
        writer.add(key, [Operation("repeat")])
    assert (writer.open_keys(), writer.run_id("a"), writer.run_id("c")) == (["a", "b"], None, None)
    writer.end("a", "FINISHED")
    assert [writer.is_open(key) for key in "abc"] == [False, True, False]
    assert time.monotonic() - began < LIMIT_S / 2
    store.open.set()
    store.until(lambda: len(store.runs) == 2 and len(store.named("b").points) == 2)
    assert (store.named("a").status, len(store.named("a").points)) == ("FINISHED", 2)
    assert store.named("b").tags["mlflow.parentRunId"] == writer.run_id("a")
    with pytest.raises(KeyError):
        writer.add("a", log(points(3.0)))
    writer.create("a", experiment_id="0", tags={"again": "yes"})
    writer.add("a", log([Point("loss", value, 9_000, 1) for value in (2.0, 9.0)]))
    store.until(lambda: len(store.named("a").points) == 3)
    assert (store.named("a").status, [point[1] for point in store.named("a").points]) == ("RUNNING", [1.0, 2.0, 9.0])


def test_outage_is_two_lines_of_log(writer: Writer, store: ScriptedStore, caplog: pytest.LogCaptureFixture) -> None:
    """However many attempts fail, of however many runs. Meanwhile runs that the store takes go on."""
    store.away = lambda request, run: run in ("a", "b")
    for key in "abc":
        writer.create(key, experiment_id="0", name=key)
        writer.end(key, "FINISHED")
    store.until(lambda: store.asked.count(("find", "b")) > 3)
    assert store.named("c").status == "FINISHED"
    store.until(lambda: writer.is_away)
    store.away = lambda request, run: False
    store.until(lambda: len(store.runs) == 3 and not writer.is_away)
    assert writer.close(LIMIT_S)
    said = [record.getMessage() for record in caplog.records]
    told = "MLflow does not take the data of run 'a'; it waits. the store is away"
    assert said == [told, "MLflow takes the data of run 'a' again"]


def test_name_of_a_metric_that_mlflow_refuses_is_told_once(
    writer: Writer, store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It is found by halves the first time; later it costs no request, and what is logged with it arrives."""
    writer.create("a", experiment_id="0", name="a")
    store.until(lambda: store.runs)
    for step in range(3):
        writer.add("a", log([*points(1.0, first=step), Point("acc@1", 0.5, 1000, step)]))
        store.until(lambda number=step + 1: len(store.named("a").points) == number)
    assert writer.close(LIMIT_S)
    assert [request for request, _ in store.asked] == ["create", *["log"] * (3 + 1 + 1)]
    assert ["'acc@1'" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "fails"])
def test_close_is_bounded_and_what_is_left_is_kept(
    hangs: bool, store: ScriptedStore, writer: Writer, client: MlflowClient
) -> None:
    """The end of the program does not wait for the store; `sync` finds trials below the run around them."""
    store.away = lambda request, run: not hangs
    if hangs:
        store.open.clear()
    writer.create("study", experiment_id="0", name="study")
    for key in ("x", "y"):
        writer.create(key, experiment_id="0", name=key, parent="study")
        writer.add(key, log(points(1.0, 2.0)))
        writer.end(key, "FINISHED")
    began = time.monotonic()
    assert not writer.close(0.3)
    assert 0.2 < time.monotonic() - began < LIMIT_S / 2
    assert writer.keep() == 3
    delivered = deliver(tracking_uri=client.tracking_uri)
    assert (delivered.left, delivered.counts["points"], len(delivered.runs)) == ([], 4, 3)
    runs = {run.info.run_name: run for run in client.search_runs(["0"])}
    assert runs["x"].data.tags["mlflow.parentRunId"] == runs["study"].info.run_id
    assert [runs[name].info.status for name in ("study", "x", "y")] == ["RUNNING", "FINISHED", "FINISHED"]


def test_close_does_not_wait_out_a_pause(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is back by then gets the data, however long the pause is; and points that are not due yet."""
    monkeypatch.setattr(writers, "MIN_PAUSE_S", 3600.0)
    monkeypatch.setattr(writers, "MAX_PAUSE_S", 3600.0)
    writer = Writer(store, every_s=3600)
    writer.start()
    store.runs["known"] = Kept(0, {}, "a")
    store.fates.append("before")
    writer.create("a", experiment_id="0", run_id="known")
    store.until(lambda: writer.is_away)
    time.sleep(0.1)
    assert writer.is_away, "it is not asked again at once"
    writer.add("a", log(points(1.0)))
    assert writer.close(LIMIT_S)
    assert len(store.named("a").points) == 1
    assert store.timeout_s == writers.MIN_TIMEOUT_S


def test_close_does_not_wait_for_a_run_that_the_store_does_not_know(store: ScriptedStore, writer: Writer) -> None:
    """What waits for it is kept: it may be another store's."""
    writer.create("a", experiment_id="0", run_id="unknown")
    began = time.monotonic()
    assert not writer.close(LIMIT_S)
    assert time.monotonic() - began < LIMIT_S / 2
    assert writer.keep() == 1


def test_memory_of_an_outage_is_bounded(store: ScriptedStore, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their values the oldest points are given up, nothing else is, nor what was on its way in a request."""
    monkeypatch.setattr(outboxes, "MAX_WAITING", 10)
    writer.create("a", experiment_id="0", name="a")
    store.until(lambda: store.runs)
    store.open.clear()
    store.entered.clear()
    writer.add("a", log(points(*range(5))))
    assert store.entered.wait(LIMIT_S)
    pairs = [Point(name, 1.0, 1000 + step, step) for step in range(5, 30) for name in ("loss", "score")]
    writer.add("a", log(pairs, params={"alpha": 1}))
    store.open.set()
    store.until(lambda: store.named("a").params)
    assert [point[3] for point in store.named("a").points] == [*range(5), 26, 26, 27, 27, 28, 28, 29, 29]


def test_run_that_the_disk_does_not_take_costs_only_itself(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs after it are kept, and nothing of it is in the way of their delivery."""
    monkeypatch.setattr(journals, "_MAX_BYTES", 1000)
    writer = Writer(Store(client.tracking_uri))
    for key, number in (("a", 1), ("b", 100), ("c", 1)):
        writer.create(key, experiment_id="0", name=key)
        writer.add(key, log(points(*range(number))))
    assert writer.keep() == 2
    delivered = deliver()
    assert (delivered.left, delivered.counts["points"], len(delivered.runs)) == ([], 2, 2)


@pytest.mark.parametrize("disk", ["hangs", "is in the way"])
def test_disk_that_keeps_nothing_costs_a_limited_time(
    disk: str, store: ScriptedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of an experiment does not wait for it, and says what is lost."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / ("journals" if disk == "hangs" else "file/journals")))
    monkeypatch.setattr(writers, "_KEPT_WITHIN_S", 0.2)
    writer = Writer(store)
    writer.create("a", experiment_id="0", name="a")
    with hung_disk(tmp_path / "journals"):
        assert writer.keep() == 0
    assert "data of 1 runs that MLflow did not take is lost" in caplog.text
