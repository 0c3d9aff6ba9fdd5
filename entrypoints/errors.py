"""The one exception that means: the user can mend this, and its text says how."""

import click


class UserError(click.ClickException):
    """A user's mistake in one sentence: what was given, what is allowed, what to do. Commands exit with 1."""
