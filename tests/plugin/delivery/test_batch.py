"""Tests of mlflow_sysmetrics.delivery.batch: what fits into one request, and what becomes of what MLflow refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import store_uri
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_sysmetrics.delivery.backlog import Backlog
from mlflow_sysmetrics.delivery.batch import MAX_ENTRIES, MAX_PARAMS, MAX_TAGS, Batch, send
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.store import DeletedRunError, Store


def points(*names: str) -> list[Point]:
    """One point per name."""
    return [Point(name, 1.0, 1, 0) for name in names]


@pytest.mark.parametrize("others", [0, 5, MAX_PARAMS + 5])
def test_batch_is_the_front_of_what_waits(others: int) -> None:
    """No more than one request may hold, of each kind and in all, in order; and all of it still waits."""
    waiting = Backlog()
    waiting.append(points(*(f"m{number}" for number in range(MAX_ENTRIES + 5))))
    params = {f"p{number}": "1" for number in range(others)}
    batch = Batch.of(waiting, params, params)
    assert sum(map(len, batch)) == MAX_ENTRIES
    assert batch.points == waiting.in_memory()[: len(batch.points)]
    assert list(batch.params) == list(params)[:MAX_PARAMS]
    assert list(batch.tags) == list(params)[:MAX_TAGS]
    assert len(waiting.in_memory()) == MAX_ENTRIES + 5


@pytest.mark.parametrize(
    "bad",
    [
        {"points": points("a", "acc@1", "b")},
        {"points": points("a", "b"), "params": {"p@": "1", "q": "2"}},
        {"points": points("a", "b"), "tags": {"t@": "1"}, "params": {"q": "2"}},
        {"points": points("x@", "a", "y@", "b"), "params": {"p@": "1"}},
    ],
    ids=["metric", "param", "tag", "three"],
)
def test_entry_that_mlflow_refuses_is_left_out_alone(bad: dict[str, Any], empty_store: Path) -> None:
    """A real store has all the others, and the number of those left out is returned."""
    client, store = MlflowClient(store_uri(empty_store)), Store(store_uri(empty_store))
    run_id = client.create_run("0").info.run_id
    batch = Batch(bad["points"], bad.get("params", {}), bad.get("tags", {}))
    everything = [point.name for point in batch.points] + [*batch.params, *batch.tags]
    refused = [name for name in everything if "@" in name]
    assert send(store, run_id, batch) == len(refused)
    data = client.get_run(run_id).data
    assert set(data.metrics) == {"a", "b"}
    assert set(data.params) == {name for name in batch.params if name not in refused}
    assert not set(data.tags) & set(refused)


def test_no_entry_is_at_fault_where_the_run_was_deleted(empty_store: Path) -> None:
    """MLflow refuses the batch with the same code. The run may be restored: nothing of it is given up."""
    client, store = MlflowClient(store_uri(empty_store)), Store(store_uri(empty_store))
    run_id = client.create_run("0").info.run_id
    client.delete_run(run_id)
    with pytest.raises(DeletedRunError):
        send(store, run_id, Batch(points("a", "b"), {}, {}))
    client.restore_run(run_id)
    assert send(store, run_id, Batch(points("a", "b"), {}, {})) == 0


def test_other_failures_are_raised() -> None:
    """An outage is not a refusal: the batch is not taken apart, and nothing of it is given up."""
    requests = []

    class Away(Store):
        def log_batch(self, *arguments: Any) -> None:
            requests.append(arguments)
            raise MlflowException("the store is away")

    with pytest.raises(MlflowException, match="away"):
        send(Away("sqlite:///nowhere.db"), "abc", Batch(points("a", "b"), {}, {}))
    assert len(requests) == 1
