"""The gate: is a candidate worse than its baseline, in what it costs or in what it logs?

`sides` are what is compared, `pairs` measures, `verdict` decides, `output` says it.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import click
import mlflow
from mlflow import MlflowClient

from mlflow_sysmetrics.check import output, sides, verdict
from mlflow_sysmetrics.check.pairs import Pairs
from mlflow_sysmetrics.check.sides import Side
from mlflow_sysmetrics.check.verdict import ComparedMetric, Judged
from mlflow_sysmetrics.command.ask_store import ask_store
from mlflow_sysmetrics.command.run import checked_run, script_of
from mlflow_sysmetrics.delivery import RunRef, source_tags, writer_for
from mlflow_sysmetrics.outcome import Outcome, failed
from mlflow_sysmetrics.redact import redacted
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.ui import address

_CLOSE_S = 5.0  # to deliver what waits for the run of the check
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
    """Compare a program with its baseline until each metric is decided, or ten pairs have run; record it in MLflow.

    `baselines` has one value that is not None, of ``command``, ``commit`` and ``run``. `metrics` are those that the
    program logs, and whether higher is better. click.ClickException: what was given is wrong, a program failed, or the
    store does not answer.
    """
    kind, baseline = _only_baseline(baselines)
    if setup and kind != "commit":
        raise click.UsageError("--setup prepares the code of a commit: give --baseline-commit with it")
    why_in_turn = "wall time is asked for" if wall_time else ""
    if kind == "run":
        if wall_time:
            raise click.UsageError("--wall-time of a stored run is that of another hour: give --baseline-command")
        why_in_turn = "the baseline is a stored run; for CPU time, run the baseline again with --baseline-command"
    compared = _compared(kind, wall_time, metrics, tolerate)
    candidate = Side("candidate", command, Path.cwd(), environment)
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler))
        both = stack.enter_context(_both_sides(kind, baseline, candidate, setup))
        run = _begin(command, baseline)
        handle = writer_for(run.tracking_uri).open(str(run.run_id))
        try:
            result = _result(Pairs(both, run, why_in_turn), compared)
        except BaseException as error:
            handle.end(Outcome("KILLED") if isinstance(error, KeyboardInterrupt) else failed(error))
            handle.close(_CLOSE_S)  # what ended it is worth more than its run
            raise
    output.record(handle, result)
    handle.close(_CLOSE_S)
    try:
        link = ask_store(run.tracking_uri, lambda: output.save_page(run, result))
        click.echo(f"see {address(link, run.tracking_uri)}", err=True)
    except click.ClickException as error:  # the verdict is worth more than its page
        click.echo(f"the store did not take the page of the verdict: {error.message}", err=True)
    return result


def _only_baseline(baselines: Mapping[str, str | None]) -> tuple[str, str]:
    given = [(kind, baseline) for kind, baseline in baselines.items() if baseline]
    if len(given) != 1:
        raise click.UsageError("give one of --baseline-command, --baseline-commit and --baseline")
    return given[0]


def _both_sides(kind: str, baseline: str, candidate: Side, setup: str | None) -> AbstractContextManager[list[Side]]:
    if kind == "commit":
        return sides.of_commit(candidate, baseline, setup)
    if kind == "command":
        return nullcontext([replace(candidate, name="baseline", command=shlex.split(baseline)), candidate])
    uri = mlflow.get_tracking_uri()
    return nullcontext([sides.stored(ask_store(uri, lambda: MlflowClient(uri).get_run(baseline))), candidate])


def _compared(kind: str, wall_time: bool, metrics: Mapping[str, bool], tolerate: str) -> list[ComparedMetric]:
    """What is compared, with the tolerances that were given."""
    costs = [verdict.CPU, verdict.PEAK_RSS, verdict.MEMORY]
    if kind == "run":
        costs = [verdict.PEAK_RSS]  # peak_memory_mb is sampled: one value does not tell by how much it varies
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


def _begin(command: Sequence[str], baseline: str) -> RunRef:
    """The run of the check: that of an MLflow Project, or a new one. ClickException: the store does not answer."""
    uri = mlflow.get_tracking_uri()
    run = ask_store(uri, checked_run)
    writer = writer_for(uri)
    if run.run_id is not None:
        handle = writer.open(run.run_id)
    else:
        handle = writer.create(run.experiment_id, name=f"check {Path(script_of(command)).name}", tags=source_tags())
        handle.log(params={"command": shlex.join(command), "baseline": baseline})
    handle.log(tags={KIND: "check"})
    handle.close(_CLOSE_S)
    if handle.run_id is None:
        raise click.ClickException(f"{redacted(uri)}: the store did not create the run of the check")
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
                if side.stored is None or not values:
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
