"""What a report leaves in its run: tables, figures, and a page of answers that fits into MLflow's description."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import mlflow
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from entrypoints.frame import Frame
from entrypoints.links import how_to_open, run_view
from entrypoints.mlflow_io import log_tables
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.words import value
from entrypoints.runs import RecordedRun
from entrypoints.text import shorten
from entrypoints.views import SCORE
from mlflow_sysmetrics.ui import Page, saved_link, trials_of

HEAD = 3  # sentences of the first answer, about one model: what to take, what it costs, how to load it
MAX_COLUMNS, MAX_ROWS = 8, 8  # of a table on the page
_IDS = ("study", "beside", "run_id", "trial_id", "study_id", "name", "model")  # columns that no reader needs
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=False,
)


def write(run: RecordedRun, frame: Frame, answers: Sequence[Answer], command: str = "") -> None:
    """Leave tables, figures, metrics and the page in the report's run; echo the answers and where the page is.

    Args:
        run: the report's run.
        frame: of the studies that it is about.
        answers: the most important first.
        command: what a reader may run next; empty for nothing.
    """
    trials = frame.trials["study"] == frame.first
    metrics = {"trials": float(trials.sum()), "studies": float(len(frame.studies))}
    for answer in answers:
        if len(answer.table):
            log_tables(run.client, run.run_id, {f"{answer.name}.json": rows_of(answer.table)})
        if answer.draw is not None:
            mlflow.log_figure(answer.draw(), f"figures/{answer.name}.png")
        metrics |= {name: figure for name, figure in answer.metrics.items() if math.isfinite(figure)}
    mlflow.log_metrics(metrics, step=0)
    note = page(run.experiment_id, run.run_id, frame, answers, _trials_page(run, frame), command)
    mlflow.set_tag("mlflow.note.content", note)
    address = how_to_open(run_view(run.experiment_id, run.run_id), mlflow.get_tracking_uri())
    click.echo("\n" + "\n".join(_for_terminal(answers)) + f"\n\nThe whole page in the MLflow UI:\n{address}")


def page(
    experiment_id: str, run_id: str, frame: Frame, answers: Sequence[Answer], trials: str, command: str = ""
) -> str:
    """The report's page, in Markdown, of at most the 8000 characters that MLflow keeps of a description.

    What finds no room is left to the artifacts: room is given to the short answers, then to figures, further sentences
    and tables, of the first question before others.

    Args:
        experiment_id: where the report is.
        run_id: its run, which holds the figures.
        frame: of the studies that it is about.
        answers: the most important first.
        trials: the link of the trials of the first study.
        command: what a reader may run next; empty for nothing.
    """
    head, short, further = _sorted(answers)
    facts = {
        "head": head,
        "short": short,
        "not_answered": _not_answered(answers, head),
        "command": command,
        "studies": _studies(frame),
        "trials": trials,
        "artifacts": run_view(experiment_id, run_id, "artifacts"),
    }
    parts = [(each.name, _figure(each.name, run_id)) for each in answers if each.draw]
    parts += [(name, "\n".join(f"- {sentence}" for sentence in own)) for name, own in further.items()]
    parts += [(each.name, table(each.table)) for each in answers]
    template, shown = _TEMPLATES.get_template("report.md.jinja"), dict[str, list[str]]()
    text = template.render(facts, shown=shown)
    for name, part in parts:
        more = shown | {name: [*shown.get(name, []), part]}
        longer = template.render(facts, shown=more)
        if part and len(longer) <= MAX_TAG_VAL_LENGTH:
            shown, text = more, longer
    return shorten(text, MAX_TAG_VAL_LENGTH)


def _figure(name: str, run_id: str) -> str:
    return f"![{name}](get-artifact?path=figures%2F{name}.png&run_uuid={run_id})"


def table(rows: pd.DataFrame) -> str:
    """The first rows and columns of a table in Markdown; ids are left to the artifact."""
    columns = [name for name in rows.columns if name not in _IDS and rows[name].notna().any()][:MAX_COLUMNS]
    if not columns:
        return ""
    body = [[_cell(name, row[name]) for name in columns] for row in rows_of(rows.head(MAX_ROWS))]
    lines = [columns, ["---"] * len(columns), *body]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return text if len(rows) <= MAX_ROWS else f"{text}\n\n{len(rows) - MAX_ROWS} more rows are in the artifact."


def _cell(column: str, cell: Any) -> str:
    if cell is None or cell != cell:
        return "-"
    return value(column, cell) if isinstance(cell, float) else str(cell).replace("|", "/")


def _sorted(answers: Sequence[Answer]) -> tuple[list[str], dict[str, str], dict[str, list[str]]]:
    """The lines at the top of the page; of each answer the first sentence that is not there; and the others."""
    first = answers[0]
    further = {each.name: list(each.sentences) for each in answers}
    further[first.name] = further[first.name][HEAD:]
    short = {name: own.pop(0) if own else "" for name, own in further.items()}
    return [*first.sentences[:HEAD]] or [first.open_question], short, further


def _not_answered(answers: Sequence[Answer], head: Sequence[str]) -> list[str]:
    return [each.open_question for each in answers if each.open_question and each.open_question not in head]


def _trials_page(run: RecordedRun, frame: Frame) -> str:
    """The link of the saved page of the first study's trials; of all of them, the best first, where there is none."""
    experiment_id = str(frame.studies["experiment_id"].iloc[0])
    tags = run.client.get_experiment(experiment_id).tags
    plain = Page("", trials_of(frame.first), sort_by=frame.score, ascending=not frame.higher_is_better)
    saved = saved_link(tags, experiment_id, frame.first, SCORE)
    return saved or plain.plain_link(experiment_id)


def _studies(frame: Frame) -> list[Mapping[str, Any]]:
    """The studies that a report is about, with their links."""
    return [
        {
            "name": study["name"],
            "limits": study["limits"],
            "count": int((frame.trials["study"] == run_id).sum()),
            "page": run_view(study["experiment_id"], run_id),
        }
        for run_id, study in zip(map(str, frame.studies.index), rows_of(frame.studies), strict=True)
    ]


def _for_terminal(answers: Sequence[Answer]) -> list[str]:
    head, short, _ = _sorted(answers)
    lines = [*head, *filter(None, short.values()), *_not_answered(answers, head)]
    return [line.replace("`", "").replace("**", "") for line in lines]
