"""What a model costs as it is served: measured, printed, logged on the model, and judged by limits."""

from __future__ import annotations

import click
import mlflow
import pandas as pd

from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.limits import digits
from mlflow_sysmetrics.metrics import names
from mlflow_sysmetrics.served import ServedCosts, ServedError, ServerError, judged, served_costs, served_limits
from mlflow_sysmetrics.tags import KIND

BROKEN, WRONG_USE, UNKNOWN = 1, 2, 3  # exit codes


class ModelError(click.ClickException):
    """The model cannot be served, which is worse than any cost."""

    exit_code = BROKEN


def served(model_uri: str, data: str | None, limits: str) -> int:
    """Measure a model, print and log what it costs, and return the exit code.

    click.ClickException: the limits, the rows or the address are wrong, or the model cannot be served.
    """
    try:
        parsed = served_limits(limits) if limits.strip() else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    rows = None if data is None else read_rows(data)
    try:
        costs = served_costs(model_uri, rows)
    except ServerError as error:
        raise ModelError(str(error)) from None
    except ServedError as error:
        raise click.UsageError(str(error)) from None
    click.echo("\n".join(_lines(model_uri, costs)))
    _log(model_uri, costs)
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
        return pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise click.UsageError(f"--data {path}: {error}") from None


def _lines(model_uri: str, costs: ServedCosts) -> list[str]:
    lines = [f"{model_uri}, {costs.requests} requests of one row, one after the other:"]
    lines += [f"  {name:<20}{digits(costs.figures[name], 4):>10}" for name in names("served") if name in costs.figures]
    if costs.untrusted:
        others = f"other programs kept {costs.contention.other_cores:.1f} cores busy"
        lines.append(f"The machine was busy: {others}, so these are not logged: {', '.join(costs.untrusted)}.")
    return lines


def _log(model_uri: str, costs: ServedCosts) -> None:
    """Log the figures in a run of their own, which knows this machine, and on the model."""
    uri = mlflow.get_tracking_uri()

    def log() -> None:
        client = mlflow.MlflowClient()
        experiment = client.get_logged_model(costs.model_id).experiment_id if costs.model_id else None
        with mlflow.start_run(experiment_id=experiment, run_name=f"served {model_uri}", tags={KIND: "served"}):
            mlflow.log_param("model", model_uri)
            mlflow.log_metrics(costs.trusted, model_id=costs.model_id)

    try:
        ask_store(uri, log)
    except StoreError as error:  # the figures are worth more
        click.echo(f"the figures were not logged: {error.message}", err=True)
