"""What a model costs as it is served: measured, printed, logged, and judged by limits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click
import mlflow
import pandas as pd

from mlflow_gate.metrics import SERVED
from mlflow_gate.served import (
    PERCENTS,
    Endpoint,
    ServedCosts,
    ServedError,
    ServerError,
    endpoint_costs,
    judged,
    one_by_one,
    served_at_rates,
    served_limits,
)
from mlflow_gate.table_files import read_table
from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.common.redact import redacted
from mlflow_sysmetrics.limits import Limits, digits
from mlflow_sysmetrics.recording.tags import KIND

BROKEN, UNKNOWN = 1, 3  # exit codes
_AT_RATE = (*PERCENTS, "served_cpu_ms")  # what may differ from one rate to the next
_INVOCATIONS = "/invocations"


class Question(NamedTuple):
    """What is asked: a model that MLflow knows, or else a URL; with rows, or with the body of a request."""

    model_uri: str | None
    url: str | None
    data: str | None
    body: str | None

    @property
    def name(self) -> str:
        return self.model_uri or redacted(self.url or "")


def served(question: Question, *, limits: str, rates: Sequence[float], seed: int) -> int:
    """Measure a model or an endpoint, print and log what is found, and return the exit code.

    click.ClickException: the options, the rows or the address are wrong, or the model cannot be served.
    """
    try:
        parsed = served_limits(limits) if limits.strip() else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _check(question)
    try:
        costs = _measured(question, rates, seed)
    except ServerError as error:
        raise click.ClickException(str(error)) from None  # exit code 1: it is worse than any cost
    except ServedError as error:
        raise click.UsageError(str(error)) from None
    click.echo("\n".join(_lines(question, costs)))
    _log(question, costs)
    return 0 if parsed is None else _judge(parsed, costs)


def _check(question: Question) -> None:
    """click.UsageError: these do not go together."""
    model_uri, url, _, body = question
    if (model_uri is None) == (url is None):
        raise click.UsageError("give a model, such as models:/m@champion, or --url of an endpoint")
    if url is None and body is not None:
        raise click.UsageError("--body is for --url; give a model its rows as --data")


def _measured(question: Question, rates: Sequence[float], seed: int) -> list[ServedCosts]:
    if question.url is not None:
        requests = requests_of(question.data, question.body)
        return endpoint_costs(endpoint_at(question.url), requests, rates, seed)
    rows = None if question.data is None else read_rows(question.data)
    return served_at_rates(question.name, rows, rates, seed)


def endpoint_at(url: str) -> Endpoint:
    """The endpoint of an address, by default at the path of MLflow's server. click.UsageError: it is no address."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise click.UsageError(f"--url {redacted(url)}: use an address such as http://host:8080/invocations")
    if not address.path.strip("/"):
        url = address._replace(path=_INVOCATIONS).geturl()
    return Endpoint(redacted(url), url)


def requests_of(data: str | None, body: str | None) -> list[bytes]:
    """Bodies of requests for one row each, by the options for endpoints. click.UsageError: there are none."""
    if (data is None) == (body is None):
        raise click.UsageError("--url needs what to send: give rows as --data, or the body of a request as --body")
    if data is not None:
        return one_by_one(read_rows(data))
    try:
        return [Path(str(body)).read_bytes()]
    except OSError as error:
        raise click.UsageError(f"--body {body}: {error.strerror}") from None


def read_rows(path: str) -> pd.DataFrame:
    """The rows of a CSV or Parquet file. click.UsageError: it is not there, or neither."""
    try:
        return read_table(path)
    except (ValueError, OSError, EOFError, Warning) as error:
        raise click.UsageError(f"--data {path}: {error}") from None


def _lines(question: Question, costs: Sequence[ServedCosts]) -> list[str]:
    name = question.name
    last = costs[-1]
    if last.rate is None:
        lines = [f"{name}, {last.requests} requests of one row, one after the other:"]
        shown = SERVED
    else:
        lines = [f"{name}, requests of one row at random moments:", *_table(costs)]
        shown = tuple(figure for figure in SERVED if figure not in _AT_RATE)
    for figure in shown:
        if figure in last.figures:
            lines.append(f"  {figure:<20}{digits(last.figures[figure], 4):>10}")
    if last.server_ms is not None:
        lines.append(f"MLflow's server takes {digits(last.server_ms, 2)} ms of served_p50_ms, whatever the model.")
    if question.url is not None:
        lines.append("CPU time and memory are not known: the server's processes cannot be seen from here.")
    for each in costs:
        at = "" if each.rate is None else f" at {each.rate:g} a second"
        if each.cannot_keep_up:
            lines.append(f"{name} cannot keep up: {each.cannot_keep_up}")
        if each.contention.is_busy:
            untrusted = [figure for figure in each.figures if figure not in each.trusted]
            lines.append(f"The machine was busy{at}: {each.contention}; not logged: {', '.join(untrusted)}.")
    return lines


def _table(costs: Sequence[ServedCosts]) -> list[str]:
    """A line for each rate."""
    lines = [f"  {'rate':>8}{'answered':>10}" + "".join(f"{_short(name):>9}" for name in _AT_RATE)]
    for each in costs:
        cells = [digits(each.figures[name], 4) if name in each.figures else "-" for name in _AT_RATE]
        keeps_up = "" if each.cannot_keep_up is None else "  cannot keep up"
        start = f"  {each.rate:>8g}{each.answered_per_s:>10.3g}"
        lines.append(start + "".join(f"{cell:>9}" for cell in cells) + keeps_up)
    return lines


def _short(name: str) -> str:
    return name.removeprefix("served_")


def _judge(limits: Limits, costs: Sequence[ServedCosts]) -> int:
    """Say which limits are broken, and return the exit code."""
    code = 0
    for each in costs:
        at = "" if each.rate is None or len(costs) == 1 else f"at {each.rate:g} a second: "
        judgement = judged(limits.rules, each)
        for sentence in [*judgement.broken, *judgement.unknown]:
            click.echo(at + sentence)
        if judgement.broken:
            code = BROKEN
        elif judgement.unknown and code == 0:
            code = UNKNOWN
    if code == 0:
        click.echo(f"meets {limits}")
    return code


def _log(question: Question, costs: Sequence[ServedCosts]) -> None:
    """Log in a new run, which knows this machine, and on the model.

    Figures at a rate are points of curves over rates: those of a stream are not to be compared with them.
    """
    uri = mlflow.get_tracking_uri()
    os.environ.pop("MLFLOW_RUN_ID", None)  # of an MLflow Project around this process: start_run would go on in that run
    last = costs[-1]
    model_id = last.model_id
    params = {"model" if question.url is None else "url": question.name}
    figures = last.trusted
    if last.rate is not None:
        params["rate"] = ",".join(f"{each.rate:g}" for each in costs)
        figures = {name: value for name, value in figures.items() if name not in _AT_RATE}

    def log() -> None:
        client = mlflow.MlflowClient()
        experiment = client.get_logged_model(model_id).experiment_id if model_id else None
        with mlflow.start_run(experiment_id=experiment, run_name=f"served {question.name}", tags={KIND: "served"}):
            mlflow.log_params(params)
            mlflow.log_metrics(figures, model_id=model_id)
            for each in costs:
                mlflow.log_metrics(_curves(each), step=round(each.rate or 0), model_id=model_id)

    try:
        ask_store(uri, log)
    except StoreError as error:  # the figures are worth more
        click.echo(f"the figures were not logged: {error.message}", err=True)


def _curves(costs: ServedCosts) -> dict[str, float]:
    """One point of each curve over rates."""
    if costs.rate is None:
        return {}
    points = {f"{name}_at_rate": costs.trusted[name] for name in _AT_RATE if name in costs.trusted}
    if not costs.contention.is_busy:
        points["served_answered_per_s_at_rate"] = costs.answered_per_s
    return points
