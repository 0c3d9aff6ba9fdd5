"""Prepare a dataset: split it 70/30 into training and test part and the training part into folds.

The table and the split are stored in the MLflow run, where `tune` finds them.
"""

from __future__ import annotations

from entrypoints import environment, signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

from pathlib import Path
from typing import Any

import click

from entrypoints.datasets import known
from entrypoints.datasets.dataset_input import data_line, log_dataset, record_duplicates
from entrypoints.datasets.prepared import Request
from entrypoints.datasets.splits import make_split
from entrypoints.datasets.stored import store
from entrypoints.errors import say
from entrypoints.runs import RecordedCommand, recorded_run
from entrypoints.settings import as_typed, dataset_options


@click.command(cls=RecordedCommand, help=__doc__)
@dataset_options
def prepare(target: str | None, drop: str | None, decimal: str | None, **options: Any) -> None:
    request = Request(**options)
    read_as: dict[str, Any] = {"target": target, "drop": drop, "decimal": decimal}
    name = f"prepare {Path(request.dataset).name}"
    with recorded_run("prepare", name, as_typed(vars(request) | read_as)) as run:
        table = known.load(
            request.dataset,
            **read_as,
            group=request.group,
            time=request.time,
            max_rows=request.max_rows,
            seed=request.seed,
        )
        split = make_split(table, folds=request.folds, seed=request.seed, duplicates=request.duplicates)
        store(run.client, run.run_id, table, split, request)
        log_dataset(run, table)
        say(f"Data: {data_line(table, split, run.run_id, reused=False)}")
        record_duplicates(run, table, split)


if __name__ == "__main__":
    prepare()
