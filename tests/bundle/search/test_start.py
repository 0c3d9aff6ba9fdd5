"""In which order a study begins."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from study_settings import study_settings

from entrypoints.search import start


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        pytest.param({}, [], id="usual"),
        pytest.param({"algorithm": "own.Model"}, ["run"], id="own module"),
        pytest.param({"register": "name"}, ["run"], id="registry"),
    ],
)
def test_ray_starts_before_the_run_is_opened(
    settings: dict[str, Any], first: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow is imported for that, meanwhile. Only what needs MLflow in the plan is done after it."""
    order: list[str] = []

    @contextlib.contextmanager
    def place() -> Iterator[None]:
        order.append("place")
        yield
        order.append("left")

    def planned(*_: object, **__: object) -> Any:
        order.append("plan")
        return SimpleNamespace(place=place())

    monkeypatch.setattr(start, "planned", planned)
    study = SimpleNamespace(run_study=lambda *_: order.append("study"))
    monkeypatch.setitem(sys.modules, "entrypoints.search.study", study)
    command: Any = SimpleNamespace(open=lambda: order.append("run"))
    start.begin(command, study_settings(**settings), folder=Path())
    assert order == [*first, "plan", "place", "run", "study", "left"]
