"""Prepare a dataset once per experiment: reuse a finished prepare run, or make one."""

from __future__ import annotations

from collections.abc import Callable

from entrypoints import prepared
from entrypoints.datasets import Table
from entrypoints.prepared import Prepared, Request
from entrypoints.runs import RecordedRun, child_run


def obtain(
    study: RecordedRun, table: Table, request: Request, start_ray: Callable[[], None]
) -> tuple[Prepared, str, bool]:
    """The data of a study, the id of the prepare run that holds it, and whether that run was there already.

    Raises:
        UserError: the table cannot be split as requested.
    """
    found = prepared.find(study.client, study.experiment_id, request, table.digest)
    if found is not None:
        return prepared.load(study.client, found.info.run_id), found.info.run_id, True
    with child_run(study, "prepare", f"prepare {table.name}") as run:
        start_ray()
        return prepared.store(study.client, run.run_id, table, request), run.run_id, False
