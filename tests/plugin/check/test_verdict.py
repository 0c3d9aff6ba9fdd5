"""What is said of numbers whose truth is known: how often an alarm is false, and what is found."""

from dataclasses import replace

import numpy as np
import pytest
from cases import cases
from scipy.stats import binom, t

from mlflow_sysmetrics.check.contest import with_tolerances
from mlflow_sysmetrics.check.output import Result, sentence
from mlflow_sysmetrics.check.verdict import CPU, LOOKS, MEMORY, PEAK_RSS, ComparedMetric, Finding, judge

CHECKS = 1000
RMSE = ComparedMetric("rmse")


def decided(metrics, baseline, candidate):
    """As a check does it: a look after another, until something is worse or all is decided."""
    for n in LOOKS:
        judged = judge(metrics, [row[:n] for row in baseline], [row[:n] for row in candidate])
        verdicts = {each.verdict for each in judged}
        if "worse" in verdicts or "cannot be judged" not in verdicts:
            break
    return judged


def verdicts(change, noise, seed, checks=CHECKS):
    """Those on CPU time, memory and a score, of checks in which CPU time changes by that factor."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(checks):
        sides = np.exp(noise * random.normal(size=(2, 4, LOOKS[-1])))
        sides[1, 0] *= change
        found.append([each.verdict for each in decided((CPU, PEAK_RSS, MEMORY, RMSE), *sides)])
    return found


def most(share, checks):
    """The number that a true share of checks exceeds in 1 % of draws; twice the share is hardly ever below it."""
    return float(binom.isf(0.01, checks, share))


def test_of_equal_programs_at_most_one_in_a_hundred_is_worse():
    """With a noise at which no smallest change helps."""
    checks = 5 * CHECKS
    alarms = sum("worse" in each for each in verdicts(1.0, 0.1, seed=1, checks=checks))
    assert alarms <= most(0.01, checks)


@cases("p_value, verdict", [(0.0004, "worse"), (0.0007, "cannot be judged")])
def test_first_look_has_a_tenth_of_the_error(p_value, verdict):
    """Three pairs are the least reliable: one in two thousand equal programs is worse there."""
    error = 0.5 / t.isf(p_value, LOOKS[0] - 1)  # of a mean of 0.5, which has this p-value
    changes = 0.5 + error * np.sqrt(3) * np.array([-1.0, 0.0, 1.0])
    (cpu,) = judge([CPU], [np.ones(3)], [np.exp(changes)])
    assert cpu.verdict == verdict


def test_change_is_found_and_one_of_the_tolerance_seldom_passes():
    found = [each[0] for each in verdicts(1.1, 0.02, seed=2)]
    assert found.count("worse") >= 0.95 * CHECKS
    at_the_tolerance = [each[0] for each in verdicts(1.05, 0.02, seed=3)]
    assert at_the_tolerance.count("passes") <= most(0.05, CHECKS)


def test_change_and_its_interval_are_those_of_the_pairs():
    """Noise that both runs of a pair share does not count."""
    shared = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    (cpu,) = decided([CPU], [shared], [shared * [1.101, 1.099, 1.1, 1.102, 1.098]])
    assert cpu.verdict == "worse"
    assert cpu.low < cpu.change < cpu.high
    assert cpu.change == pytest.approx(10, abs=0.2)
    (less,) = decided([CPU], [shared * [1.101, 1.099, 1.1, 1.102, 1.098]], [shared])
    assert less.verdict == "better"
    assert less.change == pytest.approx(-9.1, abs=0.2)


def test_small_change_is_not_worse_however_sure_it_is():
    before = np.linspace(100, 110, 10)
    judged = decided([CPU, PEAK_RSS], [before, before], [1.015 * before, 1.025 * before])
    assert [each.verdict for each in judged] == ["passes", "worse"]


def test_change_that_is_tolerated_passes_however_sure_it_is():
    before = np.linspace(100, 110, 10)
    (peak,) = decided(with_tolerances([PEAK_RSS], "peak_rss_mb=5%"), [before], [1.04 * before])
    (score,) = judge(with_tolerances([RMSE], "rmse=5%"), [[0.5] * 3], [[0.52] * 3])  # the same in all runs
    assert (peak.verdict, score.verdict) == ("passes", "passes")


def test_noise_that_hides_a_change_is_said_with_the_size_that_would_have_been_found():
    random = np.random.default_rng(4)
    before, after = np.exp(0.3 * random.normal(size=(2, 10)))
    (cpu,) = decided([CPU], [before], [after])
    assert cpu.verdict == "cannot be judged"
    assert cpu.detectable > 40


@cases("higher_is_better", [False, True])
def test_metric_is_judged_in_its_direction_by_what_seeds_change(higher_is_better):
    seeds = np.random.default_rng(5).normal(0.8, 0.1, 10)
    summary = ComparedMetric("score", higher_is_better=higher_is_better)
    for shift in (-0.2, 0.2):
        (score,) = decided([summary], [seeds], [seeds + shift])
        assert score.verdict == ("worse" if (shift < 0) == higher_is_better else "better")
        assert np.sign(score.change) == np.sign(shift)


@cases("change, wrong, most", [(0.5, "worse", 0.02), (1.0, "passes", 0.05)])
def test_few_seeds_tell_roughly_what_seeds_change(change, wrong, most):
    """With equal seeds a change is known far better than the spread that it is compared with: here 1, the tolerance."""
    random, summary = np.random.default_rng(6), ComparedMetric("rmse", tolerance=1.0, min_change=1.0)
    seeds = random.normal(size=(CHECKS, LOOKS[-1]))
    after = seeds + change + 0.1 * random.normal(size=seeds.shape)
    found = [decided([summary], [one], [other])[0] for one, other in zip(seeds, after, strict=True)]
    assert sum(each.verdict == wrong for each in found) <= most * CHECKS
    assert sum(each.low <= change <= each.high for each in found) >= 0.93 * CHECKS


@cases("after, verdict", [(0.1 + 0.4 + 1e-13, "passes"), (0.5, "passes"), (0.49, "worse"), (0.51, "better")])
def test_metric_that_never_varies_is_compared_exactly(after, verdict):
    (score,) = judge([ComparedMetric("score", higher_is_better=True)], [[0.5] * 3], [[after] * 3])
    assert score.verdict == verdict
    assert "seed" in score.why


def test_peak_that_readings_see_or_miss_is_no_difference():
    """Of equal programs one in a hundred is worse at most, and few cannot be judged."""
    random = np.random.default_rng(8)
    found = []
    for _ in range(CHECKS):
        before, after = random.choice([75.0, 83.0], size=(2, LOOKS[-1]))
        found.append(
            decided([CPU, PEAK_RSS, MEMORY], [[9.0] * 10, [90.0] * 10, before], [[9.0] * 10, [90.0] * 10, after])
        )
    verdicts = [judged[2].verdict for judged in found]
    assert verdicts.count("worse") <= 0.01 * CHECKS
    assert verdicts.count("cannot be judged") <= 0.05 * CHECKS


@pytest.mark.parametrize(
    "judged, said",
    [
        (Finding("rmse", "worse", "", 4.478, 1.91, 7.05), "rmse: worse, 4.48 more (1.91 to 7.05)"),
        (Finding("elapsed_s", "passes", "%", -23.7, -45, 1.2), "elapsed_s: passes, between 45.0 % less and 1.2 % more"),
        (Finding("acc", "passes", "", 0, 0, 0, why="0.5 -> 0.5 in every run"), "acc: passes, 0.5 -> 0.5 in every run"),
        (
            Finding("cpu_seconds", "cannot be judged", "%", 10, -12, 38, noise=30, detectable=65.1),
            "cpu_seconds: cannot be judged, between 12.0 % less and 38.0 % more; "
            "in so few pairs with this noise only a change of 65.1 % would be found",
        ),
        (
            Finding("auc", "cannot be judged", "", 0.01, -0.02, 0.04, detectable=0.05, rows=12345.6),
            "auc: cannot be judged, between 0.02 less and 0.04 more; "
            "in so few rows with this noise only a change of 0.05 would be found, about 12,000 rows would tell",
        ),
        (
            Finding("peak", "cannot be judged", "%", 10, -90, 110, detectable=100.0),
            "peak: cannot be judged, between 90.0 % less and 110.0 % more; no change could be found in this noise",
        ),
    ],
    ids=lambda value: value.verdict if isinstance(value, Finding) else "",
)
def test_sentence_says_one_thing(judged, said):
    assert sentence(judged) == said


def test_what_is_worse_counts_before_what_cannot_be_judged():
    found = [Finding("a", "cannot be judged", "", 0, 0, 0), Finding("b", "worse", "", 1, 1, 1)]
    result = Result(found, 10, "", {})
    assert (result.exit_code, result.headline) == (1, "worse: b")


@cases(
    "candidate, verdict",
    {
        "more": ([3, 4, 5, 3, 4, 5, 3, 4, 5, 3], "worse"),
        "less": ([-3, -4, -5, -3, -4, -5, -3, -4, -5, -3], "better"),
        "once": ([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "cannot be judged"),
    },
)
def test_of_a_baseline_of_0_no_part_is_tolerated(candidate, verdict):
    """All that is said of it are numbers, in the unit of the metric."""
    (errors,) = judge([replace(RMSE, unit="%", tolerance=5.0)], [[0.0] * 10], [candidate])
    assert errors.verdict == verdict
    assert np.isfinite([errors.change, errors.low, errors.high, errors.noise, errors.detectable]).all()
    assert errors.unit == ""
