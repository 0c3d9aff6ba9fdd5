"""Marks of a script's phases: written by a command, read by whoever watches the script."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow_sysmetrics.phases.totals import Phases

from mlflow_sysmetrics.command.phase_marks import VARIABLE, NotWatchedError, PhaseMarks, mark


@pytest.fixture
def phases() -> Phases:
    """Phases by a clock that moves on by a second each time it is looked at."""
    seconds = iter(range(1000))
    return Phases(lambda: float(next(seconds)), lambda: None)


def test_each_mark_ends_the_phase_before(phases: Phases) -> None:
    """What was marked since the last look, in its order; an empty name begins none."""
    marks = PhaseMarks()
    marks.look(phases)
    mark("load", marks.environment)
    marks.look(phases)
    mark("train  the\nmodel", marks.environment)
    mark("", marks.environment)
    marks.look(phases)
    marks.close()
    assert [stretch.name for stretch in phases.stretches()] == ["load", "train the model"]


def test_half_a_line_waits_for_its_rest(phases: Phases) -> None:
    """A look may come in the middle of a write."""
    marks = PhaseMarks()
    path = Path(marks.environment[VARIABLE])
    path.write_text("0 lo")
    marks.look(phases)
    assert phases.stretches() == []
    path.write_text("0 load\nnonsense\n")
    marks.look(phases)
    assert [stretch.name for stretch in phases.stretches()] == ["load"]
    marks.close()


def test_file_is_the_users_own_and_goes_with_the_recording() -> None:
    """Others read and write nothing there."""
    marks = PhaseMarks()
    path = Path(marks.environment[VARIABLE])
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    marks.close()
    assert not path.parent.exists()
    with pytest.raises(NotWatchedError, match="has ended"):
        mark("late", {VARIABLE: str(path)})


def test_script_that_nobody_watches_is_told_how_to_be() -> None:
    """In one sentence."""
    with pytest.raises(NotWatchedError, match=r"mlflow-sysmetrics run -- \./script\.sh"):
        mark("load", {})


def test_marks_without_a_place_are_none(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk space for a file: the script runs all the same."""

    def full(**kwargs: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    marks = PhaseMarks()
    marks.look(phases)
    assert marks.environment == {}
    marks.close()
