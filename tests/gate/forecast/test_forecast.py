"""`mlflow-sysmetrics forecast`: real programs at small sizes, logged runs, limits, mistakes, and its interval."""

import re
import shlex
import sys

import numpy as np
import pytest
from cases import cases, rows
from click.testing import CliRunner

from mlflow_gate.forecast.curve import forecast_cost
from mlflow_sysmetrics.command.cli import main

# 200 bytes a unit of size, and its share of CPU time.
GROWS = "import sys; n = int(sys.argv[1]); kept = b'x' * (200 * n); sum(range(20 * n))"


@pytest.fixture
def forecast(store_in_use):
    """Run a forecast to its end."""

    def forecast(*arguments, code):
        result = CliRunner().invoke(main, ["forecast", *arguments])
        assert result.exit_code == code, result.output
        assert not isinstance(result.exception, Exception)
        return result

    return forecast


def test_program_is_run_at_small_sizes_and_mlflow_has_the_forecast(forecast, store_in_use):
    """At 1.6 million it takes 320 MB, and what Python itself takes."""
    sizes = ("--sizes", "100000,200000,400000", "--full", "1600000")
    said = forecast(*sizes, "--limits", "peak_memory_mb<=100", "--", sys.executable, "-c", GROWS, "{size}", code=1)
    low, high = map(float, re.search(r"peak_memory_mb +\S+ \((\S+) to (\S+)\)", said.stdout).groups())
    assert low < 330 < high < 500
    assert "peak_memory_mb<=100: broken" in said.stdout
    assert re.search(r"request: Kubernetes memory \d+M, cpu 1; Slurm --mem=\d+M ", said.stdout)
    (run,) = store_in_use.search_runs(["0"], "tags.`sysmetrics.kind` = 'forecast'")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["forecast/peak_memory_mb_high"] == pytest.approx(high, rel=1e-3)
    below = store_in_use.search_runs(["0"], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
    assert {each.data.tags["sysmetrics.kind"] for each in below} == {"forecast sample"}
    assert len(below) == 6


def log_runs(client, sizes, memory_mb):
    """Finished runs, each with its size as a param."""
    for size in sizes:
        run_id = client.create_run("0").info.run_id
        client.log_param(run_id, "rows", size)
        costs = {"peak_memory_mb": memory_mb(size), "peak_rss_mb": memory_mb(size) + 20}
        for name, value in (costs | {"cpu_seconds": 1 + size / 500, "elapsed_s": 1 + size / 500}).items():
            client.log_metric(run_id, name, value)
        client.set_terminated(run_id)


LOGGED = ("--from", "Default", "--by", "rows", "--full", "64000")


@cases("limit, code", [("peak_memory_mb<=1400", 0), ("peak_memory_mb<=740", 3), ("peak_memory_mb<=400", 1)])
def test_logged_runs_are_judged_by_both_ends_of_the_interval(forecast, store_in_use, limit, code):
    """Without a new run. The truth is 740 MB."""
    log_runs(store_in_use, [1000, 2000, 4000, 8000] * 2, lambda size: 100 + size / 100)
    assert "at 64000, from 8 runs of 1000 to 8000:" in forecast(*LOGGED, "--limits", limit, code=code).stdout
    assert len(store_in_use.search_runs(["0"])) == 8


def test_logged_runs_of_too_few_sizes_say_which_one_to_run(forecast, store_in_use):
    log_runs(store_in_use, [1000, 2000], lambda size: 100 + size / 100)
    assert "run size 4000 next" in forecast(*LOGGED, code=2).stderr


def test_peak_that_jumps_is_said(forecast, store_in_use):
    log_runs(store_in_use, [1000, 2000, 4000, 8000] * 2, lambda size: 100 + size / 100 + 2000 * (size > 4000))
    said = forecast(*LOGGED, code=0).stdout
    assert re.search(r"peak_memory_mb at 8000, .*bends or jumps there.*: run size 16000, too", said)
    assert said.count("jumps") == 1  # not that of CPU


@cases("arguments, why", rows(__file__, "refused.txt"))
def test_mistake_is_one_sentence(forecast, store_in_use, arguments, why):
    """And no run is left that has not ended."""
    said = forecast(*shlex.split(arguments.replace("{python}", sys.executable)), code=2).stderr
    assert why in " ".join(said.split())
    assert not store_in_use.search_runs(["0"], "attributes.status = 'RUNNING'")


@cases("noise", [0.005, 0.03])
def test_interval_holds_the_truth(noise):
    """Of 40 programs of any exponent and floor, eight times beyond the largest size: in 90 %, by 95 % intervals."""
    random = np.random.default_rng(7)
    sizes = np.repeat([1.0, 2.0, 4.0, 8.0], 2)
    held = 0
    for _ in range(40):
        exponent = random.uniform(0.5, 2.5)
        floor = 8**exponent * 10 ** random.uniform(-2, 0.5)
        truth = floor + 64**exponent
        costs = (floor + sizes**exponent) * np.exp(noise * random.standard_normal(8))
        cost = forecast_cost(sizes, costs, 64, noise)
        held += cost.low <= truth <= cost.high
        assert cost.high / cost.low < 100
    assert held >= 36
