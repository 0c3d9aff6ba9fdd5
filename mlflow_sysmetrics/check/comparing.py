"""What checks of programs and of models share: pairs until each metric is decided, and a run of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click
import mlflow

from mlflow_sysmetrics.check import output, verdict
from mlflow_sysmetrics.check.pairs import Pairs
from mlflow_sysmetrics.check.verdict import ComparedMetric, Judged
from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.command.run import checked_run
from mlflow_sysmetrics.delivery import RunRef, child_run, writer_for
from mlflow_sysmetrics.outcome import ended_by
from mlflow_sysmetrics.redact import redacted
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.ui import address

if TYPE_CHECKING:  # a check of programs needs no pandas
    from mlflow_sysmetrics.check.models import ModelPairs

_CLOSE_S = 5.0  # to deliver what waits for the run of the check
_TOLERANCE = re.compile(r"\s*(?P<name>[^=\s]+)\s*=\s*(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>%|sd)\s*")


def with_tolerances(compared: Sequence[ComparedMetric], tolerate: str) -> list[ComparedMetric]:
    """These metrics, with the tolerances that a text gives them. click.UsageError: for its first mistake."""
    known = {metric.name: metric for metric in compared}
    for text in filter(str.strip, tolerate.split(",")):
        given = _TOLERANCE.fullmatch(text)
        metric = known.get(given["name"]) if given else None
        if not given or not metric or (given["unit"] == "sd" and metric.unit != "sd"):
            allowed = f"name=5% or, of a metric that a program logs, name=1sd; the names here are {', '.join(known)}"
            raise click.UsageError(f"--tolerate {text.strip()!r}: write {allowed}")
        amount = float(given["number"])
        known[metric.name] = replace(metric, unit=given["unit"], tolerance=amount, min_change=amount)
    return list(known.values())


def begin(name: str, params: Mapping[str, object]) -> RunRef:
    """The run of the check: that of an MLflow Project, or a new one. ClickException: the store does not answer."""
    uri = mlflow.get_tracking_uri()
    run = ask_store(uri, checked_run)
    if run.run_id is not None:
        handle = writer_for(uri).open(run.run_id)
    else:
        handle = child_run(run, f"check {name}")
        handle.log(params=params)
    handle.log(tags={KIND: "check"})
    handle.close(_CLOSE_S)
    if handle.run_id is None:
        raise StoreError(f"{redacted(uri)}: the store did not create the run of the check")
    return run._replace(run_id=handle.run_id)


def recorded(run: RunRef, compare: Callable[[], output.Result]) -> output.Result:
    """Compare, and leave the verdict in the run of the check, which ends as the comparison does."""
    handle = writer_for(run.tracking_uri).open(str(run.run_id))
    try:
        result = compare()
        output.record(handle, result)
    except BaseException as error:
        handle.end(ended_by(error))
        raise
    finally:
        handle.close(_CLOSE_S)
    link = address(f"#/experiments/{run.experiment_id}/runs/{run.run_id}", run.tracking_uri)
    click.echo(f"the run of the check: {link}", err=True)
    return result


def in_pairs(
    pairs: Pairs | ModelPairs, compared: Sequence[ComparedMetric], judge_rows: Callable[[], list[Judged]] = list
) -> output.Result:
    """Run pairs until each metric is decided; what `judge_rows` says after the warm-up needs no pairs."""
    click.echo("warm-up, which does not count", err=True)
    pairs.warm_up()
    at_once = judge_rows()
    _show(at_once)
    runs: dict[str, dict[str, list[float]]] = {}
    for side in pairs.sides:
        runs[side.name] = {metric.name: [] for metric in compared}
    judged: list[Judged] = []
    for count in range(1, verdict.LOOKS[-1] + 1):
        for place, metrics in enumerate(pairs.run(count)):
            side = pairs.sides[place]
            for name, values in runs[side.name].items():
                values.append(side.number(metrics, name))
        click.echo(f"pair {count}", err=True)
        if count in verdict.LOOKS:
            before, after = ([*values.values()] for values in runs.values())
            judged = verdict.judge(compared, before, after, judged, beside=len(at_once))
            _show(judged)
            if all(each.verdict != verdict.UNDECIDED for each in judged):
                break
    return output.Result([*at_once, *judged], count, pairs.how, runs)


def _show(judged: Sequence[Judged]) -> None:
    for metric in judged:
        click.echo(f"  {output.sentence(metric)}", err=True)
