"""What Tune's own code does when Ray has killed a trial for memory. `test_faults` has a whole study of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from mlflow_sysmetrics.ray_tune.low_memory import SAID, outlive_memory_kills

METHODS = ("_actor_start_failed", "_actor_task_failed")


@pytest.fixture
def unchanged(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Ray's own methods, which are there again afterwards."""
    methods = {}
    for name in METHODS:
        method: Any = getattr(RayActorManager, name)
        methods[name] = getattr(method, "__wrapped__", method)
        monkeypatch.setattr(RayActorManager, name, methods[name])
    return methods


def failed(error: Exception, *, in_setup: bool = False) -> list[Exception]:
    """What a trial is told when its process has ended so; RuntimeError if Tune ends the experiment."""
    told: list[Exception] = []
    actor = SimpleNamespace(actor_id=1, _on_error=lambda actor, error: told.append(error))
    manager: Any = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=lambda tracked_actor: None)
    if in_setup:
        RayActorManager._actor_start_failed(manager, tracked_actor=actor, exception=error)  # type: ignore[arg-type]
    else:
        task: Any = SimpleNamespace(_tracked_actor=actor, _on_error=None)
        RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=error)
    return told


def test_trial_that_ray_kills_for_memory_is_one_whose_process_died(unchanged: dict[str, Any]) -> None:
    """Without the change the experiment ends. It is made once; what else Tune is told of stays as it was."""
    with pytest.raises(RuntimeError, match="unexpected"):
        failed(OutOfMemoryError("killed"))
    outlive_memory_kills()
    outlive_memory_kills()
    assert {name: getattr(RayActorManager, name).__wrapped__ for name in METHODS} == unchanged
    for in_setup in (True, False):
        (told,) = failed(OutOfMemoryError("killed"), in_setup=in_setup)
        assert isinstance(told, RayActorError)
        assert str(told) == f"killed\n{SAID}"
        died = RayActorError()
        assert failed(died, in_setup=in_setup) == [died]
    with pytest.raises(RuntimeError, match="unexpected"):
        failed(ValueError())


@pytest.mark.usefixtures("unchanged")
def test_ray_without_those_methods_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing raises."""
    for name in METHODS:
        monkeypatch.delattr(RayActorManager, name)
    outlive_memory_kills()
    assert not any(hasattr(RayActorManager, name) for name in METHODS)
