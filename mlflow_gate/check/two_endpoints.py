"""Does one endpoint that runs answer later than another? Only times of answers are known of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_gate.check import verdict
from mlflow_gate.check.asked_in_turn import costs_of_pair, how_asked, record
from mlflow_gate.check.budget import Budget
from mlflow_gate.check.contest import BASELINE, CANDIDATE, Metrics, compare, failure, with_tolerances
from mlflow_gate.check.output import Result
from mlflow_gate.check.verdict import ComparedMetric, Finding
from mlflow_gate.served import Endpoint, ServerError, warm_up
from mlflow_gate.served.command import endpoint_at, requests_of
from mlflow_sysmetrics.delivery import RunRef


@dataclass(frozen=True)
class Endpoints:
    """A `Contest` of two endpoints, baseline and candidate, that are sent the same requests."""

    endpoints: Sequence[Endpoint]
    metrics: Sequence[ComparedMetric]
    requests: Sequence[bytes]
    rate: float | None = None

    @property
    def how(self) -> str:
        return how_asked(self.rate)

    def warm_up(self, parent: RunRef) -> list[Finding]:
        """Ask each for a few rows, as the first answers take longer."""
        for endpoint in self.endpoints:
            warm_up(endpoint, self.requests)
        return []

    def run(self, parent: RunRef, pair: int) -> Sequence[Metrics]:
        costs = costs_of_pair(self.endpoints, [self.requests, self.requests], self.rate)
        compared = []
        for side, figures in zip((BASELINE, CANDIDATE), costs, strict=True):
            known = {metric.name: figures[metric.name] for metric in self.metrics if metric.name in figures}
            record(parent, pair, side, known)
            compared.append(known)
        return compared


def check_endpoints(
    baseline: str,
    candidate: str,
    *,
    data: str | None,
    body: str | None,
    tolerate: str,
    rate: float | None,
    max_pairs: int,
    max_minutes: float,
) -> Result:
    """Compare two endpoints by their times until the verdict is decided, and record it.

    click.ClickException: what was given is wrong, an endpoint does not answer, or the store does not.
    """
    endpoints = [endpoint_at(baseline), endpoint_at(candidate)]
    requests = requests_of(data, body)
    metrics = [verdict.ENDPOINT_TIME]
    if rate is not None:
        metrics.append(verdict.ANSWERED)
    contest = Endpoints(endpoints, with_tolerances(metrics, tolerate), requests, rate)
    params = {"candidate": endpoints[1].uri, "baseline": endpoints[0].uri, "rate": rate or "none"}
    try:
        return compare(contest, endpoints[1].uri, params, Budget(max_pairs, max_minutes))
    except ServerError as error:
        raise failure(CANDIDATE if error.uri == endpoints[1].uri else BASELINE, str(error)) from None
