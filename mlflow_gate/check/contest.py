"""A contest: baseline and candidate run in pairs until each metric is decided, and a run in MLflow has the verdict."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import click
import mlflow
from mlflow import MlflowClient

from mlflow_gate.check import output, verdict
from mlflow_gate.check.budget import Budget, forecast
from mlflow_gate.check.verdict import ComparedMetric, Finding
from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.command.run import checked_run
from mlflow_sysmetrics.common.redact import redacted
from mlflow_sysmetrics.common.time_limits import COMMAND_ANSWER_S
from mlflow_sysmetrics.delivery import RunRef, child_run, writer_for
from mlflow_sysmetrics.recording.outcome import FINISHED, ended_by, failed
from mlflow_sysmetrics.recording.tags import KIND
from mlflow_sysmetrics.ui import address

BASELINE, CANDIDATE = "baseline", "candidate"
Metrics = Mapping[str, float]
_TOLERANCE = re.compile(r"\s*(?P<name>[^=\s]+)\s*=\s*(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>%|sd)\s*")


class CheckError(click.ClickException):
    """Nothing can be compared."""

    exit_code = 3


def failure(side: str, how: str) -> click.ClickException:
    """The error that a side fails; its exit code is 1 where that is the candidate."""
    kind = click.ClickException if side == CANDIDATE else CheckError
    return kind(f"the {side} {how}")


class Contest(Protocol):
    """What is compared: two programs, or two models. Their runs lie below `parent`, the run of the check."""

    @property
    def metrics(self) -> Sequence[ComparedMetric]:
        """Of pairs."""

    @property
    def how(self) -> str:
        """How both run, for the last line of the verdict."""

    def warm_up(self, parent: RunRef) -> list[Finding]:
        """Run each once; what is found of a metric that needs no pairs."""

    def run(self, parent: RunRef, pair: int) -> Sequence[Metrics]:
        """Run a pair; the metrics of baseline and candidate. A metric that one side lacks is skipped for this pair."""


def with_tolerances(compared: Sequence[ComparedMetric], tolerate: str) -> list[ComparedMetric]:
    """These metrics with the tolerances of a text. click.UsageError: for its first mistake."""
    known = {metric.name: metric for metric in sharing_the_error(compared)}
    for text in filter(str.strip, tolerate.split(",")):
        given = _TOLERANCE.fullmatch(text)
        metric = known.get(given["name"]) if given else None
        if not given or not metric or (given["unit"] == "sd" and metric.unit != "sd"):
            allowed = f"name=5% or, of a metric that a program logs, name=1sd; the names here are {', '.join(known)}"
            raise click.UsageError(f"--tolerate {text.strip()!r}: write {allowed}")
        known[metric.name] = replace(metric, unit=given["unit"], tolerance=float(given["number"]))
    return list(known.values())


def sharing_the_error(compared: Sequence[ComparedMetric]) -> list[ComparedMetric]:
    return [replace(metric, together=len(compared)) for metric in compared]


def compare(
    contest: Contest,
    name: str,
    params: Mapping[str, object],
    budget: Budget,
    promote: Callable[[], None] | None = None,
) -> output.Result:
    """Run pairs until the verdict is decided, and leave it in a run, which is FAILED unless nothing is worse.

    That is the run of the MLflow Project around this process, or else a new one with this name and these parameters.
    `promote` is called where nothing is worse.
    click.ClickException: the store does not answer, or a side fails.
    """
    parent = _begin(name, params)
    run = writer_for(parent.tracking_uri).open(str(parent.run_id))
    try:
        result = _in_pairs(contest, parent, budget)
        output.record(run, result)
        if promote and not result.exit_code:
            promote()
        run.end(failed(result.headline) if result.exit_code else FINISHED)  # no green tick in MLflow
    except BaseException as error:
        run.end(ended_by(error))
        raise
    finally:
        run.close(COMMAND_ANSWER_S)
    _attach(parent, result)
    link = address(f"#/experiments/{parent.experiment_id}/runs/{parent.run_id}", parent.tracking_uri)
    click.echo(f"the run of the check: {link}", err=True)
    return result


def _attach(run: RunRef, result: output.Result) -> None:
    """Write ``check.json`` into the run of the check. The verdict counts without it, too."""
    text = output.as_json(result)
    client = MlflowClient(run.tracking_uri)
    try:
        ask_store(run.tracking_uri, lambda: client.log_text(str(run.run_id), text, "check.json"))
    except StoreError as error:
        click.echo(f"check.json is missing in the run of the check. {error.message}", err=True)


def _begin(name: str, params: Mapping[str, object]) -> RunRef:
    uri = mlflow.get_tracking_uri()
    around = ask_store(uri, checked_run)
    if around.run_id is not None:
        run = writer_for(uri).open(around.run_id)
    else:
        run = child_run(around, f"check {name}")
        run.log(params=params)
    run.log(tags={KIND: "check"})
    run.close(COMMAND_ANSWER_S)
    if run.run_id is None:
        raise StoreError(f"{redacted(uri)}: the store did not create the run of the check")
    return around._replace(run_id=run.run_id)


def _in_pairs(contest: Contest, parent: RunRef, budget: Budget) -> output.Result:
    """It ends early where more pairs would not change the verdict: fewer looks make no error more likely."""
    click.echo("warm-up, which does not count", err=True)
    without_pairs = contest.warm_up(parent)
    _show(without_pairs)
    findings = without_pairs
    pair = 0
    runs: dict[str, dict[str, list[float]]] = {}
    for side in (BASELINE, CANDIDATE):
        runs[side] = {metric.name: [] for metric in contest.metrics}
    fitting = verdict.LOOKS[0]
    began_s = time.monotonic()
    for look in budget.looks:
        if verdict.WORSE in {finding.verdict for finding in findings}:
            break
        while pair < min(look, fitting):
            pair += 1
            both = contest.run(parent, pair)
            for name in set(both[0]).intersection(both[1], runs[BASELINE]):
                for side, measured in zip(runs, both, strict=True):
                    runs[side][name].append(measured[name])
            click.echo(f"pair {pair}", err=True)
            took_s = time.monotonic() - began_s
            fitting = budget.fitting(pair, took_s)
        baseline, candidate = runs.values()
        of_pairs = [verdict.judge(metric, baseline[metric.name], candidate[metric.name]) for metric in contest.metrics]
        _show(of_pairs)
        findings = [*without_pairs, *of_pairs]
        if pair >= fitting or verdict.UNDECIDED not in {finding.verdict for finding in of_pairs}:
            break
        if pair == verdict.LOOKS[0]:
            click.echo(forecast(contest.metrics, of_pairs, fitting, took_s / pair * (fitting - pair)), err=True)
    return output.Result(findings, pair, contest.how, runs)


def _show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        click.echo(f"  {output.sentence(finding)}", err=True)
