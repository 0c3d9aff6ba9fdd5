"""One module a question, each with ``answer(frame) -> Answer``; ``ALL`` says which a kind of report asks, in order."""

from __future__ import annotations

from importlib import import_module

from entrypoints.frame import Frame
from entrypoints.reporting.answer import Answer

STUDY, REPEATS, DATASETS = "study", "repeats", "datasets"
ALL = {
    STUDY: ("decision", "importance", "training", "effects", "limits_saved", "pareto"),
    REPEATS: ("repeats",),
    DATASETS: ("datasets",),
}
"""By the kind of a report."""
CURVES = (
    *("train_loss", "val_loss"),
    *("step_time_ms", "cpu_percent", "memory_mb", "system/process_cpu_percent", "system/process_memory_mb"),
)
"""The curves that they are asked about, beside that of the score."""


def ask(kind: str, frame: Frame) -> list[Answer]:
    """The answers that a report of this kind gives. A module, and what it draws or fits with, is imported only now."""
    return [import_module(f"{__name__}.{name}").answer(frame) for name in ALL[kind]]
