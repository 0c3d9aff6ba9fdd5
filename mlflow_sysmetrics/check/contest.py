"""A contest: baseline and candidate run in pairs until each metric is decided, and a run in MLflow has the verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import click
import mlflow

from mlflow_sysmetrics.check import output, verdict
from mlflow_sysmetrics.check.verdict import ComparedMetric, Finding
from mlflow_sysmetrics.command.ask_store import StoreError, ask_store
from mlflow_sysmetrics.command.run import checked_run
from mlflow_sysmetrics.delivery import RunRef, child_run, writer_for
from mlflow_sysmetrics.outcome import ended_by
from mlflow_sysmetrics.redact import redacted
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.time_limits import DELIVER_S
from mlflow_sysmetrics.ui import address

BASELINE, CANDIDATE = "baseline", "candidate"
Metrics = Mapping[str, float]
_TOLERANCE = re.compile(r"\s*(?P<name>[^=\s]+)\s*=\s*(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>%|sd)\s*")


class CheckError(click.ClickException):
    """Nothing can be compared."""

    exit_code = 3


class CandidateError(CheckError):
    """The same, and that is the candidate's fault."""

    exit_code = 1


def failure(side: str, how: str) -> CheckError:
    """The error that a side fails."""
    kind = CandidateError if side == CANDIDATE else CheckError
    return kind(f"the {side} {how}")


class Contest(Protocol):
    """What is compared: two programs, or two models. Their runs lie below `parent`, the run of the check."""

    @property
    def how(self) -> str:
        """How both run, for the last line of the verdict."""

    def warm_up(self, parent: RunRef) -> list[Finding]:
        """Run each once; what is found of a metric that needs no pairs."""

    def run(self, parent: RunRef, pair: int) -> Sequence[Metrics]:
        """Run a pair; the metrics of the baseline and of the candidate."""


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


def compare(
    contest: Contest, metrics: Sequence[ComparedMetric], name: str, params: Mapping[str, object]
) -> output.Result:
    """Run pairs until the verdict is decided, and leave it in a run, which is FAILED unless nothing is worse.

    That is the run of the MLflow Project around this process, or else a new one with this name and these parameters.
    click.ClickException: the store does not answer, or a side fails.
    """
    parent = _begin(name, params)
    run = writer_for(parent.tracking_uri).open(str(parent.run_id))
    try:
        result = _in_pairs(contest, parent, metrics)
        output.record(run, result)
    except BaseException as error:
        run.end(ended_by(error))
        raise
    finally:
        run.close(DELIVER_S)
    link = address(f"#/experiments/{parent.experiment_id}/runs/{parent.run_id}", parent.tracking_uri)
    click.echo(f"the run of the check: {link}", err=True)
    return result


def _begin(name: str, params: Mapping[str, object]) -> RunRef:
    uri = mlflow.get_tracking_uri()
    around = ask_store(uri, checked_run)
    if around.run_id is not None:
        run = writer_for(uri).open(around.run_id)
    else:
        run = child_run(around, f"check {name}")
        run.log(params=params)
    run.log(tags={KIND: "check"})
    run.close(DELIVER_S)
    if run.run_id is None:
        raise StoreError(f"{redacted(uri)}: the store did not create the run of the check")
    return around._replace(run_id=run.run_id)


def _in_pairs(contest: Contest, parent: RunRef, metrics: Sequence[ComparedMetric]) -> output.Result:
    click.echo("warm-up, which does not count", err=True)
    without_pairs = contest.warm_up(parent)
    _show(without_pairs)
    pair = 0
    runs: dict[str, dict[str, list[float]]] = {}
    for side in (BASELINE, CANDIDATE):
        runs[side] = {metric.name: [] for metric in metrics}
    findings: list[Finding] = []
    while pair < verdict.LOOKS[-1] and not _is_decided(without_pairs, findings):
        pair += 1
        for side, measured in zip(runs, contest.run(parent, pair), strict=True):
            for name, values in runs[side].items():
                values.append(_number(side, measured, name))
        click.echo(f"pair {pair}", err=True)
        if pair in verdict.LOOKS:
            baseline = list(runs[BASELINE].values())
            candidate = list(runs[CANDIDATE].values())
            findings = verdict.judge(metrics, baseline, candidate, beside=len(without_pairs))
            _show(findings)
    return output.Result([*without_pairs, *findings], pair, contest.how, runs)


def _is_decided(without_pairs: Sequence[Finding], findings: Sequence[Finding]) -> bool:
    """Whether more pairs would not change the verdict. Fewer looks make no error more likely."""
    of_pairs = {finding.verdict for finding in findings}
    if verdict.WORSE in of_pairs.union(finding.verdict for finding in without_pairs):
        return True
    return bool(of_pairs) and verdict.UNDECIDED not in of_pairs


def _number(side: str, metrics: Metrics, name: str) -> float:
    if not math.isfinite(metrics.get(name, math.nan)):
        known = ", ".join(sorted(known for known in metrics if "/" not in known)) or "none"
        raise failure(side, f"has no finite metric {name!r} in its run, which has {known}")
    return metrics[name]


def _show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        click.echo(f"  {output.sentence(finding)}", err=True)
