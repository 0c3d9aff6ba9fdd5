"""What the pages of reports are written with."""

from __future__ import annotations

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


def test_table_has_a_cell_for_each_column_of_a_row() -> None:
    """As text, as a name, or by a function; a bar would end the cell."""
    columns = {"metric": cell("metric", code), "trials": cell("trials"), "so": lambda row: "a|b" * row["trials"]}
    assert table(columns, [{"metric": "steps", "trials": 2}]).splitlines() == [
        "| metric | trials | so |",
        "|---|---|---|",
        "| `steps` | 2 | a/ba/b |",
    ]
    assert not table(columns, [])
