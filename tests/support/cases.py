"""Tables of cases: what a test is run with, by the name of each case."""

import pytest


def cases(names, table):
    """Run a test once for each entry of a table: the name of the case, and the values of its arguments."""
    return pytest.mark.parametrize(names, table.values(), ids=table)
