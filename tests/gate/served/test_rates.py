"""Requests at a rate: when they fall due, and what their times tell."""

from random import Random

import numpy as np
import pytest
from cases import cases
from click.testing import CliRunner
from endpoints import one_at_a_time

from mlflow_gate.served import PERCENTS, ServerError
from mlflow_gate.served.client import Client
from mlflow_gate.served.latency import Asked, answered_per_s, is_late, keeps_up
from mlflow_gate.served.pacing import Poisson, stream
from mlflow_sysmetrics.command.cli import main

REQUEST = b"[]"


def queued(rate, seconds, service_s=0.01, connections=64, seed=0):
    """Requests to a server that answers one at a time, by Lindley's recursion."""
    random = Random(seed)
    free_s = [0.0] * connections
    due_s, idle_s, asked = 0.0, 0.0, []
    while True:
        due_s += random.expovariate(rate)
        sent_s = max(due_s, min(free_s))
        if sent_s > seconds:
            return asked
        idle_s = max(sent_s, idle_s) + service_s
        free_s[free_s.index(min(free_s))] = idle_s
        asked.append(Asked(due_s, sent_s, sent_s, idle_s))


def test_requests_fall_due_at_random_moments_that_a_seed_fixes():
    pacer = Poisson(50, seed=1)
    due_s = [pacer(0.0, number) for number in range(5000)]
    gaps_s = np.diff(due_s)
    mean_s = gaps_s.mean()
    assert mean_s == pytest.approx(1 / 50, rel=0.05)
    assert (gaps_s > mean_s).mean() == pytest.approx(0.368, abs=0.02)  # 1/e
    assert Poisson(50, seed=1)(due_s[7] + 1.0, 7) == pytest.approx(-1.0)  # overdue


@cases("load, keeps", [(0.5, True), (0.9, True), (1.1, False), (3.0, False)])
def test_server_keeps_up_unless_its_queue_grows(load, keeps):
    """At ten seeds each."""
    rate = 100 * load
    assert [keeps_up(queued(rate, 15.0, seed=seed), rate) for seed in range(10)] == [keeps] * 10


def test_server_that_stood_still_for_a_moment_keeps_up():
    """Here in the last second: the queue at the end does not grow."""
    asked = [Asked(at / 50, at / 50, at / 50, (at / 50 if at < 350 else 8.0) + 0.01) for at in range(400)]
    assert keeps_up(asked, 50)


def test_of_no_answers_a_part_can_be_said():
    """A ratio of two models needs more than 0."""
    assert answered_per_s([Asked(at, at, at) for at in range(5)]) == 0.25


@cases(
    "free_s, sent_s, late",
    {"at once": (0.0, 0.001, False), "late": (0.0, 0.02, True), "no connection was free": (5.0, 5.0, False)},
)
def test_client_is_late_where_its_own_delay_is_a_part_of_the_latency(free_s, sent_s, late):
    asked = [Asked(at, at + free_s, at + sent_s, at + sent_s + 0.04) for at in range(100)]
    assert is_late(asked) == late


@cases(
    "pacer, connections, is_seen",
    {"a stream": (stream, 1, False), "a rate": (Poisson(100), 16, True)},
)
def test_who_waits_behind_a_slow_request_is_slow_at_a_rate(pacer, connections, is_seen):
    """A stream does not ask meanwhile; at 100 a second about 40 others fall due in 0.4 s."""
    with one_at_a_time(slow=50) as server:
        client = Client(server, [REQUEST], pacer, lambda time_s, asked: asked >= 150, connections)
        client.run()
    assert len(client.asked) == 150
    assert (sum(request.latency_s > 0.1 for request in client.asked) >= 20) == is_seen


def test_any_endpoint_is_asked_with_a_body_of_the_users(store_in_use, tmp_path):
    """Only its times are known; it has answers at the path that the user gives."""
    body = tmp_path / "request.json"
    body.write_text('{"rows": [1]}')
    with one_at_a_time(slow=0) as server:
        url = server.url.replace("/invocations", "/predict")
        result = CliRunner().invoke(main, ["served", "--url", url, "--body", str(body)])
    assert result.exit_code == 0, result.output
    assert "served_p95_ms" in result.output
    assert "CPU time and memory are not known" in result.output
    (run,) = store_in_use.search_runs(["0"])
    assert run.data.params == {"url": url}
    assert set(run.data.metrics) <= set(PERCENTS)


def test_server_that_dies_is_a_sentence():
    with one_at_a_time(slow=0, dies_after=20) as server:
        client = Client(server, [REQUEST], Poisson(200), lambda time_s, asked: asked >= 100, 8)
        with pytest.raises(ServerError, match=r"^http://[^ ]+ did not answer: [^\n]+$"):
            client.run()
