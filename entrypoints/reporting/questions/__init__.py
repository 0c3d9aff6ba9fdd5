"""One module a question, each with ``answer(frame) -> Answer``; ``ALL`` says which a kind of page asks, in order."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from entrypoints.reporting.answer import Answer
from entrypoints.trials.frame import Frame

END, STUDY, DATASETS = "end", "study", "datasets"
_OF_ONE = ("decision", "counts", "limits_saved", "limits_applied", "edges", "importance")
ALL = {
    END: _OF_ONE,
    STUDY: (*_OF_ONE, "training", "algorithms", "effects", "pareto"),
    DATASETS: ("datasets",),
}
"""By the kind of a page: that of a study at its end, and those of reports."""
CURVES = (
    "train_loss",
    "val_loss",
    "step_time_ms",
    "cpu_percent",
    "memory_mb",
)
"""The curves that they are asked about, beside that of the score."""


def ask(kind: str, frame: Frame, beside: Frame | None = None) -> list[Answer]:
    """The answers that a page of this kind gives. A module, and what it draws with, is imported only now.

    Args:
        kind: of the page.
        frame: of the studies.
        beside: the same with further searches, which tried other configurations; None: there are none.
    """
    answers = [_module(name).answer(frame) for name in ALL[kind]]
    if beside is not None:
        answers.insert(1, _module("searches").answer(beside))
    return answers


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
