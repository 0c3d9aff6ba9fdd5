"""One module a question, each with ``answer(frame) -> Answer``; ``ALL`` says which a kind of report asks, in order."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pandas as pd

from entrypoints.frame import Frame
from entrypoints.reporting.answer import Answer

STUDY, REPEATS, DATASETS = "study", "repeats", "datasets"
ALL = {
    STUDY: ("decision", "training", "effects", "step_cost", "limits_saved", "pairs", "pareto"),
    REPEATS: ("repeats",),
    DATASETS: ("each decision", "datasets", "each effects", "each training"),
}
"""By the kind of a report; ``each`` asks a question of one study after the other."""
CURVES = (
    *("train_loss", "val_loss"),
    *("step_time_ms", "cpu_percent", "memory_mb", "system/process_cpu_percent", "system/process_memory_mb"),
)
"""The curves that they are asked about, beside that of the score."""


def ask(kind: str, frame: Frame) -> list[Answer]:
    """The answers that a report of this kind gives."""
    return [_each(name.split()[1], frame) if " " in name else _one(name, frame) for name in ALL[kind]]


def _one(name: str, frame: Frame) -> Answer:
    """Of one question. Its module, and what that draws or fits with, is imported only now."""
    answer: Answer = import_module(f"{__name__}.{name}").answer(frame)
    return answer


def _each(name: str, frame: Frame) -> Answer:
    """The first sentence on each study, of a decision the first three and then the next, and their tables in one.

    Files of one name are told apart by their paths.
    """
    paths = frame.studies["dataset"].map(str)
    names = paths.map(lambda path: Path(path).name)
    called = names if names.is_unique else paths
    answers = {dataset: _one(name, frame.of([str(study)])) for study, dataset in called.items()}
    count = 3 if name == "decision" else 1
    first = {dataset: " ".join(answer.sentences[:count]) for dataset, answer in answers.items()}
    following = {dataset: " ".join(answer.sentences[3:4]) for dataset, answer in answers.items() if count == 3}
    sentences = [f"{dataset}: {said}" for each in (first, following) for dataset, said in each.items() if said]
    tables = {dataset: answer.table for dataset, answer in answers.items() if len(answer.table)}
    table: pd.DataFrame = pd.concat(tables, names=["dataset"]).reset_index(level=0) if tables else pd.DataFrame()
    missing: dict[str, list[str]] = {}
    for dataset, answer in answers.items():
        missing.setdefault(answer.open_question, []).append(dataset)
    open_question = " ".join(f"{', '.join(of)}: {why}" for why, of in missing.items() if why)
    return Answer(name, tuple(sentences), table.reset_index(drop=True), open_question=open_question)
