"""What is said of numbers whose truth is known: how often an alarm is false, and what is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cases import cases, rows, tables
from scipy.stats import t

from mlflow_gate.check.contest import with_tolerances
from mlflow_gate.check.output import Result, sentence
from mlflow_gate.check.verdict import CPU, LOOKS, MEMORY, PEAK_RSS, ComparedMetric, Finding, judge

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
        sides = np.exp(noise * random.normal(size=(2, 4, LOOKS[-1])))
        sides[1, 0] *= change
        found.append([each.verdict for each in decided((CPU, PEAK_RSS, MEMORY, RMSE), *sides)])
    return found


def test_of_equal_programs_at_most_one_in_a_hundred_is_worse():
    """With a noise at which no smallest change helps."""
    alarms = sum("worse" in each for each in verdicts(1.0, 0.1, seed=1, checks=5 * CHECKS))
    assert alarms <= MOST_OF_50


@cases("p_value, verdict", [(0.0004, "worse"), (0.0007, "cannot be judged")])
def test_first_look_has_a_tenth_of_the_error(p_value, verdict):
    """Three pairs are the least reliable: one in two thousand equal programs is worse there."""
    error = 0.5 / t.isf(p_value, LOOKS[0] - 1)  # of a mean of 0.5, which has this p-value
    changes = 0.5 + error * np.sqrt(3) * np.array([-1.0, 0.0, 1.0])
    assert judge(CPU, np.ones(3), np.exp(changes)).verdict == verdict


def test_change_is_found_and_one_of_the_tolerance_seldom_passes():
    found = [each[0] for each in verdicts(1.1, 0.02, seed=2)]
    assert found.count("worse") >= 0.95 * CHECKS
    at_the_tolerance = [each[0] for each in verdicts(1.05, 0.02, seed=3)]
    assert at_the_tolerance.count("passes") <= MOST_OF_50


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


@cases("metric, verdict", [(RMSE, "worse"), (ACCURACY, "better")])
def test_metric_is_judged_in_its_direction_by_what_seeds_change(metric, verdict):
    seeds = np.random.default_rng(5).normal(0.8, 0.1, 10)
    score = of_one(metric, seeds, seeds + 0.2)
    assert score.verdict == verdict
    assert score.change == pytest.approx(0.2)


@cases("change, wrong, most", [(0.5, "worse", 0.02), (1.0, "passes", 0.05)])
def test_few_seeds_tell_roughly_what_seeds_change(change, wrong, most):
    """With equal seeds a change is known far better than the spread that it is compared with: here 1, the tolerance."""
    random = np.random.default_rng(6)
    summary = ComparedMetric("rmse", min_change=1.0)
    seeds = random.normal(size=(CHECKS, LOOKS[-1]))
    after = seeds + change + 0.1 * random.normal(size=seeds.shape)
    found = [of_one(summary, *pairs) for pairs in zip(seeds, after, strict=True)]
    assert sum(each.verdict == wrong for each in found) <= most * CHECKS
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
    others = [[9.0] * 10, [90.0] * 10]
    for before, after in random.choice([75.0, 83.0], size=(CHECKS, 2, 10)):
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
