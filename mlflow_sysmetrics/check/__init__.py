"""The gate: is a candidate worse than its baseline, in what it costs or in what it logs?

`sides` are what is compared, `pairs` measures, `verdict` decides, `output` says it.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Param
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.tracking.fluent import _get_experiment_id

from mlflow_sysmetrics.check import output, sides, verdict
from mlflow_sysmetrics.check.pairs import Pairs, Used
from mlflow_sysmetrics.check.sides import CheckError, Side
from mlflow_sysmetrics.check.verdict import Judged, Summary
from mlflow_sysmetrics.command.ask_store import ask_store
from mlflow_sysmetrics.command.follow import Run
from mlflow_sysmetrics.command.run import script_of
from mlflow_sysmetrics.delivery.store import named_experiment, one_line
from mlflow_sysmetrics.redact import redacted_text
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.ui import address

_TOLERANCE = re.compile(r"\s*(?P<name>[^=\s]+)\s*=\s*(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>%|sd)\s*")
_AGAIN = "CPU and wall time of another hour cannot be judged: for these run the baseline again, with --baseline-command"


def check(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    baseline_command: str | None,
    baseline_commit: str | None,
    baseline: str | None,
    setup: str | None,
    lower: Sequence[str],
    higher: Sequence[str],
    tolerate: str,
    wall_time: bool,
    experiment_name: str | None,
    run_name: str | None,
) -> output.Result:
    """Compare a program with its baseline until each summary is decided, or ten pairs have run; record it in MLflow.

    Raises:
        click.UsageError: what was given is wrong.
        CheckError: a program failed.
        click.ClickException: the store does not answer.
    """
    if sum(map(bool, (baseline_command, baseline_commit, baseline))) != 1:
        raise click.UsageError("give one of --baseline-command, --baseline-commit and --baseline")
    summaries = _summaries(lower, higher, tolerate, wall_time, is_stored=bool(baseline))
    candidate = Side("candidate", command, Path.cwd(), environment)
    uri = mlflow.get_tracking_uri()
    client = MlflowClient(uri)
    before = sides.stored(ask_store(uri, lambda: client.get_run(baseline))) if baseline else None
    with contextlib.ExitStack() as stack:
        if baseline_commit:
            compared = stack.enter_context(sides.of_commit(candidate, baseline_commit, setup))
        else:
            compared = sides.of_command(candidate, baseline_command) if baseline_command else [candidate]
        about = {"command": shlex.join(command), "baseline": baseline_command or baseline_commit or str(baseline)}
        name = run_name or f"check {Path(script_of(command)).name}"
        run = ask_store(uri, lambda: _begin(client, uri, experiment_name, name, about))
        status = "FAILED"
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)))
        try:
            pairs = Pairs(compared, run, "wall time is asked for" if wall_time else "")
            result = _result(pairs, summaries, before)
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            with contextlib.suppress(MlflowException):  # the verdict is worth more than its run
                client.set_terminated(run.run_id, status)
    try:
        link = output.log(client, run, result)
        click.echo(f"see {address(link, uri)}", err=True)
    except MlflowException as error:
        click.echo(f"the store did not take the verdict: {redacted_text(one_line(error))}", err=True)
    return result


def _summaries(
    lower: Sequence[str], higher: Sequence[str], tolerate: str, wall_time: bool, *, is_stored: bool
) -> list[Summary]:
    """What is compared, with the tolerances that were given."""
    found = [verdict.MEMORY] if is_stored else [verdict.CPU, verdict.MEMORY, *([verdict.TIME] if wall_time else [])]
    found += [verdict.of_program(name, higher_is_better=names is higher) for names in (lower, higher) for name in names]
    known = {each.name: each for each in found}
    for text in filter(str.strip, tolerate.split(",")):
        given = _TOLERANCE.fullmatch(text)
        if not given or given["name"] not in known or (known[given["name"]].is_cost and given["unit"] == "sd"):
            allowed = f"name=5% or, of a metric, name=1sd; the names here are {', '.join(known)}"
            raise click.UsageError(f"--tolerate {text.strip()!r}: write {allowed}")
        unit: Literal["%", "sd"] = "%" if given["unit"] == "%" else "sd"
        amount = float(given["number"])
        known[given["name"]] = replace(known[given["name"]], unit=unit, tolerance=amount, least=amount)
    return list(known.values())


def _begin(client: MlflowClient, uri: str, experiment_name: str | None, name: str, about: Mapping[str, str]) -> Run:
    """The run of the check: that of an MLflow Project, or a new one."""
    found = named_experiment(client, experiment_name) if experiment_name else str(_get_experiment_id() or "0")
    run_id = os.environ.get("MLFLOW_RUN_ID") or client.create_run(found, tags=resolve_tags(), run_name=name).info.run_id
    run = client.get_run(run_id)
    client.set_tag(run_id, KIND, "check")
    if not run.data.params:  # a project's are its own
        client.log_batch(run_id, params=[Param(key, redacted_text(text)[:500]) for key, text in about.items()])
    return Run(uri, run.info.experiment_id, run_id)


def _result(pairs: Pairs, summaries: Sequence[Summary], before: Mapping[str, float] | None) -> output.Result:
    click.echo("warm-up, which does not count", err=True)
    pairs.warm_up()
    how = f"in turn: {pairs.why_in_turn}" if pairs.why_in_turn else "both at once"
    used: list[list[Used]] = [[] for _ in pairs.sides]
    judged: list[Judged] = []
    for count in range(1, verdict.LOOKS[-1] + 1):
        for runs, each in zip(used, pairs.run(count), strict=True):
            runs.append(each)
        numbers = {
            side.name: {each.name: _numbers(each, runs, side) for each in summaries}
            for side, runs in zip(pairs.sides, used, strict=True)
        }
        if before is not None:
            numbers["baseline"] = {each.name: [_stored(each, before)] for each in summaries}
        if count in verdict.LOOKS:
            before_rows, after_rows = ([*numbers[side].values()] for side in ("baseline", "candidate"))
            worse = [each.name for each in judged if each.verdict == "worse"]
            judged = verdict.judge(summaries, before_rows, after_rows, worse)
            click.echo(f"after {count} pairs: {'; '.join(map(output.sentence, judged))}", err=True)
            if all(each.verdict != "cannot be judged" for each in judged):
                break
        else:
            click.echo(f"pair {count}", err=True)
    return output.Result(judged, count, how, "" if before is None else _AGAIN, numbers)


def _numbers(summary: Summary, runs: Sequence[Used], side: Side) -> list[float]:
    found = [(each.costs if summary.is_cost else each.metrics).get(summary.name, math.nan) for each in runs]
    if not all(map(math.isfinite, found)):
        known = ", ".join(sorted(name for name in runs[-1].metrics if "/" not in name)) or "none"
        raise side.failed(f"has no finite metric {summary.name!r} in its run, which has {known}")
    return found


def _stored(summary: Summary, before: Mapping[str, float]) -> float:
    if summary.name not in before:
        raise CheckError(f"the stored run has no metric {summary.name!r}; it has {', '.join(sorted(before))}")
    return before[summary.name]
