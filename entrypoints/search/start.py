"""A plan -> a study that runs: Ray starts while MLflow, and what else the study needs, is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from entrypoints.runs import RecordedRun
from entrypoints.search.plan import Plan

if TYPE_CHECKING:
    from entrypoints.search.earlier import Earlier


def carry_out(open_run: Callable[[], RecordedRun], plan: Plan, earlier: Earlier | None = None) -> None:
    """Do what is planned, in the study's run.

    Args:
        open_run: opens the study's run.
        plan: what is searched.
        earlier: what an interrupted command has left of the same study.

    Raises:
        UserError: the run cannot be opened, or no trial came to a usable end.
    """
    with plan.place:
        run = open_run()
        from entrypoints.search.study import run_study  # takes a second

        run_study(run, plan, earlier)
