"""What is said of numbers whose truth is known: how often an alarm is false, and what is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cases import cases, rows, tables
from scipy.stats import t

from mlflow_gate.check.budget import forecast
from mlflow_gate.check.contest import with_tolerances
from mlflow_gate.check.output import Result, sentence
from mlflow_gate.check.verdict import (
    CPU,
    LOOKS,
    MAX_PAIRS,
    MEMORY,
    NEVER_WORSE,
    PEAK_RSS,
    ComparedMetric,
    Finding,
    judge,
)

CHECKS = 1000
MOST_OF_50 = 66  # where 50 are expected, 1 % of draws have more
RMSE = ComparedMetric("rmse")
ACCURACY = ComparedMetric("accuracy", higher_is_better=True)


def decided(metrics, baseline, candidate):
    """As a check does it: a look after another, until something is worse or all is decided."""
    pairs = list(zip(with_tolerances(metrics, ""), baseline, candidate, strict=True))
    for n in LOOKS:
        judged = [judge(metric, a[:n], b[:n]) for metric, a, b in pairs]
        verdicts = {each.verdict for each in judged}
        if "worse" in verdicts or "cannot be judged" not in verdicts:
            break
    return judged


def of_one(metric, baseline, candidate):
    """The finding on one metric."""
    (finding,) = decided([metric], [baseline], [candidate])
    return finding


def verdicts(change, noise, seed, checks=CHECKS):
    """Those on CPU time, memory and a score, of checks in which CPU time changes by that factor."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(checks):
        sides = np.exp(noise * random.normal(size=(2, 4, MAX_PAIRS)))
        sides[1, 0] *= change
        found.append([each.verdict for each in decided((CPU, PEAK_RSS, MEMORY, RMSE), *sides)])
    return found


def test_of_equal_programs_at_most_one_in_a_hundred_is_worse():
    """With a noise at which no smallest change helps."""
    alarms = sum("worse" in each for each in verdicts(1.0, 0.1, seed=1, checks=5 * CHECKS))
    assert alarms <= MOST_OF_50


@cases("p_value, verdict", [(0.0005, "worse"), (0.0007, "cannot be judged")])
def test_first_look_has_a_small_share_of_the_error(p_value, verdict):
    """Three pairs are the least reliable."""
    never_worse = NEVER_WORSE * np.log(1.05)
    error = (0.5 - never_worse) / t.isf(p_value, LOOKS[0] - 1)  # of a mean of 0.5, which has this p-value
    changes = 0.5 + error * np.sqrt(3) * np.array([-1.0, 0.0, 1.0])
    assert judge(CPU, np.ones(3), np.exp(changes)).verdict == verdict


def test_change_of_twice_the_tolerance_is_found():
    found = [each[0] for each in verdicts(1.1, 0.02, seed=2)]
    assert found.count("worse") >= 0.95 * CHECKS


@cases("noise", [0.004, 0.02])
def test_change_of_the_tolerance_seldom_passes_and_seldom_is_worse(noise):
    found = [each[0] for each in verdicts(1.05, noise, seed=3)]
    assert found.count("passes") <= MOST_OF_50
    assert found.count("worse") <= MOST_OF_50


def test_change_and_its_interval_are_those_of_the_pairs():
    """Noise that both runs of a pair share does not count."""
    shared = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    more = shared * [1.101, 1.099, 1.1, 1.102, 1.098]
    worse = of_one(CPU, shared, more)
    assert worse.verdict == "worse"
    assert worse.change == pytest.approx(10, abs=0.2)
    assert worse.low < worse.change < worse.high
    better = of_one(CPU, more, shared)
    assert better.verdict == "better"
    assert better.change == pytest.approx(-9.1, abs=0.2)


@cases(
    "metric, factor, verdict",
    {
        "however sure it is": (CPU, 1.015, "passes"),
        "too large": (PEAK_RSS, 1.025, "worse"),
        "below the tolerance": (MEMORY, 1.054, "passes"),
        "tolerated": (*with_tolerances([PEAK_RSS], "peak_rss_mb=5%"), 1.04, "passes"),
    },
)
def test_small_change_is_not_worse(metric, factor, verdict):
    before = np.linspace(100, 110, 10)
    assert of_one(metric, before, factor * before).verdict == verdict


def test_noise_that_hides_a_change_is_said_with_the_size_that_would_have_been_found():
    before, after = np.exp(0.3 * np.random.default_rng(4).normal(size=(2, 10)))
    cpu = of_one(CPU, before, after)
    assert cpu.verdict == "cannot be judged"
    assert cpu.detectable > 40


def test_forecast_is_about_what_will_be_found_in_95_per_cent():
    """Of those that are still undecided, from the noise between the first pairs."""
    random = np.random.default_rng(9)
    noisy = replace(judge(CPU, np.ones(3), [0.97, 1.02, 1.04]), noise=4.0)
    said = forecast([CPU, MEMORY], [noisy, Finding("peak_memory_mb", "passes")], 20, 360.0)
    assert said == "about 6 more minutes at most; a change of 8.7 % of cpu_seconds will then be found"
    changes = np.log1p(0.087) + np.log1p(0.04) * random.normal(size=(CHECKS, MAX_PAIRS))
    found = [judge(CPU, np.ones(MAX_PAIRS), np.exp(each)).verdict for each in changes]
    assert 0.9 <= found.count("worse") / CHECKS <= 0.98


@cases("metric, verdict", [(RMSE, "worse"), (ACCURACY, "better")])
def test_metric_is_judged_in_its_direction_by_what_seeds_change(metric, verdict):
    seeds = np.random.default_rng(5).normal(0.8, 0.1, 10)
    score = of_one(metric, seeds, seeds + 0.2)
    assert score.verdict == verdict
    assert score.change == pytest.approx(0.2)


def test_few_seeds_tell_roughly_what_seeds_change():
    """With equal seeds a change is known far better than the spread that it is compared with: here 1, the tolerance."""
    random = np.random.default_rng(6)
    change = 1.0
    seeds = random.normal(size=(CHECKS, MAX_PAIRS))
    after = seeds + change + 0.1 * random.normal(size=seeds.shape)
    found = [of_one(RMSE, *pairs) for pairs in zip(seeds, after, strict=True)]
    for wrong in ("passes", "worse"):
        assert sum(each.verdict == wrong for each in found) <= 0.05 * CHECKS
    assert sum(each.low <= change <= each.high for each in found) >= 0.93 * CHECKS


TOLERATED = replace(RMSE, unit="%", tolerance=5.0)


@cases(
    "metric, after, verdict",
    [
        (ACCURACY, 0.1 + 0.4 + 1e-13, "passes"),
        (ACCURACY, 0.49, "worse"),
        (ACCURACY, 0.51, "better"),
        (TOLERATED, 0.52, "passes"),
        (TOLERATED, 0.53, "worse"),
    ],
)
def test_metric_that_never_varies_is_compared_exactly(metric, after, verdict):
    score = of_one(metric, [0.5] * 3, [after] * 3)
    assert score.verdict == verdict
    assert "seed" in score.why


def test_peak_that_readings_see_or_miss_is_no_difference():
    """Of equal programs one in a hundred is worse at most, and few cannot be judged."""
    random = np.random.default_rng(8)
    verdicts = []
    others = [[9.0] * MAX_PAIRS, [90.0] * MAX_PAIRS]
    for before, after in random.choice([75.0, 83.0], size=(CHECKS, 2, MAX_PAIRS)):
        *_, memory = decided([CPU, PEAK_RSS, MEMORY], [*others, before], [*others, after])
        verdicts.append(memory.verdict)
    assert verdicts.count("worse") <= 0.01 * CHECKS
    assert verdicts.count("cannot be judged") <= 0.05 * CHECKS


@cases("finding, said", rows(__file__, "sentences.txt"))
def test_sentence_says_one_thing(finding, said):
    assert sentence(Finding(**json.loads(finding))) == said


@cases("first, second, code", tables(__file__, "cases.yaml")["exit codes"])
def test_exit_code_is_that_of_the_worst_metric(first, second, code):
    assert Result([Finding("a", first), Finding("b", second)], 10, "", {}).exit_code == code


@cases(
    "candidate, verdict",
    {
        "more": ([3, 4, 5, 4, 3], "worse"),
        "less": ([-3, -4, -5, -4, -3], "better"),
    },
)
def test_of_a_baseline_of_0_no_part_is_tolerated(candidate, verdict):
    """All that is said of it are numbers, in the unit of the metric."""
    errors = judge(TOLERATED, [0.0] * 5, candidate)
    assert errors.verdict == verdict
    assert np.isfinite([errors.change, errors.low, errors.high, errors.noise, errors.detectable]).all()
    assert errors.unit == ""
