"""Prepare a dataset: split it 70/30 into training and test part and the training part into folds.

The table and the split are stored in the MLflow run. `tune` makes the same ones itself.
"""

from __future__ import annotations

from entrypoints.compute import environment
from entrypoints.runs import signals

if __name__ == "__main__":
    signals.note()  # until all that follows is imported
    environment.set_defaults()  # libraries read it when they are imported

import tempfile
from pathlib import Path
from typing import Any

import click

from entrypoints.datasets import known
from entrypoints.datasets.dataset_input import record_data
from entrypoints.datasets.splits import make_split
from entrypoints.options.settings import FOLDS, as_typed, dataset_options
from entrypoints.runs.recorded import RecordedCommand, recorded_run
from entrypoints.search.defaults import duplicates_of


@click.command(cls=RecordedCommand, help=__doc__)
@dataset_options
def prepare(dataset: str, folds: int, duplicates: str | None, **options: Any) -> None:
    given = {"dataset": dataset, "folds": folds, "duplicates": duplicates, **options}
    with recorded_run("prepare", f"prepare {Path(dataset).name}", as_typed(given)) as run:
        table = known.load(dataset, **options)
        together = duplicates_of(duplicates, dataset, table)
        split = make_split(table, folds=folds or FOLDS, seed=options["seed"], duplicates=together)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "table.parquet")
            table.frame.to_parquet(path, index=False)
            run.client.log_artifact(run.run_id, str(path))
        record_data(run, table, split)


if __name__ == "__main__":
    prepare()
