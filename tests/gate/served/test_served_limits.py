"""Which limits a served model breaks, and of which that cannot be said."""

from dataclasses import replace

import numpy as np
import pytest
from cases import cases, tables

from mlflow_gate.served import ServedCosts, judged, one_by_one, served_limits
from mlflow_gate.served.contention import Contention, CoreClocks
from mlflow_gate.served.latency import Asked, percentiles_ms

CASES = tables(__file__, "cases.yaml")
FIGURES = {"served_p50_ms": 5.0, "served_memory_mb": 200.0, "served_rows_per_s": 100.0}
QUIET = ServedCosts(FIGURES, 30, Contention(0.02, 0.01))
BUSY = ServedCosts(FIGURES, 30, Contention(1.2, 0.6))
COSTS = {
    "quiet": QUIET,
    "busy": BUSY,
    "overrun": replace(QUIET, cannot_keep_up="m cannot keep up"),
    "busy overrun": replace(BUSY, cannot_keep_up="m cannot keep up"),
}


@cases("costs, limits, broken, unknown", CASES["judged"])
def test_limit_is_broken_met_or_cannot_be_judged(costs, limits, broken, unknown):
    """A model that cannot keep up breaks those on its latency."""
    judgement = judged(served_limits(limits).rules, COSTS[costs])
    assert (len(judgement.broken), len(judgement.unknown)) == (broken, unknown)


@cases("others, waited, is_late, is_busy", CASES["busy"])
def test_machine_is_busy_when_others_run_and_ours_wait(others, waited, is_late, is_busy):
    assert Contention(others, waited, is_late).is_busy == is_busy


def test_what_ours_use_is_not_contention():
    before, after = CoreClocks(0.0, 10.0, 4.0, 1.0), CoreClocks(10.0, 25.0, 14.0, 2.0)
    assert before.until(after, requests_s=20.0) == Contention(other_cores=0.5, waited=0.05)


@cases("requests, known", [(58, {"served_p50_ms": 29}), (299, {"served_p50_ms": 150, "served_p95_ms": 285})])
def test_percentiles_need_many_requests(requests, known):
    """Request number n takes n ms."""
    asked = [Asked(0.0, 0.0, 0.0, number / 1000) for number in range(1, requests + 1)]
    assert percentiles_ms(asked) == pytest.approx(known)


def test_of_a_long_table_rows_from_all_parts_are_asked_for():
    requests = one_by_one(np.arange(450.0)[:, np.newaxis])
    assert len(requests) == 150
    assert b"447" in requests[-1]
