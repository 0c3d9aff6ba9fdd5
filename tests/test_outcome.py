"""What the run around the trials says in the end."""

from __future__ import annotations

import pytest

from mlflow_sysmetrics.ray_tune.endings import FINISHED, SWEPT, Ending
from mlflow_sysmetrics.ray_tune.outcome import Outcome

FAILED = Ending("FAILED", {"sysmetrics.error": "ValueError: no"})
STOPPED = Ending("KILLED", {"sysmetrics.stop_reason": "Tune ended it at iteration 3"})


@pytest.mark.parametrize(
    ("endings", "status", "figures"),
    [
        pytest.param([], "FINISHED", (0, 0, 0), id="none"),
        pytest.param([FINISHED, STOPPED, FAILED, FINISHED], "FINISHED", (4, 1, 1), id="all-ended"),
        pytest.param([FINISHED, SWEPT], "KILLED", (2, 1, 0), id="interrupted"),
    ],
)
def test_status_and_figures_count_the_endings(endings: list[Ending], status: str, figures: tuple[int, ...]) -> None:
    """An experiment that ended before its trials did is KILLED, one of which trials failed is not."""
    outcome = Outcome()
    for ending in endings:
        outcome.count(ending)
    assert outcome.status == status
    assert tuple(outcome.figures[name] for name in ("trials", "stopped", "failed")) == figures


@pytest.mark.parametrize(
    ("endings", "troubles", "sentences"),
    [
        pytest.param([], {}, ["none began"], id="none"),
        pytest.param([FINISHED, FAILED], {}, ["1 failed", "The first error was `ValueError: no`."], id="error"),
        pytest.param([SWEPT], {}, ["1 were still running when the experiment ended."], id="interrupted"),
        pytest.param([FINISHED], {"away_s": 42.4}, ["MLflow took no data for 42 s"], id="away"),
        pytest.param([FINISHED], {"lost": 3}, ["3 points could not be kept"], id="lost"),
        pytest.param([FINISHED], {"refused": 2}, ["MLflow refused 2 entries"], id="refused"),
    ],
)
def test_text_says_what_happened(endings: list[Ending], troubles: dict[str, float], sentences: list[str]) -> None:
    """Each trouble in a sentence, and no sentence about one that was not there."""
    outcome = Outcome()
    for ending in endings:
        outcome.count(ending)
    text = outcome.text(**{"lost": 0, "refused": 0, "away_s": 0.4, **troubles})  # type: ignore[arg-type]
    assert text.startswith(f"**{len(endings)} trials**")
    for sentence in sentences:
        assert sentence in text
    told = [word for word in ("took no data", "could not be kept", "refused", "first error", "running") if word in text]
    assert len(told) == (bool(troubles) or len(sentences) == 2 or "running" in sentences[0])
