"""Which limits a served model breaks, and of which that cannot be said."""

import math

import numpy as np
import pytest
from cases import cases

from mlflow_sysmetrics.served import ServedCosts, judged, one_by_one, served_limits
from mlflow_sysmetrics.served.contention import Contention, CoreClocks
from mlflow_sysmetrics.served.latency import Asked, percentiles_ms

QUIET, BUSY = Contention(0.02, 0.01), Contention(1.2, 0.6)
FIGURES = {"served_p50_ms": 5.0, "served_memory_mb": 200.0, "served_rows_per_s": 100.0}


@cases(
    "contention, limits, broken, unknown",
    {
        "met": (QUIET, "served_p50_ms<=5, served_memory_mb<=200", 0, 0),
        "broken": (QUIET, "served_p50_ms<=4, served_memory_mb<=200", 1, 0),
        "slow on a busy machine": (BUSY, "served_p50_ms<=4", 0, 1),
        "fast enough even there": (BUSY, "served_p50_ms<=5", 0, 0),
        "few rows on a busy machine": (BUSY, "served_rows_per_s>=200", 0, 1),
        "too large there as anywhere": (BUSY, "served_memory_mb<=100, served_p50_ms<=4", 1, 1),
        "not measured": (QUIET, "served_p95_ms<=4", 0, 1),
    },
)
def test_limit_is_broken_met_or_cannot_be_judged(contention, limits, broken, unknown):
    judgement = judged(served_limits(limits).rules, ServedCosts(FIGURES, 30, contention))
    assert (len(judgement.broken), len(judgement.unknown)) == (broken, unknown)


@cases("contention, broken, unknown", {"quiet": (QUIET, 1, 0), "busy": (BUSY, 0, 1)})
def test_model_that_cannot_keep_up_breaks_limits_on_its_latency(contention, broken, unknown):
    costs = ServedCosts({"served_memory_mb": 200.0}, 30, contention, cannot_keep_up="m cannot keep up")
    judgement = judged(served_limits("served_p95_ms<=1000, served_memory_mb<=200").rules, costs)
    assert (len(judgement.broken), len(judgement.unknown)) == (broken, unknown)


@cases(
    "contention, is_busy",
    {
        "nobody else": (QUIET, False),
        "threads of the model wait for each other": (Contention(0.02, 2.0), False),
        "others on other cores": (Contention(30.0, 0.01), False),
        "others on our cores": (BUSY, True),
        "others, and who waits is unknown": (Contention(1.2, math.nan), True),
        "the client was late by itself": (Contention(0.02, 0.01, is_late=True), True),
    },
)
def test_machine_is_busy_when_others_run_and_ours_wait(contention, is_busy):
    assert contention.is_busy == is_busy


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
