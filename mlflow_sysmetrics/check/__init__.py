"""The gate: is a candidate worse than its baseline, in what it costs or in what it logs?

`sides` are what is compared, `pairs` measures, `verdict` decides, `output` says it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import click
import mlflow

from mlflow_sysmetrics.check import output, sides, verdict
from mlflow_sysmetrics.check.pairs import Pairs
from mlflow_sysmetrics.check.sides import Side
from mlflow_sysmetrics.check.verdict import ComparedMetric, Judged
from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.command.run import checked_run, script_of
from mlflow_sysmetrics.delivery import RunRef, child_run, writer_for
from mlflow_sysmetrics.outcome import ended_by
from mlflow_sysmetrics.redact import redacted
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.ui import address

_CLOSE_S = 5.0  # to deliver what waits for the run of the check
_TOLERANCE = re.compile(r"\s*(?P<name>[^=\s]+)\s*=\s*(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>%|sd)\s*")


def check(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    baseline_command: str | None,
    baseline_commit: str | None,
    setup: str | None,
    metrics: Mapping[str, bool],
    tolerate: str,
    wall_time: bool,
) -> output.Result:
    """Compare a program with its baseline until each metric is decided, or ten pairs have run; record it in MLflow.

    `metrics` are those that the program logs, and whether higher is better. click.ClickException: what was given is
    wrong, a program failed, or the store does not answer.
    """
    if bool(baseline_command) == bool(baseline_commit):
        raise click.UsageError("give one of --baseline-command and --baseline-commit")
    if setup and not baseline_commit:
        raise click.UsageError("--setup prepares the code of a commit: give --baseline-commit with it")
    why_in_turn = "wall time is asked for" if wall_time else ""
    compared = _compared(wall_time, metrics, tolerate)
    candidate = Side("candidate", command, Path.cwd(), environment)
    to_compare: AbstractContextManager[list[Side]]
    if baseline_commit:
        to_compare = sides.of_commit(candidate, baseline_commit, setup)
    else:
        baseline = replace(candidate, name="baseline", command=shlex.split(str(baseline_command)))
        to_compare = nullcontext([baseline, candidate])
    with to_compare as both:
        run = _begin(command, baseline_commit or baseline_command)
        handle = writer_for(run.tracking_uri).open(str(run.run_id))
        try:
            result = _result(Pairs(both, run, why_in_turn), compared)
            output.record(handle, result)
        except BaseException as error:
            handle.end(ended_by(error))
            raise
        finally:
            handle.close(_CLOSE_S)
    try:
        link = ask_store(run.tracking_uri, lambda: output.save_page(run, result))
        click.echo(f"see {address(link, run.tracking_uri)}", err=True)
    except StoreError as error:  # the verdict is worth more than its page
        click.echo(f"the store did not take the page of the verdict: {error.message}", err=True)
    return result


def _compared(wall_time: bool, metrics: Mapping[str, bool], tolerate: str) -> list[ComparedMetric]:
    """What is compared, with the tolerances that were given."""
    costs = [verdict.CPU, verdict.PEAK_RSS, verdict.MEMORY]
    if wall_time:
        costs.append(verdict.TIME)
    known = {cost.name: cost for cost in costs}
    for name, higher_is_better in metrics.items():
        known[name] = ComparedMetric(name, higher_is_better=higher_is_better)
    for text in filter(str.strip, tolerate.split(",")):
        given = _TOLERANCE.fullmatch(text)
        if not given or given["name"] not in known or (known[given["name"]].is_cost and given["unit"] == "sd"):
            allowed = f"name=5% or, of a metric, name=1sd; the names here are {', '.join(known)}"
            raise click.UsageError(f"--tolerate {text.strip()!r}: write {allowed}")
        amount = float(given["number"])
        name = given["name"]
        known[name] = replace(known[name], unit=given["unit"], tolerance=amount, min_change=amount)
    return list(known.values())


def _begin(command: Sequence[str], baseline: str | None) -> RunRef:
    """The run of the check: that of an MLflow Project, or a new one. ClickException: the store does not answer."""
    uri = mlflow.get_tracking_uri()
    run = ask_store(uri, checked_run)
    if run.run_id is not None:
        handle = writer_for(uri).open(run.run_id)
    else:
        handle = child_run(run, f"check {Path(script_of(command)).name}")
        handle.log(params={"command": shlex.join(command), "baseline": baseline})
    handle.log(tags={KIND: "check"})
    handle.close(_CLOSE_S)
    if handle.run_id is None:
        raise StoreError(f"{redacted(uri)}: the store did not create the run of the check")
    return run._replace(run_id=handle.run_id)


def _result(pairs: Pairs, compared: Sequence[ComparedMetric]) -> output.Result:
    click.echo("warm-up, which does not count", err=True)
    pairs.warm_up()
    runs: dict[str, dict[str, list[float]]] = {}
    for side in pairs.sides:
        runs[side.name] = {metric.name: [] for metric in compared}
    judged: list[Judged] = []
    for count in range(1, verdict.LOOKS[-1] + 1):
        for side, metrics in zip(pairs.sides, pairs.run(count), strict=True):
            for name, values in runs[side.name].items():
                values.append(side.number(metrics, name))
        click.echo(f"pair {count}", err=True)
        if count in verdict.LOOKS:
            before, after = ([*values.values()] for values in runs.values())
            judged = verdict.judge(compared, before, after, judged)
            click.echo("\n".join(f"  {output.sentence(metric)}" for metric in judged), err=True)
            if all(each.verdict != verdict.UNDECIDED for each in judged):
                break
    how = f"in turn: {pairs.why_in_turn}" if pairs.why_in_turn else "both at once"
    return output.Result(judged, count, how, runs)
