"""What a study at its end and a report leave in their runs: tables, figures, and a page in MLflow's description."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.words import value
from entrypoints.runs.mlflow_io import log_tables
from entrypoints.runs.recorded import RecordedRun
from entrypoints.runs.tags import NOTE
from entrypoints.text import shorten

MAX_COLUMNS, MAX_ROWS = 8, 8  # of a table below the first one
_IDS = (
    "study",
    "beside",
    "run_id",
    "trial_id",
    "study_id",
    "name",
    "model",
    "counted_against",
)  # columns that no reader needs
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=False,
)


def write(run: RecordedRun, answers: Sequence[Answer], links: Sequence[str], command: str = "") -> str:
    """Leave tables, figures, metrics and the page in a run; return the same for a terminal.

    Args:
        run: of the study or the report.
        answers: the most important first.
        links: lines of Markdown, where to go on.
        command: what a reader may run next; empty for nothing.
    """
    metrics: dict[str, float] = {}
    for answer in answers:
        if len(answer.table):
            log_tables(run.client, run.run_id, {f"{answer.name}.json": rows_of(answer.table)})
        if answer.draw is not None:
            mlflow.log_figure(answer.draw(), f"figures/{answer.name}.png")
        metrics |= {name: figure for name, figure in answer.metrics.items() if math.isfinite(figure)}
    mlflow.log_metrics(metrics, step=0)
    mlflow.set_tag(NOTE, page(run.run_id, answers, links, command))
    return for_terminal(answers)


def page(run_id: str, answers: Sequence[Answer], links: Sequence[str], command: str = "") -> str:
    """The page, in Markdown, of at most the 8000 characters that MLflow keeps of a description.

    What it begins with is seen before it is unfolded: the first sentence, and the links. The first answer and the first
    sentence of each other one follow, then a section for each answer. A longer page is cut at its end: the artifacts
    have all tables and figures.

    Args:
        run_id: of the run that holds the figures.
        answers: the most important first.
        links: lines of Markdown.
        command: what a reader may run next; empty for nothing.
    """
    first, *others = answers
    head, *lines = first.sentences or (first.open_question,)
    text = _TEMPLATES.get_template("page.md.jinja").render(
        first=head,
        links=links,
        table=_in_markdown(first.shown),
        lines=lines,
        short={answer.name: answer.sentences[0] for answer in others if answer.sentences},
        not_answered=[answer.open_question for answer in others if answer.open_question],
        command=command,
        sections={answer.name: _section(answer, run_id) for answer in answers if answer.shown.empty},
    )
    return shorten(text, MAX_TAG_VAL_LENGTH)


def _section(answer: Answer, run_id: str) -> list[str]:
    """The figure, the further sentences and the table of an answer; what it does not have is left out."""
    figure = f"![{answer.name}]({_figure(answer.name, run_id)})" if answer.draw else ""
    further = "\n".join(f"- {sentence}" for sentence in answer.sentences[1:])
    return [part for part in (figure, further, table(answer.table)) if part]


def for_terminal(answers: Sequence[Answer]) -> str:
    """The first answer with its table, the first sentence of each other one, and what is not answered."""
    first, *others = answers
    lines = [*(first.sentences or (first.open_question,))]
    for answer in others:
        lines += [*answer.sentences[:1], *filter(None, [answer.open_question])]
    said = [re.sub(r"\*\*|`", "", line) for line in lines]
    if first.shown.empty:
        return "\n".join(said)
    return "\n".join([_cells(first.shown).to_string(index=False), "", *said])


def table(rows: pd.DataFrame) -> str:
    """The first rows and columns of a table in Markdown; ids are left to the artifact."""
    columns = [name for name in rows.columns if name not in _IDS and rows[name].notna().any()][:MAX_COLUMNS]
    if not columns:
        return ""
    text = _in_markdown(rows[columns].head(MAX_ROWS))
    return text if len(rows) <= MAX_ROWS else f"{text}\n\n{len(rows) - MAX_ROWS} more rows are in the artifact."


def _in_markdown(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    cells = _cells(rows)
    lines = [[*cells], ["---"] * len(cells.columns), *cells.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(rows: pd.DataFrame) -> pd.DataFrame:
    """The texts of a table."""
    cells: pd.DataFrame = pd.DataFrame({str(name): [_cell(str(name), cell) for cell in rows[name]] for name in rows})
    return cells


def _cell(column: str, cell: Any) -> str:
    if cell is None or cell != cell:
        return "-"
    if isinstance(cell, float):
        return value(column, cell)
    return str(cell).replace("|", "/")


def _figure(name: str, run_id: str) -> str:
    return f"get-artifact?path=figures%2F{name}.png&run_uuid={run_id}"
