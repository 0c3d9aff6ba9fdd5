"""The one exception that means: the user can fix this, and its text says how."""

import click


class UserError(click.ClickException):
    """A user's mistake in one sentence: what was given, what is allowed, what to do. Commands exit with 1."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Text that may come from a file, for a terminal: control characters, which could rewrite it, are escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def say(line: str) -> None:
    """Print a line that may hold text of a file."""
    click.echo(printable(line))
