"""Search as `tune` does, with limits on the cost of a model; trials that break them are stopped as early as possible.

The result is the best model that meets the limits; the budget says what the limits saved.
"""

from __future__ import annotations

from entrypoints import environment, signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

from typing import Any

import click

from entrypoints.runs import RecordedCommand
from entrypoints.settings import limit_options, resume_option, study_options
from entrypoints.tune import search


@click.command(cls=RecordedCommand, help=__doc__)
@study_options
@resume_option
@limit_options
def early_stop(limits: str, predict: bool, scheduler: str, resume: str | None, **options: Any) -> None:
    search("early_stop", resume, options, {"limits": limits, "predict": predict, "scheduler": scheduler})


if __name__ == "__main__":
    early_stop()
