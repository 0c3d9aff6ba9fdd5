"""What the pages of reports are written with."""

from __future__ import annotations

import pytest

from entrypoints.reporting.markdown import cell, code, last_sections, page, table


def test_page_leaves_out_what_is_empty() -> None:
    """Lines, and the titles of sections without any; also that nothing was left unanswered."""
    sections = {"Ranks": ["", "They agree.", ""], "Costs": [""], "Studies": [], **last_sections([], "By ranks.", "#/1")}
    assert page("## The answer", sections).splitlines() == [
        *("## The answer", ""),
        *("### Ranks", "", "They agree.", ""),
        *("### How it was compared", "", "By ranks.", ""),
        *("### Look further", "", "[All figures and tables](#/1)."),
    ]


LINES = [f"- finding {place:02}" for place in range(20)]


@pytest.mark.parametrize(
    ("used", "says"),
    [
        pytest.param(7000, "### Costs\n\nThey differ.\n\n{list}\n\n| a table |\n\n### Studies\n\n| a, b |", id="all"),
        pytest.param(7680, "### Costs\n\nThey differ.\n\n{list}\n\n### Studies\n\n| a, b |", id="no table"),
        pytest.param(
            7800,
            "### Costs\n\nThey differ.\n\n{first 9}\n- 11 more found no room.\n\n### Studies\n\n| a, b |",
            id="a part of the list",
        ),
        pytest.param(7960, "### Studies\n\n| a, b |", id="what is kept"),
    ],
)
def test_page_has_no_more_characters_than_a_tag(used: int, says: str) -> None:
    """What is kept has room before sentences, these before lists, and lists, of which a part may do, before tables."""
    lists = {"list": "\n".join(LINES), "first 9": "\n".join(LINES[:9])}
    sections = {"Costs": ["They differ.", lists["list"], "| a table |"], "Studies": ["| a, b |"]}
    head = "a" * used
    made = page(head, sections, kept=["Studies"])
    assert len(made) <= 8000
    assert made.removeprefix(head + "\n\n") == says.format(**lists)


def test_table_has_a_cell_for_each_column_of_a_row() -> None:
    """As text, as a name, or by a function; a bar would end the cell."""
    columns = {"metric": cell("metric", code), "trials": cell("trials"), "so": lambda row: "a|b" * row["trials"]}
    assert table(columns, [{"metric": "steps", "trials": 2}]).splitlines() == [
        "| metric | trials | so |",
        "|---|---|---|",
        "| `steps` | 2 | a/ba/b |",
    ]
    assert not table(columns, [])
