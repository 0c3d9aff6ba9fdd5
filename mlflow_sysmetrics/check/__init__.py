"""The gate: is a candidate worse than its baseline, in what it costs or in what it logs?

`sides` are what is compared, `pairs` measures, `verdict` decides, `output` says it.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Param
from mlflow.tracking.context.registry import resolve_tags

from mlflow_sysmetrics.check import output, sides, verdict
from mlflow_sysmetrics.check.pairs import Pairs
from mlflow_sysmetrics.check.sides import Side
from mlflow_sysmetrics.check.verdict import Judged, Summary
from mlflow_sysmetrics.command.ask_store import ask_store
from mlflow_sysmetrics.command.follow import Run
from mlflow_sysmetrics.command.run import named_run, script_of
from mlflow_sysmetrics.redact import redacted_text
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.ui import address

_TOLERANCE = re.compile(r"\s*(?P<name>[^=\s]+)\s*=\s*(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>%|sd)\s*")


def check(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    baselines: Mapping[str, str | None],
    setup: str | None,
    metrics: Mapping[str, bool],
    tolerate: str,
    wall_time: bool,
) -> output.Result:
    """Compare a program with its baseline until each summary is decided, or ten pairs have run; record it in MLflow.

    `baselines` has one value that is not None, of ``command``, ``commit`` and ``run``. `metrics` are those that the
    program logs, and whether higher is better. click.ClickException: what was given is wrong, a program failed, or the
    store does not answer.
    """
    given = [(kind, baseline) for kind, baseline in baselines.items() if baseline]
    if len(given) != 1:
        raise click.UsageError("give one of --baseline-command, --baseline-commit and --baseline")
    ((kind, baseline),) = given
    if setup and kind != "commit":
        raise click.UsageError("--setup prepares the code of a commit: give --baseline-commit with it")
    if wall_time and kind == "run":
        raise click.UsageError("--wall-time of a stored run is that of another hour: give --baseline-command")
    summaries = _summaries(kind, wall_time, metrics, tolerate)
    uri = mlflow.get_tracking_uri()
    client = MlflowClient(uri)
    candidate = Side("candidate", command, Path.cwd(), environment)
    why_in_turn = "wall time is asked for" if wall_time else ""
    with contextlib.ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler))
        if kind == "commit":
            both = stack.enter_context(sides.of_commit(candidate, baseline, setup))
        elif kind == "command":
            both = [replace(candidate, name="baseline", command=shlex.split(baseline)), candidate]
        else:
            both = [sides.stored(ask_store(uri, lambda: client.get_run(baseline))), candidate]
            why_in_turn = "the baseline is a stored run; for CPU time, run the baseline again with --baseline-command"
        about = {"command": shlex.join(command), "baseline": baseline}
        run = ask_store(uri, lambda: _begin(client, uri, about))
        try:
            result = _result(Pairs(both, run, why_in_turn), summaries)
        except BaseException as error:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            with contextlib.suppress(click.ClickException):  # what ended it is worth more than its run
                ask_store(uri, lambda: client.set_terminated(run.run_id, status))
            raise
    try:
        link = ask_store(uri, lambda: output.log(client, run, result))
        click.echo(f"see {address(link, uri)}", err=True)
    except click.ClickException as error:  # the verdict is worth more than its run
        click.echo(f"the store did not take the verdict: {error.message}", err=True)
    return result


def _summaries(kind: str, wall_time: bool, metrics: Mapping[str, bool], tolerate: str) -> list[Summary]:
    """What is compared, with the tolerances that were given."""
    costs = [verdict.MEMORY] if kind == "run" else [verdict.CPU, verdict.MEMORY, *([verdict.TIME] if wall_time else [])]
    logged = [Summary(name, higher_is_better=higher) for name, higher in metrics.items()]
    known = {each.name: each for each in [*costs, *logged]}
    for text in filter(str.strip, tolerate.split(",")):
        given = _TOLERANCE.fullmatch(text)
        if not given or given["name"] not in known or (known[given["name"]].is_cost and given["unit"] == "sd"):
            allowed = f"name=5% or, of a metric, name=1sd; the names here are {', '.join(known)}"
            raise click.UsageError(f"--tolerate {text.strip()!r}: write {allowed}")
        name, amount = given["name"], float(given["number"])
        known[name] = replace(known[name], unit=given["unit"], tolerance=amount, least=amount)
    return list(known.values())


def _begin(client: MlflowClient, uri: str, about: Mapping[str, str]) -> Run:
    """The run of the check: that of an MLflow Project, or a new one."""
    run = named_run(uri, None)
    if not run.run_id:
        name = f"check {Path(script_of(shlex.split(about['command']))).name}"
        made = client.create_run(run.experiment_id, tags=resolve_tags(), run_name=name)
        run = run._replace(run_id=made.info.run_id)
        client.log_batch(run.run_id, params=[Param(key, redacted_text(text)[:500]) for key, text in about.items()])
    client.set_tag(run.run_id, KIND, "check")
    return run


def _result(pairs: Pairs, summaries: Sequence[Summary]) -> output.Result:
    click.echo("warm-up, which does not count", err=True)
    pairs.warm_up()
    runs = {side.name: {each.name: list[float]() for each in summaries} for side in pairs.sides}
    judged: list[Judged] = []
    for count in range(1, verdict.LOOKS[-1] + 1):
        for side, metrics in zip(pairs.sides, pairs.run(count), strict=True):
            for name, known in runs[side.name].items():
                if side.stored is None or not known:
                    known.append(side.number(metrics, name))
        click.echo(f"pair {count}", err=True)
        if count in verdict.LOOKS:
            before, after = ([*rows.values()] for rows in runs.values())
            judged = verdict.judge(summaries, before, after, judged)
            click.echo("; ".join(map(output.sentence, judged)), err=True)
            if all(each.verdict != "cannot be judged" for each in judged):
                break
    how = f"in turn: {pairs.why_in_turn}" if pairs.why_in_turn else "both at once"
    return output.Result(judged, count, how, runs)
