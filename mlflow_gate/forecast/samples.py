"""What a program has cost at some sizes: it is run at each, or its logged runs are read."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import mlflow

from mlflow_gate.check.contest import CheckError
from mlflow_gate.check.programs import Program, Programs
from mlflow_sysmetrics.command.ask_store import ask_store
from mlflow_sysmetrics.common.redact import redacted
from mlflow_sysmetrics.delivery import RunRef

COSTS = ("peak_memory_mb", "peak_rss_mb", "cpu_seconds", "elapsed_s")
KIND_OF_SAMPLE = "forecast sample"
_RUNS_OF_A_SIZE = 2


class Sample(NamedTuple):
    """A run of the program."""

    size: float
    costs: Mapping[str, float]


def run_samples(
    command: Sequence[str], environment: Mapping[str, str], sizes: Sequence[int], parent: RunRef
) -> list[Sample]:
    """Run the program twice at each size, in random order. click.UsageError: it fails at one."""
    samples = []
    for size in random.sample(list(sizes) * _RUNS_OF_A_SIZE, len(sizes) * _RUNS_OF_A_SIZE):
        words = [word.replace("{size}", str(size)) for word in command]
        program = Program("sample", words, Path.cwd(), environment, kind=KIND_OF_SAMPLE)
        try:
            (costs,) = Programs([program]).run(parent, size)
        except CheckError as error:
            raise click.UsageError(f"at size {size} {error.message.replace('the sample', 'the program', 1)}") from None
        click.echo(f"size {size}: {costs['peak_memory_mb']:.0f} MB, {costs['cpu_seconds']:.1f} s of CPU", err=True)
        samples.append(Sample(size, costs))
    return samples


def logged_samples(experiment: str, by: str) -> list[Sample]:
    """The finished runs of an experiment that have all costs, and a param or a metric `by`, which is their size."""
    uri = mlflow.get_tracking_uri()
    client = mlflow.MlflowClient(uri)
    found = ask_store(uri, lambda: client.get_experiment_by_name(experiment))
    if found is None:
        raise click.UsageError(f"--from {experiment}: there is no such experiment in {redacted(uri)}")
    wanted = "attributes.status = 'FINISHED'"
    samples = []
    for run in ask_store(uri, lambda: client.search_runs([found.experiment_id], wanted)):
        with contextlib.suppress(KeyError, ValueError):
            size = float(run.data.params.get(by) or run.data.metrics[by])
            samples.append(Sample(size, {name: run.data.metrics[name] for name in COSTS}))
    return samples
