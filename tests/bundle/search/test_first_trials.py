"""What a study says before its first trial."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from reference import configured
from study_settings import study_settings

from entrypoints.search import first_trials


def _announced(capsys: pytest.CaptureFixture[str], trials: int, left: int, search_s: float, **settings: Any) -> str:
    plan: Any = SimpleNamespace(settings=study_settings(**settings), trials=[configured()] * trials)
    plan.stopping, plan.size, plan.learns = None, trials, False
    first_trials.announce(plan, left, 2, search_s)
    return capsys.readouterr().out


def test_long_study_is_told_how_to_shorten_it(capsys: pytest.CaptureFixture[str]) -> None:
    """In hours, with each parameter that helps, and how many trials an hour holds, unless its time is limited."""
    said = _announced(capsys, 240, 200, 5 * 3600.0 + 120, folds=4)
    assert said.startswith("Search: 200 of 240 trials of 4 folds on 2 CPU cores, about 5 h 2 min\nThis study takes")
    assert "set search=tpe (it tries a quarter of the grid), max_trials (about 39 of the 200 take an hour)," in said
    assert "max_rows, folds (now 4), max_steps, max_epochs, or" in said
    assert "max_trials (about 1 of the 3 take" in _announced(capsys, 3, 3, 40 * 3600.0)
    said = _announced(capsys, 3, 3, 40 * 3600.0, time_limit_s=60.0)
    assert said == "Search: 3 trials of 10 folds on 2 CPU cores, about 40 h 0 min, at most 1 min 0 s\n"
