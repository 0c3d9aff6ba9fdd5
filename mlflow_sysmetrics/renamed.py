"""The name that the option `limits` had before: it is answered with the new one."""

from __future__ import annotations

import click

OLD_NAME = "criteria"
SENTENCE = f"{OLD_NAME} is called limits; write limits in its place"


class LimitsCommand(click.Command):
    """A command that answers the old name of its option ``--limits``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name != f"--{OLD_NAME}":
                raise
            raise click.UsageError(SENTENCE, ctx) from None
