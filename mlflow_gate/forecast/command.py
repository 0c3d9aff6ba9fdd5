"""A forecast: sampled, said, recorded in MLflow, and judged by limits."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from statistics import median

import click
import mlflow

from mlflow_gate.forecast.curve import Forecast, forecast_cost
from mlflow_gate.forecast.samples import COSTS, Sample, logged_samples, run_samples
from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.command.run import checked_run
from mlflow_sysmetrics.common.redact import redacted
from mlflow_sysmetrics.common.time_limits import COMMAND_ANSWER_S
from mlflow_sysmetrics.delivery import RunRef, child_run, writer_for
from mlflow_sysmetrics.limits import process_limits
from mlflow_sysmetrics.recording.outcome import FINISHED, ended_by
from mlflow_sysmetrics.recording.tags import KIND

BROKEN, UNKNOWN = 1, 3  # exit codes
_MIN_SIZES = 3
_MIN_SPREAD = 4  # the largest size over the smallest
_MIN_GROWTH = {"peak_memory_mb": 1.03, "peak_rss_mb": 1.03, "cpu_seconds": 1.2}  # less may be noise
_MIN_NOISE = {"peak_memory_mb": 0.01, "peak_rss_mb": 0.005, "cpu_seconds": 0.03, "elapsed_s": 0.05}
_MEMORY = ("peak_memory_mb", "peak_rss_mb")


def forecast(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    sizes: Sequence[int],
    full: int,
    experiment: str | None,
    by: str | None,
    limits: str,
) -> int:
    """Forecast the costs at `full`, print and record them, and return the exit code. click.ClickException: mistakes."""
    try:
        parsed = process_limits(limits)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    unknown = set(parsed.metrics).difference(COSTS)
    if unknown:
        raise click.UsageError(f"--limits {limits}: forecasts are of {', '.join(COSTS)}")
    if bool(experiment) != bool(by) or bool(experiment) == bool(command):
        raise click.UsageError("give --sizes and a command with {size} after --, or --from and --by")
    if experiment:
        samples = logged_samples(experiment, str(by))
        _check_sizes({sample.size for sample in samples}, full)
        costs = _forecasts(samples, full)
    else:
        if not any("{size}" in word for word in command):
            raise click.UsageError("the command has no {size}: write it where the program takes its size")
        _check_sizes(set(sizes), full)
        samples, costs = _sampled(command, environment, sizes, full)
    click.echo("\n".join(_lines(samples, costs, full)))
    code = 0
    for limit in parsed.rules:
        cost = costs[limit.metric.name]
        if limit.allows(cost.high):
            continue
        is_broken = not limit.allows(cost.low)
        code = BROKEN if is_broken or code == BROKEN else UNKNOWN
        verdict = "broken" if is_broken else "cannot be told"
        click.echo(f"{limit}: {verdict}, {limit.metric.name} is {cost.low:.4g} to {cost.high:.4g}")
    return code


def _check_sizes(sizes: set[float] | set[int], full: int) -> None:
    if len(sizes) < _MIN_SIZES or max(sizes) < _MIN_SPREAD * min(sizes):
        known = ", ".join(f"{size:g}" for size in sorted(sizes)) or "none"
        largest = max(sizes, default=full / 64)
        smallest = min(sizes, default=full / 64)
        following = 2 * largest if 2 * largest < full else smallest / 4
        problem = (
            f"the sizes are {known}; at least {_MIN_SIZES} are needed, the largest {_MIN_SPREAD} times the smallest"
        )
        raise click.UsageError(f"{problem}: run size {following:g} next")
    if full <= max(sizes):
        raise click.UsageError(
            f"--full {full} is not above the largest size, {max(sizes):g}: nothing is to be forecast"
        )


def _sampled(
    command: Sequence[str], environment: Mapping[str, str], sizes: Sequence[int], full: int
) -> tuple[list[Sample], dict[str, Forecast]]:
    """Run the program below a run of the forecast, which gets the figures."""
    parent = _begin({"command": shlex.join(command), "sizes": ",".join(map(str, sizes)), "full": full})
    run = writer_for(parent.tracking_uri).open(str(parent.run_id))
    try:
        samples = run_samples(command, environment, sizes, parent)
        costs = _forecasts(samples, full)
        summary = {}
        for name, cost in costs.items():
            summary[f"forecast/{name}"] = cost.middle
            summary[f"forecast/{name}_low"] = cost.low
            summary[f"forecast/{name}_high"] = cost.high
        run.log(summary=summary)
        run.end(FINISHED)
    except BaseException as error:
        run.end(ended_by(error))
        raise
    finally:
        run.close(COMMAND_ANSWER_S)
    return samples, costs


def _begin(params: Mapping[str, object]) -> RunRef:
    """A new run of a forecast."""
    around = ask_store(mlflow.get_tracking_uri(), checked_run)
    run = child_run(around, f"forecast {params['full']}", {KIND: "forecast"})
    run.log(params=params)
    run.close(COMMAND_ANSWER_S)
    if run.run_id is None:
        raise StoreError(f"{redacted(around.tracking_uri)}: the store did not create the run of the forecast")
    return around._replace(run_id=run.run_id)


def _forecasts(samples: Sequence[Sample], full: float) -> dict[str, Forecast]:
    """The forecast of each cost. click.UsageError: nothing grows."""
    sizes = [sample.size for sample in samples]
    if not any(_grows(samples, name, factor) for name, factor in _MIN_GROWTH.items()):
        raise click.UsageError("nothing grows with the size: is {size} used? If so, take larger sizes")
    costs = {}
    for name in COSTS:
        costs[name] = forecast_cost(sizes, [sample.costs[name] for sample in samples], full, _MIN_NOISE[name])
    return costs


def _grows(samples: Sequence[Sample], name: str, factor: float) -> bool:
    """Whether each run of the largest size has cost more, by this factor, than any of the smallest."""
    smallest = min(sample.size for sample in samples)
    largest = max(sample.size for sample in samples)
    highest = max(sample.costs[name] for sample in samples if sample.size == smallest)
    return min(sample.costs[name] for sample in samples if sample.size == largest) > factor * highest


def _lines(samples: Sequence[Sample], costs: Mapping[str, Forecast], full: int) -> list[str]:
    sizes = sorted({sample.size for sample in samples})
    lines = [f"at {full}, from {len(samples)} runs of {sizes[0]:g} to {sizes[-1]:g}:"]
    for name, cost in costs.items():
        grows = f"grows as size^{cost.exponent:.2f}"
        lines.append(f"  {name:<16}{cost.middle:>10.4g} ({cost.low:.4g} to {cost.high:.4g}), {grows}")
    lines += _of_largest(samples, sizes)
    # What a container counts holds shared pages, too, which one process's high-water mark has.
    memory_mb = math.ceil(max(costs[name].high for name in _MEMORY))
    cores = max(1, math.ceil(costs["cpu_seconds"].middle / costs["elapsed_s"].middle - 0.2))
    minutes = math.ceil(costs["elapsed_s"].high / 60)
    slurm = f"--mem={math.ceil(memory_mb / 1.048576)}M --cpus-per-task={cores} --time={minutes}"
    lines.append(
        f"request: Kubernetes memory {memory_mb}M, cpu {cores}; Slurm {slurm}; Docker --memory={memory_mb}000000"
    )
    return lines


def _of_largest(samples: Sequence[Sample], sizes: Sequence[float]) -> list[str]:
    """How well the smaller sizes predict the largest one; a curve that bends or jumps there is said."""
    largest = sizes[-1]
    smaller = [sample for sample in samples if sample.size < largest]
    lines = []
    for name in ("peak_memory_mb", "cpu_seconds"):
        truth = median(sample.costs[name] for sample in samples if sample.size == largest)
        values = [sample.costs[name] for sample in smaller]
        cost = forecast_cost([sample.size for sample in smaller], values, largest, _MIN_NOISE[name])
        error = f"{name} at {largest:g}, by the smaller sizes: {100 * (cost.middle / truth - 1):+.1f} %"
        if not cost.low <= truth <= cost.high:
            error += f"; it bends or jumps there, so do not trust this forecast of it: run size {2 * largest:g}, too"
        lines.append(error)
    return lines
