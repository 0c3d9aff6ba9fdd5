"""Prepare a dataset: split it 70/30 into training and test part and the training part into folds.

The table and the split are stored in the MLflow run, where `tune` finds them.
"""

from __future__ import annotations

from entrypoints import environment, signals

if __name__ == "__main__":
    signals.end_at_once()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

from pathlib import Path

import click

from entrypoints.datasets import known
from entrypoints.datasets.dataset_input import data_line, log_dataset
from entrypoints.datasets.prepared import Request
from entrypoints.datasets.splits import make_split
from entrypoints.datasets.stored import store
from entrypoints.errors import say
from entrypoints.options import dataset_options
from entrypoints.runs import RecordedCommand, recorded_run
from entrypoints.settings import as_typed


@click.command(cls=RecordedCommand, help=__doc__)
@dataset_options
def prepare(dataset: str, target: str | None, drop: str | None, max_rows: int | None, folds: int, seed: int) -> None:
    request = Request(dataset, max_rows, folds, seed)
    params = as_typed(vars(request) | {"target": target, "drop": drop})
    with recorded_run("prepare", f"prepare {Path(dataset).name}", params) as run:
        table = known.load(dataset, target=target, drop=drop).sample(max_rows, seed)
        split = make_split(table, folds=folds, seed=seed)
        store(run.client, run.run_id, table, split, request)
        log_dataset(run, table)
        say(f"Data: {data_line(table, split, run.run_id, reused=False)}")


if __name__ == "__main__":
    prepare()
