"""Tables of cases: what a test is run with, by the name of each case; and files with what the product says."""

import os
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


def check_golden(file, text):
    """Compare what is said with what a file holds, as a person reads it; UPDATE_GOLDEN=1 writes it again."""
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def check_answers(file, answer):
    """Compare the answer to each line of a file that begins with `$ ` with what follows it there."""
    said = []
    for line in file.read_text().splitlines():
        if line.startswith("$ "):
            said += [line, answer(line.removeprefix("$ ")), ""]
    check_golden(file, "\n".join(said))
