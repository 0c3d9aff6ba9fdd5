"""What a model costs as it is served: measured, printed, logged, and judged by limits."""

from __future__ import annotations

import os

import click
import mlflow
import pandas as pd

from mlflow_gate.metrics import SERVED
from mlflow_gate.served import (
    PERCENTS,
    ServedCosts,
    ServedError,
    ServerError,
    judged,
    served_costs,
    served_limits,
)
from mlflow_gate.table_files import read_table
from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.limits import digits
from mlflow_sysmetrics.recording.tags import KIND

BROKEN, UNKNOWN = 1, 3  # exit codes


def served(model_uri: str, *, data: str | None, limits: str, rate: float | None) -> int:
    """Measure a model, print and log what is found, and return the exit code.

    click.ClickException: the options, the rows or the address are wrong, or the model cannot be served.
    """
    try:
        parsed = served_limits(limits) if limits.strip() else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    rows = None if data is None else read_rows(data)
    try:
        costs = served_costs(model_uri, rows, rate=rate)
    except ServerError as error:
        raise click.ClickException(str(error)) from None  # exit code 1: it is worse than any cost
    except ServedError as error:
        raise click.UsageError(str(error)) from None
    click.echo("\n".join(_lines(model_uri, costs, rate)))
    _log(model_uri, costs, rate)
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


def _log(model_uri: str, costs: ServedCosts, rate: float | None) -> None:
    """Log in a new run, which knows this machine, and on the model.

    Latencies at a rate are points of curves over rates: those of a stream are not to be compared with them.
    """
    uri = mlflow.get_tracking_uri()
    os.environ.pop("MLFLOW_RUN_ID", None)  # of an MLflow Project around this process: start_run would go on in that run
    params = {"model": model_uri}
    figures = costs.trusted
    at_rate = {}
    if rate is not None:
        params["rate"] = f"{rate:g}"
        at_rate = {f"{name}_at_rate": figures.pop(name) for name in PERCENTS if name in figures}

    def log() -> None:
        client = mlflow.MlflowClient()
        experiment = client.get_logged_model(costs.model_id).experiment_id if costs.model_id else None
        with mlflow.start_run(experiment_id=experiment, run_name=f"served {model_uri}", tags={KIND: "served"}):
            mlflow.log_params(params)
            mlflow.log_metrics(figures, model_id=costs.model_id)
            mlflow.log_metrics(at_rate, step=round(rate or 0), model_id=costs.model_id)

    try:
        ask_store(uri, log)
    except StoreError as error:  # the figures are worth more
        click.echo(f"the figures were not logged: {error.message}", err=True)
