"""What the pages of reports are written with: tables, pictures, p-values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

MIN_P = 0.001  # below it the size of a p-value means nothing


def page(head: str, sections: Mapping[str, Iterable[str]]) -> str:
    """A page that begins with a head; what is empty is left out, and the title of a section in which all is."""
    bodies = {title: "\n\n".join(filter(None, lines)) for title, lines in sections.items()}
    return "\n\n".join([head, *(f"### {title}\n\n{body}" for title, body in bodies.items() if body)])


def last_sections(open_questions: Iterable[str], how: str, artifacts: str) -> dict[str, list[str]]:
    """How a page over several studies ends.

    Args:
        open_questions: a sentence each.
        how: how the studies were compared.
        artifacts: the address of those of the report's run.
    """
    return {
        "Not answered": ["\n".join(f"- {sentence}" for sentence in open_questions)],
        "How it was compared": [how],
        "Look further": [f"[All figures and tables]({artifacts})."],
    }


def picture(run_id: str, figure: str) -> str:
    """A logged picture, from where the UI serves it."""
    return f"![{figure.replace('_', ' ')}](get-artifact?path=figures%2F{figure}.png&run_uuid={run_id})"


def table(columns: Mapping[str, Callable[[Any], str]], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table of these rows; a column's title comes with what makes a cell of a row. Empty where there are no rows."""
    body = ["| " + " | ".join(made(row).replace("|", "/") for made in columns.values()) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), *body]) if body else ""


def cell(name: str, shown: Callable[[Any], str] = str) -> Callable[[Mapping[str, Any]], str]:
    """What makes a cell of one value of a row."""
    return lambda row: shown(row[name])


def code(value: object) -> str:
    """A name as users type it."""
    return f"`{value}`"


def p_value(value: float) -> str:
    """A p-value as it is read."""
    return "-" if value != value else f"{value:.2g}" if value >= MIN_P else f"< {MIN_P}"


def is_p(value: float) -> str:
    """A p-value in a sentence: `p = 0.02` or `p < 0.001`."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
