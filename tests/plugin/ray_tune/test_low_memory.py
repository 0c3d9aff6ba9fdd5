"""What Tune's own code does when Ray has killed a trial for memory. `test_faults` has a whole study of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from mlflow_sysmetrics.ray_tune.low_memory import SAID, outlive_memory_kills


@pytest.fixture
def unchanged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ray's own method, which is there again afterwards."""
    method: Any = RayActorManager._actor_task_failed
    method = getattr(method, "__wrapped__", method)
    monkeypatch.setattr(RayActorManager, "_actor_task_failed", method)
    return method


def failed(error: Exception) -> list[Exception]:
    """What a trial is told when its process has ended so; RuntimeError if Tune ends the experiment."""
    told: list[Exception] = []
    actor = SimpleNamespace(actor_id=1, _on_error=lambda actor, error: told.append(error))
    task = SimpleNamespace(_tracked_actor=actor, _on_error=None)
    manager = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=lambda tracked_actor: None)
    RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=error)  # type: ignore[arg-type]
    return told


def test_trial_that_ray_kills_for_memory_is_one_whose_process_died(unchanged: Any) -> None:
    """Without the change the experiment ends. It is made once; what else Tune is told of stays as it was."""
    with pytest.raises(RuntimeError, match="unexpected"):
        failed(OutOfMemoryError("killed"))
    outlive_memory_kills()
    outlive_memory_kills()
    assert RayActorManager._actor_task_failed.__wrapped__ is unchanged  # type: ignore[attr-defined]
    (told,) = failed(OutOfMemoryError("killed"))
    assert isinstance(told, RayActorError)
    assert str(told) == f"killed\n{SAID}"
    died = RayActorError()
    assert failed(died) == [died]
    with pytest.raises(RuntimeError, match="unexpected"):
        failed(ValueError())


def test_ray_without_that_method_is_left_alone(unchanged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing raises."""
    monkeypatch.delattr(RayActorManager, "_actor_task_failed")
    outlive_memory_kills()
    assert not hasattr(RayActorManager, "_actor_task_failed")
