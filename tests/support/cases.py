"""Tables of cases: what a test is run with, by the name of each case."""

import re
from pathlib import Path

import pytest
import yaml


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


def tables(test_file, name):
    """The tables in a YAML file beside a test, whose values are of several types."""
    return yaml.safe_load(Path(test_file).with_name(name).read_text(encoding="utf-8"))


def sentence(says):
    """The pattern of an error's whole text, which is one line; three points stand for any words of it."""
    return rf"\A{re.escape(says)}\Z".replace(r"\.\.\.", ".*")
