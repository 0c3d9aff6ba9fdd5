"""Tables of cases: what a test is run with, by the name of each case."""

from pathlib import Path

import pytest


def cases(names, table):
    """Run a test once for each entry of a table: the name of the case, and the values of its arguments.

    A list has values alone.
    """
    if isinstance(table, dict):
        return pytest.mark.parametrize(names, table.values(), ids=table)
    return pytest.mark.parametrize(names, table)


def rows(test_file, name):
    """The table in a text file beside a test: on each line the name of a case and its values, with " | " between."""
    table = {}
    for line in Path(test_file).with_name(name).read_text().splitlines():
        case, *values = map(str.strip, line.split(" | "))
        table[case] = values
    return table
