"""What a model costs as it is served, and how much it takes: measured, printed, logged, and judged by limits."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click
import mlflow
import pandas as pd

from mlflow_gate.metrics import SERVED
from mlflow_gate.served import (
    PERCENTS,
    ServedCosts,
    ServedError,
    ServerError,
    capacity_limit,
    judged,
    served_capacity,
    served_costs,
    served_limits,
)
from mlflow_gate.table_files import read_table
from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.limits import Limit, digits
from mlflow_sysmetrics.recording.tags import KIND

BROKEN, UNKNOWN = 1, 3  # exit codes


def served(
    model_uri: str,
    *,
    data: str | None,
    limits: str,
    rate: float | None,
    capacity: str | None,
    workers: int,
) -> int:
    """Measure a model, print and log what is found, and return the exit code.

    click.ClickException: the options, the rows or the address are wrong, or the model cannot be served.
    """
    if capacity is not None and (rate is not None or limits.strip()):
        raise click.UsageError("--capacity has its own limit and rates; leave out --rate and --limits")
    try:
        of_capacity = None if capacity is None else capacity_limit(capacity)
        parsed = served_limits(limits) if limits.strip() else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    rows = None if data is None else read_rows(data)
    try:
        if of_capacity is not None:
            _find_capacity(model_uri, of_capacity, rows, workers)
            return 0
        costs = served_costs(model_uri, rows, rate=rate, workers=workers)
    except ServerError as error:
        raise click.ClickException(str(error)) from None  # exit code 1: it is worse than any cost
    except ServedError as error:
        raise click.UsageError(str(error)) from None
    click.echo("\n".join(_lines(model_uri, costs, rate)))
    _log_costs(model_uri, costs, rate, workers)
    if parsed is None:
        return 0
    judgement = judged(parsed.rules, costs)
    for sentence in [*judgement.broken, *judgement.unknown]:
        click.echo(sentence)
    if judgement.broken:
        return BROKEN
    if judgement.unknown:
        return UNKNOWN
    click.echo(f"meets {parsed}")
    return 0


def _find_capacity(model_uri: str, limit: Limit, rows: pd.DataFrame | None, workers: int) -> None:
    found = served_capacity(model_uri, limit, rows, workers, say=lambda line: click.echo(line, err=True))
    interval = f"{digits(found.low, 3)} to {digits(found.high, 3)}"
    servers = "1 worker" if workers == 1 else f"{workers} workers"
    click.echo(f"holds {digits(found.per_s, 3)} requests a second ({interval}) within {limit}, with {servers}")
    if found.contention.is_busy:
        click.echo(f"The machine was busy: {found.contention}, so this is not logged.")
        return
    params = {"limit": str(limit), "workers": str(workers)}
    _log(model_uri, found.model_id, params, {"served_capacity_per_s": found.per_s}, found.at_rates)


def read_rows(path: str) -> pd.DataFrame:
    """The rows of a CSV or Parquet file. click.UsageError: it is not there, or neither."""
    try:
        return read_table(path)
    except (ValueError, OSError, EOFError, Warning) as error:
        raise click.UsageError(f"--data {path}: {error}") from None


def _lines(model_uri: str, costs: ServedCosts, rate: float | None) -> list[str]:
    how = "one after the other" if rate is None else f"{rate:g} a second at random moments"
    lines = [f"{model_uri}, {costs.requests} requests of one row, {how}:"]
    lines += [f"  {name:<20}{digits(costs.figures[name], 4):>10}" for name in SERVED if name in costs.figures]
    if costs.cannot_keep_up:
        lines.append(f"{model_uri} cannot keep up: {costs.cannot_keep_up}")
    if costs.contention.is_busy:
        untrusted = [name for name in costs.figures if name not in costs.trusted]
        lines.append(f"The machine was busy: {costs.contention}, so these are not logged: {', '.join(untrusted)}.")
    return lines


def _log_costs(model_uri: str, costs: ServedCosts, rate: float | None, workers: int) -> None:
    """Latencies at a rate are points of curves over rates: those of a stream are not to be compared with them."""
    params = {"workers": str(workers)}
    figures = costs.trusted
    at_rates = {}
    if rate is not None:
        params["rate"] = f"{rate:g}"
        at_rates[rate] = {name: figures.pop(name) for name in PERCENTS if name in figures}
    _log(model_uri, costs.model_id, params, figures, at_rates)


def _log(
    model_uri: str,
    model_id: str | None,
    params: Mapping[str, str],
    figures: dict[str, float],
    at_rates: Mapping[float, Mapping[str, float]],
) -> None:
    """Log in a new run, which knows this machine, and on the model. Percentiles at rates are curves over the rate."""
    uri = mlflow.get_tracking_uri()
    os.environ.pop("MLFLOW_RUN_ID", None)  # of an MLflow Project around this process: start_run would go on in that run

    def log() -> None:
        client = mlflow.MlflowClient()
        experiment = client.get_logged_model(model_id).experiment_id if model_id else None
        with mlflow.start_run(experiment_id=experiment, run_name=f"served {model_uri}", tags={KIND: "served"}):
            mlflow.log_params({"model": model_uri, **params})
            mlflow.log_metrics(figures, model_id=model_id)
            for rate, latencies in at_rates.items():
                curves = {f"{name}_at_rate": value for name, value in latencies.items()}
                mlflow.log_metrics(curves, step=round(rate), model_id=model_id)

    try:
        ask_store(uri, log)
    except StoreError as error:  # the figures are worth more
        click.echo(f"the figures were not logged: {error.message}", err=True)
