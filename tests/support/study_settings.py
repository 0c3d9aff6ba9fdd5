"""The settings of a study, as the command line makes them."""

from contextlib import nullcontext
from dataclasses import replace

import click

from entrypoints.search.defaults import resolved
from entrypoints.settings import StudySettings, tune_options


def parsed(*arguments, options=tune_options):
    """What a command with these options is called with. Raises what the command raises."""

    @click.command()
    @options
    def command(**values): ...

    return command.make_context("command", list(arguments)).params


def study_settings(*arguments, **changes):
    """The settings of a command with these arguments, but for these changes; of `auto` what it is of red_wine."""
    options = parsed(*arguments) | changes
    del options["resume"]
    settings = StudySettings(**options)
    usual = resolved(replace(settings, dataset="red_wine"), "regression")
    return replace(usual, dataset=settings.dataset)


class RunningRay(nullcontext[None]):
    """The backend of a plan whose trials run in the Ray of the tests, which goes on."""

    is_here = True
    max_concurrent = 0

    def join(self, modules, store_uri):
        """There is nothing to check."""

    def cores(self):
        """As many as the tests start it with."""
        return 1
