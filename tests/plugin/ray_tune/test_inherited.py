"""Trials' processes forget the driver's run; one that they were given on purpose stays."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_sysmetrics.ray_tune.inherited import forget_run


@pytest.mark.parametrize(
    ("here", "parent", "there", "kept"),
    [
        pytest.param("a", None, "a", False, id="inherited"),
        pytest.param(None, "a", "a", False, id="the-driver-has-made-it-its-active-run"),
        pytest.param("a", "a", "b", True, id="given-to-workers-on-purpose"),
        pytest.param("a", "a", None, False, id="none"),
        pytest.param(None, None, "a", True, id="no-run-here"),
    ],
)
def test_process_forgets_the_drivers_run(
    here: str | None, parent: str | None, there: str | None, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That in the environment here, and that around the trials."""
    asked: list[Any] = []
    _set(monkeypatch, here)
    forget_run(SimpleNamespace(__ray_call__=SimpleNamespace(remote=asked.append)), parent)
    _set(monkeypatch, there)
    for each in asked:  # as in the trial's process
        each(None)
    assert ("MLFLOW_RUN_ID" in os.environ) == kept
    assert len(asked) == (here is not None or parent is not None)


def _set(monkeypatch: pytest.MonkeyPatch, run_id: str | None) -> None:
    if run_id is None:
        monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    else:
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
