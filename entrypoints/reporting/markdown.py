"""What the pages of reports are written with: tables, pictures, p-values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

MIN_P = 0.001  # below it the size of a p-value means nothing


def page(head: str, sections: Mapping[str, Iterable[str]], kept: Sequence[str] = ()) -> str:
    """A page that begins with a head, of at most the 8000 characters that MLflow keeps of a description.

    What is empty is left out, and the title of a section in which all is. What finds no room is left to the artifacts:
    room is given to the kept sections, then to sentences, then to lists and pictures, at last to tables, the first on
    the page before others. A list is cut to the lines that fit, anything else left out as a whole.

    Args:
        head: what the page begins with.
        sections: paragraphs, lists, pictures and tables, by the title above them.
        kept: the titles of those that get room before all others, the first before the next.
    """
    parts = {(title, place): text for title, texts in sections.items() for place, text in enumerate(texts) if text}
    placed: dict[tuple[str, int], str] = {}
    left = MAX_TAG_VAL_LENGTH - len(head)
    # Sorting is stable: what is equal stays in the order of the page.
    for at in sorted(parts, key=lambda at: (kept.index(at[0]) if at[0] in kept else len(kept), _rank(parts[at]))):
        title = at[0]
        gap = 2 if any(title == other for other, _ in placed) else len(f"\n\n### {title}\n\n")
        text = _fitting(parts[at], left - gap)
        if text:
            placed[at] = text
            left -= gap + len(text)
    bodies = {title: "\n\n".join(placed[at] for at in parts if at in placed and at[0] == title) for title in sections}
    return "\n\n".join([head, *(f"### {title}\n\n{body}" for title, body in bodies.items() if body)])


def _rank(part: str) -> int:
    return 2 if part.startswith("| ") else 1 if part.startswith(("- ", "![")) else 0


def _fitting(part: str, room: int) -> str:
    """A part, if it fits; of a list the first lines that do, and how many more there are."""
    if len(part) <= room:
        return part
    lines = part.splitlines() if part.startswith("- ") else []
    for count in range(len(lines) - 1, 0, -1):
        cut = "\n".join([*lines[:count], f"- {len(lines) - count} more found no room."])
        if len(cut) <= room:
            return cut
    return ""


LAST = ("Look further", "How it was compared", "Not answered")  # the sections of the next, in the order of need


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
